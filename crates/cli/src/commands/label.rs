//! `sprat label`: one trace after the other, a key for each. Works on a terminal and through a
//! pipe: answers are lines.

use super::Context;
use crate::args::Label;
use serde_json::json;
use sprat_flow::watch::Asked;
use sprat_flow::{Done, Project};
use sprat_monitor::{FeedbackLog, Said, Verdict};
use sprat_report::{Page, Terminal, Tone, number, visible};
use sprat_task::{Clock, Result, SystemClock};
use std::io::{BufRead, Write};

/// The most labels that are listed with a number.
const LISTED: usize = 9;

/// What was answered.
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
    let log = project.feedback()?;
    let by = flags.by.clone().unwrap_or_else(sprat_flow::watch::user);
    let mut given = 0;
    let input = std::io::stdin();
    let mut lines = input.lock().lines();
    let mut out = std::io::stdout();
    let total = queue.len();
    'queue: for (at, asked) in queue.iter().enumerate() {
        let choices = choices(asked, &labels);
        let mut text = format!("\n{} of {total}  {}\n", at + 1, visible(&asked.id));
        text += &page(asked, &choices).text(&Terminal::detect());
        let answer = loop {
            text += "right: r · another: its number or name · wrong: w · skip: s · quit: q > ";
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                break 'queue;
            }
            text.clear();
            // The end of the input is a way to quit.
            let Some(Ok(line)) = lines.next() else { break Answer::Quit };
            match parse(line.trim(), asked, &choices, &labels) {
                Ok(answer) => break answer,
                Err(why) => text = format!("{why}\n"),
            }
        };
        let (verdict, label) = match answer {
            Answer::Quit => break,
            Answer::Skip => {
                project.skip_label(&asked.id)?;
                continue;
            }
            Answer::Right => (Verdict::Right, None),
            Answer::Wrong => (Verdict::Wrong, None),
            Answer::Label(label) if asked.row.label.as_ref() == Some(&label) => {
                (Verdict::Right, None)
            }
            Answer::Label(label) => (Verdict::Wrong, Some(label)),
        };
        keep(&log, asked, verdict, label, &by)?;
        given += 1;
    }
    finish(&project, given)
}

fn keep(
    log: &FeedbackLog,
    asked: &Asked,
    verdict: Verdict,
    label: Option<String>,
    by: &str,
) -> Result<()> {
    let said = Said {
        id: asked.id.clone(),
        index: 0,
        verdict,
        label,
        output: None,
        by: Some(by.to_owned()),
    };
    log.give(&said, SystemClock.now()).map(drop)
}

/// The labels with a number: the model's best ones, or else the first of the task's.
fn choices(asked: &Asked, labels: &[String]) -> Vec<(String, Option<f64>)> {
    let scored = asked.row.scores.iter().map(|(label, score)| (label.clone(), Some(*score)));
    let rest = labels.iter().filter(|label| asked.row.scores.iter().all(|(s, _)| s != *label));
    let all = labels.len() <= LISTED;
    let rest = rest.filter(|_| all || asked.row.scores.is_empty()).map(|l| (l.clone(), None));
    scored.chain(rest).take(LISTED).collect()
}

fn page(asked: &Asked, choices: &[(String, Option<f64>)]) -> Page {
    let row = &asked.row;
    let confidence = row.confidence.map_or(String::new(), number::percent);
    let answered = row.label.clone().unwrap_or_else(|| "(abstained)".into());
    let listed = choices.iter().enumerate().map(|(at, (label, score))| {
        let score = score.map_or(String::new(), |score| format!("  {}", number::percent(score)));
        format!("{} {label}{score}", at + 1)
    });
    Page::new("")
        .paragraph(row.text.clone().unwrap_or_default())
        .facts([
            ("the model says", format!("{answered} {confidence}")),
            ("asked because", asked.why.clone()),
        ])
        .list(listed)
}

/// A key, a number of the list, a label's name, or the only label that begins so.
fn parse(
    line: &str,
    asked: &Asked,
    choices: &[(String, Option<f64>)],
    labels: &[String],
) -> std::result::Result<Answer, String> {
    match line {
        "q" => return Ok(Answer::Quit),
        "s" => return Ok(Answer::Skip),
        "w" => return Ok(Answer::Wrong),
        "r" if asked.row.label.is_some() => return Ok(Answer::Right),
        "r" => return Err("the model gave no label that could be right".into()),
        "" => return Err("nothing was chosen".into()),
        _ => {}
    }
    if let Some((label, _)) = line.parse().ok().and_then(|n: usize| choices.get(n.wrapping_sub(1)))
    {
        return Ok(Answer::Label(label.clone()));
    }
    if labels.iter().any(|label| label == line) {
        return Ok(Answer::Label(line.to_owned()));
    }
    let begins: Vec<&String> = labels.iter().filter(|label| label.starts_with(line)).collect();
    match begins[..] {
        [only] => Ok(Answer::Label(only.clone())),
        [] => Err(format!("`{line}` is no key, no number of the list and no label")),
        _ => Err(format!("{} labels begin with `{line}`", begins.len())),
    }
}

fn finish(project: &Project, given: usize) -> Result<Done> {
    let left = project.label_queue(usize::MAX)?.len();
    let page = Page::new("").verdict(Tone::Good, format!("{given} labelled, {left} left"));
    let page = page.paragraph("`sprat watch` says what the labels say of the accuracy.");
    Ok(Done::new("sprat.label/1", json!({ "given": given, "left": left }), page))
}
