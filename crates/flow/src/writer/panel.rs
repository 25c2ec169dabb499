//! A judge that is asked about answers, pair by pair and in both orders.

use super::score::ask;
use super::verdict::{Brief, Duel, Manner, question, read};
use serde::{Deserialize, Serialize};
use sprat_eval::{Judged, JudgedRow, Preference, RowVerdict, judged};
use sprat_infer::{Answer, Generator, Request};
use sprat_task::settings::Judge;
use sprat_task::{Error, Interrupt, Progress, Result};

/// The first questions are asked one by one; after so many without a verdict the rest is not
/// asked: the address, the key or the model is wrong.
const ATTEMPTS: usize = 3;

/// What a judge said, and what it took to ask it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

impl Verdicts {
    /// What the tokens cost in US dollars, where prices are known and tokens counted.
    pub(crate) fn usd(&self, judge: &Judge) -> Option<f64> {
        let cost = (self.input_tokens as f64 * judge.usd_per_million_input_tokens
            + self.output_tokens as f64 * judge.usd_per_million_output_tokens)
            / 1e6;
        (cost > 0.0).then_some(cost)
    }
}

/// What a judge said of duels, one by one and counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    /// One verdict per duel.
    pub(crate) rows: Vec<RowVerdict>,
    /// All of them together.
    pub(crate) verdicts: Verdicts,
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
    /// How many questions they are.
    pub(crate) fn questions(&self, duels: &[Duel<'_>]) -> u64 {
        let different = duels.iter().filter(|duel| duel.candidate != duel.reference).count();
        (different * 2 * self.repeats) as u64
    }

    /// Asks about every row whose answers differ, in both orders. Answers that are the same are a
    /// tie.
    ///
    /// # Errors
    /// An interruption; the judge's own failure where most of what it was asked about has no
    /// verdict.
    pub(crate) fn compare(&self, duels: &[Duel<'_>]) -> Result<Said> {
        let differ = |duel: &&Duel<'_>| duel.candidate != duel.reference;
        let asked: Vec<Duel<'_>> = duels.iter().filter(differ).copied().collect();
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
        let judged = judged(&heard.rows, (duels.len() - asked.len()) as u64)?;
        if let Some(error) = heard.failure.take_if(|_| 2 * judged.unjudged > asked.len() as u64) {
            return Err(error);
        }
        let mut verdicts = heard.rows.iter().map(JudgedRow::verdict);
        let mut row = |duel: &Duel<'_>| {
            let asked = if differ(&duel) { verdicts.next() } else { None };
            asked.unwrap_or(RowVerdict::Prefers(Preference::Tie))
        };
        Ok(Said {
            rows: duels.iter().map(&mut row).collect(),
            verdicts: Verdicts {
                judged,
                questions: places.len() as u64,
                input_tokens: heard.input_tokens,
                output_tokens: heard.output_tokens,
                failure: heard.failure.map(|error| error.to_string()),
            },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;
    use serde_json::json;
    use sprat_infer::remote::mock::{Act, Mock, Seen};
    use sprat_infer::remote::{Remote, Settings};
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

    fn compare(mock: &Mock, rows: &[(&str, &str)]) -> Result<Said> {
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
        let Said { rows, verdicts: said } = compare(&mock, &ROWS).unwrap();
        let judged = &said.judged;
        assert_eq!((judged.wins, judged.ties, judged.losses, judged.same), (2, 1, 1, 1));
        use Preference::{Candidate, Reference, Tie};
        assert_eq!(rows, [Candidate, Candidate, Reference, Tie].map(RowVerdict::Prefers));
        assert_eq!(judged.consistency.unwrap().estimate, 1.0);
        assert_eq!(judged.agreement.unwrap().estimate, 1.0);
        assert_eq!((said.questions, said.input_tokens, said.output_tokens), (12, 120, 24));
        let priced = Judge {
            usd_per_million_input_tokens: 1.0,
            usd_per_million_output_tokens: 5.0,
            ..Judge::default()
        };
        assert!((said.usd(&priced).unwrap() - 240e-6).abs() < 1e-12);
        assert_eq!(said.usd(&Judge::default()), None);
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
        let Said { rows, verdicts: said } = compare(&mock, &ROWS[..3]).unwrap();
        assert_eq!(rows, [RowVerdict::Inconsistent; 3]);
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
        let said = compare(&mock, &ROWS).unwrap().verdicts;
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
        let Said { rows, verdicts: said } = compare(&once, &ROWS).unwrap();
        assert_eq!(rows[0], RowVerdict::Prefers(Preference::Candidate), "the other repetition");
        assert_eq!((said.judged.wins, said.judged.failed, said.judged.unjudged), (2, 1, 0));
        assert!(said.failure.unwrap().contains("too long"));
    }

    #[test]
    fn a_judge_that_goes_away_half_way_has_judged_nothing() {
        let mut asked = 0;
        let mock = Mock::start(move |seen| {
            asked += 1;
            if asked <= 2 { longer(seen) } else { Act::status(401, "no") }
        })
        .unwrap();
        let error = compare(&mock, &ROWS).unwrap_err();
        assert!(error.to_string().contains("401"), "{error}");
    }
}
