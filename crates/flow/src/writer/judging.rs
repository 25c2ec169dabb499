//! `sprat bench` of models that write freely: a hosted judge compares their answers with the
//! reference's, pair by pair. A judge that fails leaves pairs unjudged; the benchmark stands.

use super::bench::WriterBench;
use super::score::{ask, spaced};
use super::verdict::{Brief, Duel, Manner, question, read};
use crate::generator::endpoint;
use crate::project::{read_json, write_json};
use crate::step::Stepped;
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_eval::{Interval, Judged, JudgedRow, judged};
use sprat_infer::remote::Remote;
use sprat_infer::{Answer, Generator, Request};
use sprat_report::number::{count, percent, usd};
use sprat_report::{Page, Table, Tone};
use sprat_task::settings::{Judge, Privacy};
use sprat_task::{Error, Interrupt, Kind, Progress, Result};
use std::path::Path;

/// The first questions are asked one by one; after so many without a verdict the rest is not
/// asked: the address, the key or the model is wrong.
const ATTEMPTS: usize = 3;

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

/// What a judge said, and what it took to ask it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdicts {
    /// The counts.
    pub(crate) judged: Judged,
    /// Questions asked.
    pub(crate) questions: u64,
    /// Tokens that the judge read, where the endpoint counts them.
    pub(crate) input_tokens: u64,
    /// Tokens that it wrote.
    pub(crate) output_tokens: u64,
    /// Why the first of the failed questions failed.
    pub(crate) failure: Option<String>,
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
            match self.judged_pair(judge, model, &kept, candidate) {
                Ok(verdicts) => done.pairs.push(JudgedPair {
                    candidate: candidate.clone(),
                    reference: kept.reference.clone(),
                    believable: verdicts.judged.believable(),
                    usd: cost(judge, &verdicts),
                    verdicts,
                }),
                Err(error) if error.code().kind == Kind::Interrupted => return Err(error),
                Err(error) => done.unjudged.push((candidate.clone(), error.to_string())),
            }
        }
        Ok(Some(done))
    }

    fn judged_pair(
        &self,
        judge: &Judge,
        model: &str,
        kept: &Kept,
        candidate: &str,
    ) -> Result<Verdicts> {
        if self.settings.needs.privacy == Privacy::OnPremise {
            let what = "nothing is sent to a hosted judge";
            return Err(Error::new(&codes::JUDGE, what).why("`needs.privacy` is on-premise"));
        }
        let duels = kept.duels(candidate, judge.rows);
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
            self.progress.start("judge", Some(panel.questions(&duels)), "questions");
            self.progress.note(candidate);
            let verdicts = panel.compare(&duels);
            self.progress.finish();
            verdicts
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

/// What a judge's tokens cost in US dollars, where prices are known and tokens counted.
fn cost(judge: &Judge, verdicts: &Verdicts) -> Option<f64> {
    let cost = (verdicts.input_tokens as f64 * judge.usd_per_million_input_tokens
        + verdicts.output_tokens as f64 * judge.usd_per_million_output_tokens)
        / 1e6;
    (cost > 0.0).then_some(cost)
}

/// A judge and how it is asked.
pub(crate) struct Panel<'a> {
    /// Who judges.
    pub(crate) model: &'a dyn Generator,
    /// What it is told.
    pub(crate) brief: Brief<'a>,
    /// How often each question is asked.
    pub(crate) repeats: usize,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) progress: &'a dyn Progress,
}

/// Which row, whether the candidate's answer comes first, and which repetition.
type Place = (usize, bool, usize);

impl Panel<'_> {
    fn questions(&self, duels: &[Duel<'_>]) -> u64 {
        let different = duels.iter().filter(|duel| duel.candidate != duel.reference).count();
        (different * 2 * self.repeats) as u64
    }

    /// Asks about every row whose answers differ, in both orders.
    ///
    /// # Errors
    /// An interruption; the judge's own failure where it gives no verdict at all.
    pub(crate) fn compare(&self, duels: &[Duel<'_>]) -> Result<Verdicts> {
        let asked: Vec<Duel<'_>> =
            duels.iter().copied().filter(|duel| duel.candidate != duel.reference).collect();
        // Row by row within each repetition, so that the first questions are about several rows.
        let once = (0..asked.len()).flat_map(|at| [(at, true), (at, false)]);
        let places: Vec<Place> = (0..self.repeats)
            .flat_map(|repeat| once.clone().map(move |(at, first)| (at, first, repeat)))
            .collect();
        let mut heard = Heard::default();
        heard.rows.resize(asked.len(), JudgedRow::default());
        let (manner, opened) = self.opening(&asked, &places, &mut heard)?;
        let mut rest = places[opened..].iter();
        let requests = places[opened..].iter().map(|place| self.question(&asked, *place, manner));
        ask(self.model, requests, self.interrupt, |answer| {
            if let Some(place) = rest.next() {
                heard.take(*place, answer);
                self.progress.advance(1);
            }
        })?;
        Ok(Verdicts {
            judged: judged(&heard.rows, (duels.len() - asked.len()) as u64)?,
            questions: places.len() as u64,
            input_tokens: heard.input_tokens,
            output_tokens: heard.output_tokens,
            failure: heard.failure.map(|error| error.to_string()),
        })
    }

    /// Asks the first questions one by one, until there is a verdict: how the endpoint wants to
    /// be asked, and how many questions that took.
    fn opening(
        &self,
        asked: &[Duel<'_>],
        places: &[Place],
        heard: &mut Heard,
    ) -> Result<(Manner, usize)> {
        let mut manner = Manner::default();
        for (at, place) in places.iter().take(ATTEMPTS).enumerate() {
            let answer = loop {
                self.interrupt.check()?;
                let answer = self.model.answer(self.question(asked, *place, manner));
                match answer.as_ref().err().and_then(|refusal| manner.without(refusal)) {
                    Some(less) => manner = less,
                    None => break answer,
                }
            };
            self.progress.advance(1);
            if heard.take(*place, answer) {
                return Ok((manner, at + 1));
            }
        }
        match heard.failure.take() {
            Some(error) => Err(error),
            None => Ok((manner, places.len())),
        }
    }

    fn question(&self, asked: &[Duel<'_>], (at, first, repeat): Place, manner: Manner) -> Request {
        question(self.brief, asked[at], first, repeat as u64, manner)
    }
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    rows: Vec<JudgedRow>,
    input_tokens: u64,
    output_tokens: u64,
    /// The first failure.
    failure: Option<Error>,
}

impl Heard {
    /// Takes an answer; whether it is a verdict.
    fn take(&mut self, (at, first, _): Place, answer: Result<Answer>) -> bool {
        let preference = answer.and_then(|answer| {
            self.input_tokens += answer.prompt_tokens as u64;
            self.output_tokens += answer.completion_tokens as u64;
            read(&answer.output, first)
        });
        let said = match preference {
            Ok(preference) => Some(preference),
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        };
        self.rows[at].orders[usize::from(!first)].push(said);
        said.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_infer::remote::Settings;
    use sprat_infer::remote::mock::{Act, Mock, Seen};
    use sprat_task::Quiet;

    /// The answers A and B as a judge is shown them.
    fn shown(seen: &Seen) -> (String, String) {
        let user = seen.body["messages"][1]["content"].as_str().unwrap();
        let block = |name: &str| {
            let (_, rest) = user.split_once(&format!("<<<{name} ")).unwrap();
            let (_, rest) = rest.split_once(">>>\n").unwrap();
            rest.split_once(&format!("\n<<<end of {name} ")).unwrap().0.to_owned()
        };
        (block("answer A"), block("answer B"))
    }

    fn compare(mock: &Mock, rows: &[(&str, &str)]) -> Result<Verdicts> {
        let settings = Settings {
            proxy_from_environment: false,
            retries: 0,
            ..Settings::new("openai:judge", mock.base_url(), "judge")
        };
        let remote = Remote::open(settings).unwrap();
        let duel = |(candidate, reference)| Duel { text: "in", candidate, reference };
        let duels: Vec<Duel<'_>> = rows.iter().copied().map(duel).collect();
        let interrupt = Interrupt::default();
        Panel {
            model: &remote,
            brief: Brief { criterion: "longer", instruction: None },
            repeats: 2,
            interrupt: &interrupt,
            progress: &Quiet,
        }
        .compare(&duels)
    }

    const ROWS: [(&str, &str); 4] =
        [("long answer", "short"), ("long answer again", "short"), ("x", "longer"), ("as", "as")];

    fn longer(seen: &Seen) -> Act {
        let (a, b) = shown(seen);
        let verdict = if a.len() > b.len() { "A" } else { "B" };
        Act::Say(json!({ "verdict": verdict }).to_string())
    }

    #[test]
    fn a_judge_with_an_opinion_wins_and_loses_rows() {
        let mock = Mock::start(longer).unwrap();
        let said = compare(&mock, &ROWS).unwrap();
        let judged = &said.judged;
        assert_eq!((judged.wins, judged.ties, judged.losses, judged.same), (2, 1, 1, 1));
        assert_eq!(judged.consistency.unwrap().estimate, 1.0);
        assert_eq!(judged.agreement.unwrap().estimate, 1.0);
        assert_eq!((said.questions, said.input_tokens, said.output_tokens), (12, 120, 24));
        let priced = Judge {
            usd_per_million_input_tokens: 1.0,
            usd_per_million_output_tokens: 5.0,
            ..Judge::default()
        };
        assert!((cost(&priced, &said).unwrap() - 240e-6).abs() < 1e-12);
        assert_eq!(cost(&Judge::default(), &said), None);
        let seen = mock.seen();
        assert_eq!(seen.len(), 12, "the same answers are not asked about");
        assert!(seen.iter().all(|one| one.body["temperature"] == 0.0));
        let mut seeds: Vec<u64> =
            seen.iter().map(|one| one.body["seed"].as_u64().unwrap()).collect();
        seeds.sort_unstable();
        assert_eq!(seeds, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        let schema = &seen[0].body["response_format"]["json_schema"]["schema"];
        assert_eq!(schema["properties"]["verdict"]["enum"], json!(["A", "B", "tie"]));
    }

    #[test]
    fn a_judge_that_always_says_a_decides_nothing() {
        let mock = Mock::play([Act::Say("{\"verdict\": \"A\"}".into())]).unwrap();
        let said = compare(&mock, &ROWS[..3]).unwrap();
        assert_eq!((said.judged.ties, said.judged.inconsistent), (3, 3));
        assert_eq!(said.judged.consistency.unwrap().estimate, 0.0);
        assert!(!said.judged.believable());
    }

    #[test]
    fn an_endpoint_that_knows_neither_schema_nor_seed_is_asked_without() {
        let mock = Mock::start(|seen| {
            let refuse = |what: &str| {
                let body = json!({ "error": { "message": format!("{what} is not supported") } });
                Act::status(400, body.to_string())
            };
            match &seen.body {
                body if body.get("response_format").is_some() => refuse("response_format"),
                body if body.get("seed").is_some() => refuse("seed"),
                _ => match longer(seen) {
                    Act::Say(text) if text.contains('A') => Act::Say("Verdict: A".into()),
                    _ => Act::Say("B.".into()),
                },
            }
        })
        .unwrap();
        let said = compare(&mock, &ROWS).unwrap();
        assert_eq!((said.judged.wins, said.judged.losses, said.judged.failed), (2, 1, 0));
        assert_eq!(mock.seen().len(), 14, "each refusal is met once");
    }

    #[test]
    fn a_judge_that_fails_is_given_up_and_one_that_stumbles_is_not() {
        let broken = Mock::play([Act::status(401, "no")]).unwrap();
        let error = compare(&broken, &ROWS).unwrap_err();
        assert!(error.to_string().contains("401"), "{error}");
        assert_eq!(broken.seen().len(), ATTEMPTS);
        let chatty = Mock::play([Act::Say("Both have merits.".into())]).unwrap();
        assert_eq!(compare(&chatty, &ROWS).unwrap_err().code(), &codes::JUDGE);
        let mut asked = 0;
        let once = Mock::start(move |seen| {
            asked += 1;
            if asked == 1 { Act::status(400, "too long") } else { longer(seen) }
        })
        .unwrap();
        let said = compare(&once, &ROWS).unwrap();
        assert_eq!((said.judged.wins, said.judged.failed, said.judged.unjudged), (2, 1, 0));
        assert!(said.failure.unwrap().contains("too long"));
    }
}
