//! Free texts graded by a judge: is the small model's answer as good as the large one's, or as
//! the wanted one?

use super::graded::{Rows, Said, Worth};
use super::large::LargeAnswer;
use crate::writer::{Duel, Verdicts};
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use sprat_eval::{Preference, RowVerdict};
use sprat_report::number::{count, percent, usd};
use sprat_task::{Error, Result};

/// What a fit tells of the judge behind its grades.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgeReport {
    /// The judge.
    pub model: String,
    /// What it judged by.
    pub criterion: String,
    /// Whose answers the small model's were compared with, in words.
    pub against: String,
    /// What it said, and what it took to ask it.
    #[serde(flatten)]
    pub(crate) verdicts: Verdicts,
    /// What the tokens cost in US dollars, where prices are known.
    pub usd: Option<f64>,
}

impl JudgeReport {
    /// For the report.
    pub(super) fn facts(&self) -> [(&'static str, String); 2] {
        let Verdicts { judged, questions, .. } = &self.verdicts;
        let share =
            |share: Option<sprat_eval::Interval>| share.map_or("–".into(), |s| s.percent());
        let paid = self.usd.map_or_else(String::new, |paid| format!(" ({})", usd(paid)));
        let by = format!("{}, against {}: {}", self.model, self.against, self.criterion);
        let said = format!(
            "better {}, as good {} (of them the same {}, undecided {}), worse {}; both orders agree \
             on {}, repeats on {}; {} questions{paid}",
            count(judged.wins),
            count(judged.ties),
            count(judged.same),
            count(judged.inconsistent),
            count(judged.losses),
            share(judged.consistency),
            share(judged.agreement),
            count(*questions),
        );
        [("graded by", by), ("the judge finds the small model's answers", said)]
    }

    /// What a reader should know.
    pub(super) fn caveats(&self) -> Vec<String> {
        let mut caveats = vec![format!(
            "An answer of the small model is a failure where the judge prefers {} in both orders. \
             What it can't decide counts as no failure.",
            self.against
        )];
        if self.verdicts.judged.unjudged > 0 {
            caveats.push(format!(
                "{} requests have no verdict and were left out; the first question failed with: {}",
                count(self.verdicts.judged.unjudged),
                self.verdicts.failure.as_deref().unwrap_or("no reason"),
            ));
        }
        caveats
    }
}

impl Project {
    /// Grades by the judge of the settings; `None` for a row that it can't or does not judge. The
    /// large model, where one is asked, is the measure and so never wrong.
    ///
    /// # Errors
    /// Those of asking the judge; `SPRAT-FLOW-ROUTE-REFUSED` for a judge whose verdicts change
    /// with the order of the answers: it would let everything pass.
    pub(super) fn worth_by_judge(
        &self,
        rows: &Rows,
        said: &Said,
        large: Option<&[Option<LargeAnswer>]>,
    ) -> Result<(Vec<Option<Worth>>, JudgeReport)> {
        let reference = |at: usize| -> Option<&str> {
            match large {
                Some(large) => {
                    let answer = large[at].as_ref().filter(|answer| !answer.invalid)?;
                    Some(answer.output.as_str())
                }
                None => Some(rows.gold[at].as_str()),
            }
        };
        let (mut places, mut duels) = (Vec::new(), Vec::new());
        for (at, said) in said.answers.iter().enumerate() {
            if let (Some((candidate, _)), Some(reference)) = (said, reference(at)) {
                places.push(at);
                duels.push(Duel { text: &rows.texts[at], candidate, reference });
            }
        }
        let heard = self.said_of("the small model's answers", &duels)?;
        let judged = &heard.verdicts.judged;
        if let (false, Some(share)) = (judged.believable(), judged.consistency) {
            let what = "the judge can't be believed";
            let why = format!(
                "only {} of its verdicts held when the answers changed places",
                percent(share.estimate)
            );
            return Err(Error::new(&codes::ROUTE_REFUSED, what)
                .field("judge.model")
                .why(why)
                .help("Take another judge or a clearer `judge.criterion`."));
        }
        let mut worth = vec![None; rows.texts.len()];
        for (at, verdict) in places.into_iter().zip(&heard.rows) {
            let as_good = match verdict {
                RowVerdict::Unjudged => continue,
                verdict => *verdict != RowVerdict::Prefers(Preference::Reference),
            };
            worth[at] = Some(Worth { small: as_good, large: large.map(|_| true) });
        }
        let judge = &self.settings.judge;
        let report = JudgeReport {
            model: judge.model.clone().unwrap_or_default(),
            criterion: judge.criterion.clone(),
            against: match large {
                Some(_) => "the large model's answer".into(),
                None => "the wanted answer".into(),
            },
            usd: heard.verdicts.usd(judge),
            verdicts: heard.verdicts,
        };
        Ok((worth, report))
    }
}
