//! `sprat bench` of models that write freely: a hosted judge compares their answers with the
//! reference's, pair by pair. A judge that fails leaves pairs unjudged; the benchmark stands.

use super::bench::WriterBench;
use super::panel::{Panel, Said, Verdicts};
use super::score::spaced;
use super::verdict::{Brief, Duel};
use crate::generator::endpoint;
use crate::project::{read_json, write_json};
use crate::step::Stepped;
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_eval::Interval;
use sprat_infer::remote::Remote;
use sprat_report::number::{count, percent, usd};
use sprat_report::{Page, Table, Tone};
use sprat_task::settings::{Judge, Privacy};
use sprat_task::{Error, Kind, Result};
use std::path::Path;

/// The file of a benchmark's folder with the answers that can be judged.
const KEPT: &str = "answers.json";

/// The answers of a benchmark's local candidates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The candidate that the others are compared with.
    pub(crate) reference: String,
    /// What was answered.
    pub(crate) texts: Vec<String>,
    /// The candidates' names and answers.
    pub(crate) answers: Vec<(String, Vec<String>)>,
}

impl Kept {
    /// Keeps them in a benchmark's folder.
    ///
    /// # Errors
    /// `SPRAT-FLOW-WRITE`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(KEPT), self)
    }

    /// At most so many rows of a candidate beside the reference, evenly spaced over all of them.
    fn duels(&self, candidate: &str, most: usize) -> Vec<Duel<'_>> {
        let of = |name: &str| self.answers.iter().find(|(one, _)| one == name);
        let (Some((_, ours)), Some((_, theirs))) = (of(candidate), of(&self.reference)) else {
            return Vec::new();
        };
        let row = |at: usize| Duel {
            text: &self.texts[at],
            candidate: &ours[at],
            reference: &theirs[at],
        };
        spaced(self.texts.len(), most).map(row).collect()
    }
}

/// What a judge said of the candidates of a benchmark.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JudgedBench {
    /// The judge.
    judge: String,
    /// What it judged by.
    criterion: String,
    /// Each other local candidate against the reference.
    pairs: Vec<JudgedPair>,
    /// Candidates that were not judged, and why.
    unjudged: Vec<(String, String)>,
}

/// What a judge said of a candidate against a reference.
#[derive(Clone, Debug, Serialize)]
struct JudgedPair {
    candidate: String,
    reference: String,
    #[serde(flatten)]
    verdicts: Verdicts,
    /// Whether the verdicts hold when the answers change places.
    believable: bool,
    /// What the tokens cost in US dollars, where prices are known.
    usd: Option<f64>,
}

impl Project {
    /// What the settings' judge says of a benchmark's answers; nothing without a judge. What it
    /// said of the same answers before is taken as it was.
    ///
    /// # Errors
    /// An interruption, and answers that can't be read back; a judge that fails is none.
    pub(crate) fn judged(&self, bench: &Stepped<WriterBench>) -> Result<Option<JudgedBench>> {
        let judge = &self.settings.judge;
        let Some(model) = &judge.model else { return Ok(None) };
        let kept: Kept = read_json(&bench.folder.join(KEPT))?;
        let mut done = JudgedBench {
            judge: model.clone(),
            criterion: judge.criterion.clone(),
            pairs: Vec::new(),
            unjudged: Vec::new(),
        };
        for (candidate, _) in kept.answers.iter().filter(|(name, _)| *name != kept.reference) {
            match self.judged_pair(judge, &kept, candidate) {
                Ok(verdicts) => done.pairs.push(JudgedPair {
                    candidate: candidate.clone(),
                    reference: kept.reference.clone(),
                    believable: verdicts.judged.believable(),
                    usd: verdicts.usd(judge),
                    verdicts,
                }),
                Err(error) if error.code().kind == Kind::Interrupted => return Err(error),
                Err(error) => done.unjudged.push((candidate.clone(), error.to_string())),
            }
        }
        Ok(Some(done))
    }

    fn judged_pair(&self, judge: &Judge, kept: &Kept, candidate: &str) -> Result<Verdicts> {
        Ok(self.said_of(candidate, &kept.duels(candidate, judge.rows))?.verdicts)
    }

    /// What the settings' judge says of duels; `note` is what the progress shows. What it said of
    /// the same ones before is taken as it was.
    ///
    /// # Errors
    /// `SPRAT-FLOW-JUDGE` where nothing may be sent or no judge is named; an interruption; the
    /// judge's own failure where it gives next to no verdict.
    pub(crate) fn said_of(&self, note: &str, duels: &[Duel<'_>]) -> Result<Said> {
        let judge = &self.settings.judge;
        let Some(model) = &judge.model else {
            return Err(Error::new(&codes::JUDGE, "no judge is named").field("judge.model"));
        };
        if self.settings.needs.privacy == Privacy::OnPremise {
            let what = "nothing is sent to a hosted judge";
            return Err(Error::new(&codes::JUDGE, what).why("`needs.privacy` is on-premise"));
        }
        let instruction = self.settings.task.instruction.as_deref();
        let rows: Vec<_> =
            duels.iter().map(|d| json!([d.text, d.candidate, d.reference])).collect();
        let inputs = json!({
            "judge": [model, judge.base_url, judge.criterion],
            "repeats": judge.repeats,
            "instruction": instruction,
            "rows": rows,
        });
        let step = self.steps().run("judge-writer", &inputs, |_| {
            let remote = self.judging(judge, model)?;
            let brief = Brief { criterion: &judge.criterion, instruction };
            let panel = Panel {
                model: &remote,
                brief,
                repeats: judge.repeats,
                interrupt: &self.interrupt,
                progress: self.progress.as_ref(),
            };
            self.progress.start("judge", Some(panel.questions(duels)), "questions");
            self.progress.note(note);
            let said = panel.compare(duels);
            self.progress.finish();
            said
        })?;
        Ok(step.value)
    }

    /// The judge of the settings.
    ///
    /// # Errors
    /// Those of the remote client: a missing key or a wrong address.
    fn judging(&self, judge: &Judge, model: &str) -> Result<Remote> {
        let base_url = judge.base_url.as_deref().unwrap_or_default();
        let file = judge.api_key_file.as_ref().map(|path| self.settings.resolve(path));
        Remote::open(endpoint(model, base_url, judge.api_key_env.as_deref(), file.as_deref())?)
    }
}

impl JudgedBench {
    /// Adds what the judge said to the benchmark's page.
    pub(crate) fn show(&self, page: Page) -> Page {
        let mut page = page
            .section(format!("Judged by {}", self.judge))
            .paragraph(format!("The criterion: {}", self.criterion));
        if !self.pairs.is_empty() {
            page = page.table(self.table());
        }
        for pair in &self.pairs {
            let (name, judged) = (&pair.candidate, &pair.verdicts.judged);
            if let (false, Some(share)) = (pair.believable, judged.consistency) {
                let share = percent(share.estimate);
                let text = format!(
                    "The verdicts on {name} can't be believed: only {share} of them held when the \
                     answers changed places. Take another judge or a clearer criterion."
                );
                page = page.verdict(Tone::Warn, text);
            }
            if let Some(why) = &pair.verdicts.failure {
                let failed = count(judged.failed);
                let text = format!("{failed} questions about {name} failed; the first: {why}");
                page = page.verdict(Tone::Warn, text);
            }
        }
        for (name, why) in &self.unjudged {
            page = page.verdict(Tone::Warn, format!("{name} was not judged: {why}"));
        }
        page
    }

    fn table(&self) -> Table {
        // All pairs of a benchmark have the same reference.
        let against = self.pairs.first().map_or("", |pair| pair.reference.as_str());
        let title = format!("Answers against those of {against}");
        let headers = [
            "candidate",
            "win/tie/loss",
            "win rate",
            "both orders agree",
            "repeats agree",
            "failed",
        ];
        let mut table = Table::new(title, &headers).numeric(&[1, 2, 3, 4, 5]);
        let (mut questions, mut read, mut written, mut cost) = (0, 0, 0, None);
        for pair in &self.pairs {
            let Verdicts { judged, .. } = &pair.verdicts;
            let share = |share: Option<Interval>| share.map_or("–".into(), |s| s.percent());
            table.push([
                pair.candidate.clone(),
                format!("{}/{}/{}", judged.wins, judged.ties, judged.losses),
                judged.win_rate.percent(),
                share(judged.consistency),
                share(judged.agreement),
                count(judged.failed),
            ]);
            questions += pair.verdicts.questions;
            read += pair.verdicts.input_tokens;
            written += pair.verdicts.output_tokens;
            if let Some(paid) = pair.usd {
                *cost.get_or_insert(0.0) += paid;
            }
        }
        let paid = cost.map_or(String::new(), |cost| format!(", {}", usd(cost)));
        table.note(format!(
            "a win or loss holds in both orders of the answers, all else is a tie and counts half \
             (Tango's interval, the others are Wilson's); {} questions, {} tokens read and {} written{paid}",
            count(questions),
            count(read),
            count(written),
        ))
    }
}
