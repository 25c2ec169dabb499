//! Asking a model that writes, and scoring what it answered.

use super::examples::pairs;
use super::form::AnswerSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sprat_data::Dataset;
use sprat_eval::{
    Comparison, Extracted, Extraction, Generation, Interval, LEVEL, TextScore, bootstrap,
    extraction, extraction_difference, generation, mcnemar, paired_difference, wilson,
};
use sprat_infer::{Answer, Finish, Generator, Pending, Request};
use sprat_task::settings::TaskKind;
use sprat_task::{Interrupt, Kind, Result};
use std::collections::VecDeque;
use std::time::Instant;

/// Requests on their way at once.
const WINDOW: usize = 64;
/// Requests that are timed one by one.
const TIMED: usize = 40;

/// The rows that models are asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The texts.
    pub(crate) texts: Vec<String>,
    /// The wanted answers.
    pub(crate) gold: Vec<String>,
}

impl Asked {
    /// The rows of a part that have an answer.
    pub(crate) fn of(data: &Dataset) -> Self {
        let (texts, gold) =
            pairs(data).map(|(text, answer)| (text.to_owned(), answer.to_owned())).unzip();
        Asked { texts, gold }
    }

    /// At most so many of the rows, evenly spaced over all of them.
    pub(crate) fn at_most(self, most: Option<usize>) -> Self {
        let all = self.texts.len();
        let Some(most) = most.filter(|most| *most < all) else { return self };
        let pick = |from: &[String]| spaced(all, most).map(|at| from[at].clone()).collect();
        Asked { texts: pick(&self.texts), gold: pick(&self.gold) }
    }
}

/// At most `most` of `all` rows, evenly spaced over all of them.
pub(crate) fn spaced(all: usize, most: usize) -> impl Iterator<Item = usize> {
    let most = most.min(all);
    (0..most).map(move |at| at * all / most)
}

/// What a model answered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The answers; empty where there is none.
    pub(crate) outputs: Vec<String>,
    /// Requests that got no answer, and why.
    pub(crate) failed: Vec<(usize, String)>,
    /// Answers that the limit on tokens cut.
    pub(crate) cut: u64,
    /// Milliseconds from request to answer with one request at a time.
    pub(crate) latencies_ms: Vec<f64>,
    /// Answers a second, many at once.
    pub(crate) requests_per_s: f64,
    /// Tokens written a second, many at once.
    pub(crate) tokens_per_s: f64,
    /// Tokens read and written by an answer, on average.
    pub(crate) tokens: (f64, f64),
}

impl Given {
    /// Asks a model all rows, many at once, and some of them one by one for their latency.
    ///
    /// # Errors
    /// An interruption; a request that fails counts as a wrong answer.
    pub(crate) fn from(
        model: &dyn Generator,
        request: &dyn Fn(&str) -> Request,
        texts: &[String],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut given = Given::default();
        let (mut read, mut written) = (0, 0);
        let begun = Instant::now();
        ask(model, texts.iter().map(|text| request(text)), interrupt, |answer| match answer {
            Ok(answer) => {
                read += answer.prompt_tokens;
                written += answer.completion_tokens;
                given.cut += u64::from(answer.finish == Finish::Length);
                given.outputs.push(answer.output);
            }
            Err(error) => {
                given.failed.push((given.outputs.len(), error.to_string()));
                given.outputs.push(String::new());
            }
        })?;
        let seconds = begun.elapsed().as_secs_f64().max(1e-9);
        let rows = texts.len().max(1) as f64;
        given.requests_per_s = texts.len() as f64 / seconds;
        given.tokens_per_s = written as f64 / seconds;
        given.tokens = (read as f64 / rows, written as f64 / rows);
        for text in texts.iter().take(TIMED) {
            interrupt.check()?;
            let begun = Instant::now();
            if model.answer(request(text)).is_ok() {
                given.latencies_ms.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(given)
    }
}

/// Asks a model everything, many requests at once; `take` gets the answers in their order.
///
/// # Errors
/// An interruption; what else fails is handed to `take`.
pub(crate) fn ask(
    model: &dyn Generator,
    requests: impl Iterator<Item = Request>,
    interrupt: &Interrupt,
    mut take: impl FnMut(Result<Answer>),
) -> Result<()> {
    let mut waiting: VecDeque<Result<Pending>> = VecDeque::new();
    let mut receive = |pending: Result<Pending>| match pending.and_then(Pending::wait) {
        Err(error) if error.code().kind == Kind::Interrupted => Err(error),
        answer => {
            take(answer);
            Ok(())
        }
    };
    for request in requests {
        interrupt.check()?;
        if waiting.len() >= WINDOW
            && let Some(first) = waiting.pop_front()
        {
            receive(first)?;
        }
        let mut submitted = model.submit(request.clone());
        while let Err(error) = &submitted
            && error.code().kind == Kind::Busy
            && let Some(first) = waiting.pop_front()
        {
            receive(first)?;
            submitted = model.submit(request.clone());
        }
        waiting.push_back(submitted);
    }
    for pending in waiting {
        interrupt.check()?;
        receive(pending)?;
    }
    Ok(())
}

/// How good answers are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Score {
    /// What decides: accuracy, exact match, or token F1.
    pub(crate) metric: String,
    /// Its value.
    pub(crate) quality: Interval,
    /// The share of answers that are right as a whole.
    pub(crate) exact: Interval,
    /// The share of answers that have the form that was asked for.
    pub(crate) valid: Interval,
    /// The fields, where fields are extracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extraction: Option<Extraction>,
    /// The texts, where texts are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<Generation>,
}

/// What answers are judged by.
pub(crate) struct Judge<'a> {
    pub(crate) kind: TaskKind,
    pub(crate) schema: Option<&'a AnswerSchema>,
    pub(crate) labels: &'a [String],
    pub(crate) gold: &'a [String],
}

/// Answers as JSON.
struct Parsed {
    gold: Vec<Value>,
    answers: Vec<Option<Value>>,
    valid: Vec<bool>,
}

impl Parsed {
    fn view(&self) -> Extracted<'_> {
        Extracted { gold: &self.gold, predicted: &self.answers, valid: &self.valid }
    }
}

impl Judge<'_> {
    fn valid(&self, answers: &[String]) -> Vec<bool> {
        let fits = |answer: &String| match (self.kind, self.schema) {
            (TaskKind::Extract, Some(schema)) => schema.fault(answer).is_none(),
            (TaskKind::Classify, _) => self.labels.binary_search(answer).is_ok(),
            _ => !answer.is_empty(),
        };
        answers.iter().map(fits).collect()
    }

    fn parsed(&self, answers: &[String]) -> Parsed {
        let read = |text: &String| serde_json::from_str(text).ok();
        Parsed {
            gold: self.gold.iter().map(|text| read(text).unwrap_or_default()).collect(),
            answers: answers.iter().map(read).collect(),
            valid: self.valid(answers),
        }
    }

    /// For each row, whether the answer is right as a whole.
    pub(crate) fn right(&self, answers: &[String]) -> Vec<bool> {
        match self.kind {
            TaskKind::Classify => {
                self.gold.iter().zip(answers).map(|(gold, answer)| gold == answer).collect()
            }
            TaskKind::Extract => self.parsed(answers).view().exact(),
            TaskKind::Generate => self.texts(answers).iter().map(|score| score.exact).collect(),
        }
    }

    fn texts(&self, answers: &[String]) -> Vec<TextScore> {
        let pairs = self.gold.iter().zip(answers);
        pairs.map(|(gold, answer)| TextScore::of(gold, answer)).collect()
    }

    /// A number between 0 and 1 for each row: what the metric that decides is the mean of.
    pub(crate) fn scores(&self, answers: &[String]) -> Vec<f64> {
        match self.kind {
            TaskKind::Generate => self.texts(answers).iter().map(|score| score.token_f1).collect(),
            _ => self.right(answers).into_iter().map(|right| f64::from(u8::from(right))).collect(),
        }
    }

    /// All figures of some answers.
    ///
    /// # Errors
    /// Those of `eval`: no rows.
    pub(crate) fn score(&self, answers: &[String]) -> Result<Score> {
        let share = |rows: &[bool]| {
            wilson(rows.iter().filter(|row| **row).count() as u64, rows.len() as u64, LEVEL)
        };
        let exact = share(&self.right(answers));
        let valid = share(&self.valid(answers));
        let (mut fields, mut texts) = (None, None);
        let (metric, quality) = match self.kind {
            TaskKind::Classify => ("accuracy", exact),
            TaskKind::Extract => {
                fields = Some(extraction(self.parsed(answers).view(), bootstrap::RESAMPLES, 0)?);
                ("exact match", exact)
            }
            TaskKind::Generate => {
                let found = generation(self.gold, answers, 0)?;
                let quality = found.token_f1;
                texts = Some(found);
                ("token F1", quality)
            }
        };
        let metric = metric.to_owned();
        Ok(Score { metric, quality, exact, valid, extraction: fields, generation: texts })
    }

    /// A candidate against a reference on the same rows. Where a comparison of classifiers has
    /// the difference in macro-F1, this has that in micro-F1 over fields, or in token F1.
    ///
    /// # Errors
    /// Those of `eval`.
    pub(crate) fn compare(
        &self,
        (candidate, ours): (&str, &[String]),
        (reference, theirs): (&str, &[String]),
    ) -> Result<Comparison> {
        let (mut both, mut candidate_only, mut reference_only, mut neither) = (0, 0, 0, 0);
        for (a, b) in self.right(ours).into_iter().zip(self.right(theirs)) {
            match (a, b) {
                (true, true) => both += 1,
                (true, false) => candidate_only += 1,
                (false, true) => reference_only += 1,
                (false, false) => neither += 1,
            }
        }
        let rows = self.gold.len() as u64;
        let accuracy = paired_difference(candidate_only, reference_only, rows, LEVEL);
        let macro_f1 = match self.kind {
            TaskKind::Classify => accuracy,
            TaskKind::Extract => {
                let (ours, theirs) = (self.parsed(ours), self.parsed(theirs));
                extraction_difference(ours.view(), theirs.view(), bootstrap::RESAMPLES, 0)?
            }
            TaskKind::Generate => {
                let pairs = self.scores(ours).into_iter().zip(self.scores(theirs));
                let differences: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
                bootstrap::mean(&differences, 0, "writer paired", LEVEL)
            }
        };
        let test = mcnemar(candidate_only, reference_only);
        Ok(Comparison {
            candidate: candidate.to_owned(),
            reference: reference.to_owned(),
            rows,
            both,
            candidate_only,
            reference_only,
            neither,
            accuracy,
            macro_f1,
            mcnemar: test,
            adjusted_p: test.mid_p,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn extraction_counts_whole_answers_and_fields() {
        let schema = AnswerSchema::new(json!({
            "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
        }))
        .unwrap();
        let gold = texts(&["{\"a\":1}", "{\"a\":2}"]);
        let judge =
            Judge { kind: TaskKind::Extract, schema: Some(&schema), labels: &[], gold: &gold };
        let score = judge.score(&texts(&["{\"a\": 1}", "no"])).unwrap();
        assert_eq!((score.metric.as_str(), score.quality.estimate), ("exact match", 0.5));
        assert_eq!(score.valid.estimate, 0.5);
        assert_eq!(score.extraction.unwrap().recall, 0.5);
        let against = judge.compare(("one", &gold), ("other", &texts(&["", ""]))).unwrap();
        assert_eq!((against.candidate_only, against.accuracy.estimate), (2, 1.0));
    }

    #[test]
    fn texts_and_labels_have_metrics_of_their_own() {
        let gold = texts(&["the blue cat", "x"]);
        let judge = Judge { kind: TaskKind::Generate, schema: None, labels: &[], gold: &gold };
        let score = judge.score(&texts(&["blue dog", "x"])).unwrap();
        assert_eq!((score.metric.as_str(), score.quality.estimate), ("token F1", 0.75));
        let labels = texts(&["a", "b"]);
        let gold = texts(&["a", "b"]);
        let judge = Judge { kind: TaskKind::Classify, schema: None, labels: &labels, gold: &gold };
        let score = judge.score(&texts(&["a", "c"])).unwrap();
        assert_eq!((score.quality.estimate, score.valid.estimate), (0.5, 0.5));
    }
}
