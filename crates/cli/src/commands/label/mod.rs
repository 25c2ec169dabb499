//! `sprat label`: one trace after the other. On a terminal a key answers ([`keys`]), through a pipe
//! a line ([`lines`]).

mod choice;
mod keys;
mod lines;

use super::Context;
use crate::args::Label;
use serde_json::json;
use sprat_flow::watch::Asked;
use sprat_flow::{Done, Project};
use sprat_monitor::{FeedbackLog, Said, Verdict};
use sprat_report::{Page, Tone, number};
use sprat_task::{Clock, Result, SystemClock};
use std::io::IsTerminal;

/// The most labels that are listed with a number.
const LISTED: usize = 9;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Right,
    Wrong,
    Label(String),
    Skip,
    Quit,
}

/// Runs the command: with `--json` only shows the queue.
pub(super) fn run(context: &Context, flags: &Label) -> Result<Done> {
    let project = context.plain_project()?;
    let budget = flags.budget.unwrap_or(project.settings.watch.label_budget).max(1);
    if flags.draw {
        project.draw_labels(budget)?;
    }
    let document = project.label_document(budget)?;
    if context.global.json {
        return Ok(Done::new("sprat.labels/1", document, Page::default()));
    }
    let queue = project.label_queue(budget)?;
    let labels = project.label_names()?;
    let (log, by) = (project.feedback()?, flags.by.clone());
    let by = by.unwrap_or_else(sprat_flow::watch::user);
    let mut desk = Desk { project: &project, log, by, given: 0 };
    let dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !dumb {
        keys::work(&queue, &labels, &mut desk)?;
    } else {
        lines::work(&queue, &labels, &mut desk)?;
    }
    finish(&project, desk.given)
}

/// Where answers go.
struct Desk<'a> {
    project: &'a Project,
    log: FeedbackLog,
    by: String,
    given: usize,
}

impl Desk<'_> {
    /// Keeps an answer.
    fn keep(&mut self, asked: &Asked, answer: Answer) -> Result<()> {
        let (verdict, label) = match answer {
            Answer::Quit => return Ok(()),
            Answer::Skip => return self.project.skip_label(&asked.id),
            Answer::Label(label) if asked.row.label.as_ref() != Some(&label) => {
                (Verdict::Wrong, Some(label))
            }
            Answer::Right | Answer::Label(_) => (Verdict::Right, None),
            Answer::Wrong => (Verdict::Wrong, None),
        };
        let (id, by) = (asked.id.clone(), Some(self.by.clone()));
        let said = Said { id, index: 0, verdict, label, output: None, by };
        self.log.give(&said, SystemClock.now())?;
        self.given += 1;
        Ok(())
    }
}

/// What the model answered, if it did.
fn answered(asked: &Asked) -> Option<&str> {
    asked.row.label.as_deref().or(asked.row.output.as_deref())
}

/// The labels with a number: the model's best ones, or else the first of the task's.
fn choices(asked: &Asked, labels: &[String]) -> Vec<(String, Option<f64>)> {
    let scored = asked.row.scores.iter().map(|(label, score)| (label.clone(), Some(*score)));
    let rest = labels.iter().filter(|label| asked.row.scores.iter().all(|(s, _)| s != *label));
    let all = labels.len() <= LISTED;
    let rest = rest.filter(|_| all || asked.row.scores.is_empty()).map(|l| (l.clone(), None));
    scored.chain(rest).take(LISTED).collect()
}

/// The question, without the labels.
fn question(asked: &Asked) -> Page {
    let row = &asked.row;
    let confidence = row.confidence.map_or(String::new(), number::percent);
    let answered = answered(asked).unwrap_or("(abstained)");
    Page::new("").paragraph(row.text.clone().unwrap_or_default()).facts([
        ("the model says", format!("{answered} {confidence}")),
        ("asked because", asked.why.clone()),
    ])
}

fn finish(project: &Project, given: usize) -> Result<Done> {
    let left = project.label_queue(usize::MAX)?.len();
    let page = Page::new("").verdict(Tone::Good, format!("{given} labelled, {left} left"));
    let page = page.paragraph("`sprat watch` says what the labels say of the accuracy.");
    Ok(Done::new("sprat.label/1", json!({ "given": given, "left": left }), page))
}
