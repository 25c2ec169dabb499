//! Graded requests: rows with a right answer, what the small model says to them, and, where one is
//! asked, what the large one says.

use super::document::RowCounts;
use super::large::LargeAnswer;
use crate::prepare::Prepared;
use crate::writer::{Judge, ask};
use crate::{Project, codes};
use serde_json::json;
use sprat_data::Dataset;
use sprat_infer::{Generator, Request};
use sprat_route::{Graded, PrivateRules, confidence, scored};
use sprat_task::settings::TaskKind;
use sprat_task::{Digest, Error, Result};
use std::collections::BTreeSet;
use std::time::Instant;

/// Requests to be graded.
pub(crate) struct Rows {
    /// The texts.
    pub(crate) texts: Vec<String>,
    /// The right answers; empty where only agreement with the large model grades.
    pub(crate) gold: Vec<String>,
    /// Rows of one group never stand in different parts.
    groups: Vec<u64>,
    /// What was left out.
    pub(crate) counts: RowCounts,
    /// Where they come from, in words.
    pub(crate) source: String,
    /// Names all of it.
    pub(crate) digest: Digest,
}

impl Rows {
    /// The rows of a dataset about which a route would decide: those with a target, without what
    /// may not leave, and without texts that the model was tuned on.
    pub(crate) fn of(data: &Dataset, source: String, trained: &Dataset, personal: bool) -> Self {
        let known: BTreeSet<&str> = trained.examples.iter().map(|row| row.text.trim()).collect();
        let private = PrivateRules { personal };
        let mut rows = Rows::none(source, data.digest);
        for row in &data.examples {
            let Some(gold) = &row.label else {
                rows.counts.without_target += 1;
                continue;
            };
            if known.contains(row.text.trim()) {
                rows.counts.trained_on += 1;
                continue;
            }
            if private.judge(&Request::text(row.text.as_str())).is_some() {
                rows.counts.private += 1;
                continue;
            }
            rows.add(&row.text, gold, row.group.as_deref());
        }
        rows
    }

    /// Texts without right answers.
    pub(crate) fn ungraded(texts: &[String], source: String, personal: bool) -> Self {
        let private = PrivateRules { personal };
        let mut rows = Rows::none(source, Digest::of_json(&json!(texts)));
        for text in texts {
            match private.judge(&Request::text(text.as_str())) {
                Some(_) => rows.counts.private += 1,
                None => rows.add(text, "", None),
            }
        }
        rows
    }

    fn none(source: String, digest: Digest) -> Self {
        let (texts, gold, groups) = (Vec::new(), Vec::new(), Vec::new());
        Rows { texts, gold, groups, counts: RowCounts::default(), source, digest }
    }

    fn add(&mut self, text: &str, gold: &str, group: Option<&str>) {
        self.texts.push(text.to_owned());
        self.gold.push(gold.to_owned());
        self.groups.push(number(group.unwrap_or(text)));
    }

    /// At most so many of them, evenly spaced.
    pub(crate) fn at_most(&mut self, most: usize) {
        let all = self.texts.len();
        if most >= all {
            return;
        }
        let kept: Vec<usize> = (0..most).map(|at| at * all / most).collect();
        self.texts = kept.iter().map(|at| self.texts[*at].clone()).collect();
        self.gold = kept.iter().map(|at| self.gold[*at].clone()).collect();
        self.groups = kept.iter().map(|at| self.groups[*at]).collect();
    }
}

/// A number that the same texts share.
fn number(text: &str) -> u64 {
    let digest = Digest::of(text.trim().as_bytes()).to_string();
    u64::from_str_radix(&digest[..16], 16).unwrap_or(0)
}

/// What a small model said to the rows.
pub(crate) struct Said {
    /// Answer and confidence; none where there is no answer that could be kept.
    pub(crate) answers: Vec<Option<(String, f64)>>,
    /// Requests a second, many at once.
    pub(crate) requests_per_s: f64,
}

/// What the answers to a row are worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worth {
    /// Whether the small model's is right.
    pub(crate) small: bool,
    /// Whether the large model's is, where that is known.
    pub(crate) large: Option<bool>,
}

/// Rows with a grade and a score each.
#[derive(Default)]
pub(crate) struct Grades {
    pub(crate) rows: Vec<Graded>,
    pub(crate) scores: Vec<f64>,
    /// Which of the asked rows each is.
    pub(crate) at: Vec<usize>,
    /// What the large model costs for a request, on average, in US dollars.
    pub(crate) large_usd: Option<f64>,
}

impl Project {
    /// Asks a small model everything, as a route would.
    ///
    /// # Errors
    /// An interruption; where no request at all is answered, the first reason.
    pub(crate) fn small_says(&self, model: &dyn Generator, rows: &Rows) -> Result<Said> {
        let total = rows.texts.len() as u64;
        self.progress.start("asking the small model", Some(total), "requests");
        let score = self.settings.route.score;
        let request = |text: &String| scored(model, &Request::text(text.as_str()), score);
        let requests = rows.texts.iter().map(request);
        let (mut answers, mut refused) = (Vec::new(), None);
        let begun = Instant::now();
        let ended = ask(model, requests, &self.interrupt, |answer| {
            self.progress.advance(1);
            answers.push(match answer {
                Ok(answer) if answer.invalid.is_none() => {
                    let sure = confidence(&answer, score);
                    sure.map(|sure| (answer.label.unwrap_or(answer.output), f64::from(sure)))
                }
                Ok(_) => None,
                Err(error) => {
                    refused.get_or_insert(error);
                    None
                }
            });
        });
        let seconds = begun.elapsed().as_secs_f64().max(1e-9);
        self.progress.finish();
        ended?;
        match refused {
            Some(error) if answers.iter().all(Option::is_none) => Err(error),
            _ => Ok(Said { answers, requests_per_s: total as f64 / seconds }),
        }
    }

    /// Puts what the answers are worth beside their scores. Rows whose worth is unknown are left
    /// out.
    ///
    /// # Errors
    /// `SPRAT-ROUTE-GRADED` where nothing can be graded.
    pub(crate) fn grades(
        &self,
        rows: &mut Rows,
        said: &Said,
        large: Option<&[Option<LargeAnswer>]>,
        worth: &[Option<Worth>],
    ) -> Result<Grades> {
        let mut grades = Grades::default();
        for (at, said) in said.answers.iter().enumerate() {
            let Some((_, score)) = said else {
                rows.counts.unanswered += 1;
                continue;
            };
            if large.is_some_and(|large| large[at].is_none()) {
                rows.counts.large_missing += 1;
            }
            let Some(Worth { small, large }) = worth[at] else { continue };
            grades.rows.push(Graded { small, large, group: Some(rows.groups[at]) });
            grades.scores.push(*score);
            grades.at.push(at);
        }
        rows.counts.graded = grades.rows.len() as u64;
        if grades.rows.is_empty() {
            let what = format!("there is no request to grade in {}", rows.source);
            return Err(Error::new(&sprat_route::codes::GRADED, what));
        }
        let prices: Vec<f64> =
            large.into_iter().flatten().flatten().filter_map(|answer| answer.usd).collect();
        if !prices.is_empty() {
            grades.large_usd = Some(prices.iter().sum::<f64>() / prices.len() as f64);
        }
        Ok(grades)
    }

    /// Grades by the wanted answers; where there are none, by agreement with the large model.
    /// `None` for a row that has neither.
    ///
    /// # Errors
    /// Those of reading the schema.
    pub(crate) fn worth_by_answers(
        &self,
        prepared: &Prepared,
        rows: &Rows,
        said: &Said,
        large: Option<&[Option<LargeAnswer>]>,
    ) -> Result<Vec<Option<Worth>>> {
        let by_agreement = rows.gold.iter().all(String::is_empty);
        let valid = |one: &Option<LargeAnswer>| one.as_ref().is_some_and(|one| !one.invalid);
        let outputs = |large: &[Option<LargeAnswer>]| -> Vec<String> {
            let output = |one: &Option<LargeAnswer>| one.as_ref().map(|one| one.output.clone());
            large.iter().map(|one| output(one).unwrap_or_default()).collect()
        };
        let gold = match (by_agreement, large) {
            (true, Some(large)) => outputs(large),
            _ => rows.gold.clone(),
        };
        let schema = self.answer_schema()?;
        let judge = Judge {
            kind: self.settings.task.kind,
            schema: schema.as_ref(),
            labels: prepared.labels(),
            gold: &gold,
        };
        let right = |outputs: &[String]| -> Vec<bool> {
            match self.settings.task.kind {
                TaskKind::Generate => {
                    let least = self.settings.route.right_from;
                    judge.scores(outputs).into_iter().map(|score| score >= least).collect()
                }
                _ => judge.right(outputs),
            }
        };
        let text = |said: &Option<(String, f64)>| {
            said.as_ref().map(|(output, _)| output.clone()).unwrap_or_default()
        };
        let small = right(&said.answers.iter().map(text).collect::<Vec<_>>());
        let large_right = large.map(|large| right(&outputs(large)));
        let worth = |at: usize| {
            let answer = large.map(|large| &large[at]);
            if by_agreement && !answer.is_some_and(valid) {
                return None;
            }
            let answered = answer.filter(|answer| answer.is_some());
            let large = large_right.as_ref().zip(answered);
            let large = large.map(|(right, answer)| right[at] && valid(answer));
            Some(Worth { small: small[at], large })
        };
        Ok((0..rows.texts.len()).map(worth).collect())
    }

    /// The texts of traces, each once.
    ///
    /// # Errors
    /// Those of the log; `SPRAT-FLOW-ROUTE-TRACES` where no text is kept.
    pub(crate) fn traced_texts(&self, most: usize) -> Result<Vec<String>> {
        let log = sprat_monitor::TraceLog::open(&self.registry.traces_path())?;
        let filter = sprat_monitor::TraceFilter {
            task: Some(self.task().to_owned()),
            ..sprat_monitor::TraceFilter::default()
        };
        let mut seen = BTreeSet::new();
        let mut texts = std::collections::VecDeque::new();
        log.each(&filter, |row| {
            if let Some(text) = row.text.filter(|text| seen.insert(text.clone())) {
                texts.push_back(text);
                // The newest ones are the traffic that the route is for.
                if texts.len() > most {
                    texts.pop_front();
                }
            }
            self.interrupt.check()
        })?;
        if texts.is_empty() {
            let what = "the traces keep no texts to ask anybody about";
            return Err(Error::new(&codes::ROUTE_TRACES, what).field("serve.trace_text"));
        }
        Ok(texts.into())
    }
}
