//! What becomes of a version that is released and better: a person decides, or a canary does.

use crate::project::{read_json_if_any, write_json};
use crate::watch::canary::{Canary, ENDS};
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use sprat_registry::Version;
use sprat_report::number;
use sprat_task::Result;
use std::path::PathBuf;

/// What became of a released version.
pub(super) enum Outcome {
    /// A person promotes it; `shown`: labelled traces prove the gain.
    Released { shown: bool },
    /// It is shown to be better, but can't stand beside production; why.
    Unlike(String),
    /// It gets a share of the requests.
    Canary(Box<Canary>),
    /// It is promoted.
    Promoted,
}

/// A version that was promoted without asking, and until when an alarm takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::watch) struct Probation {
    /// The version.
    pub(in crate::watch) version: String,
    /// So many tested requests.
    pub(in crate::watch) requests: u64,
}

impl Project {
    /// Puts a better version on trial beside production, or promotes it where the settings want no
    /// canary.
    pub(super) fn put_on_trial(
        &self,
        version: &Version,
        production: &Version,
        note: &str,
    ) -> Result<Outcome> {
        let _lock = self.watch_lock()?;
        if self.settings.watch.canary_share > 0.0 {
            return match self.begin_canary(version, note) {
                Ok(canary) => Ok(Outcome::Canary(Box::new(canary))),
                Err(error) if *error.code() == codes::WATCH_CANARY => {
                    Ok(Outcome::Unlike(error.what().to_owned()))
                }
                Err(error) => Err(error),
            };
        }
        self.begin_probation(version)?;
        self.promote_from(version, production.number, note)?;
        Ok(Outcome::Promoted)
    }

    fn probation_file(&self) -> PathBuf {
        self.watch_folder().join("probation.json")
    }

    /// From now on an alarm among a version's first tested requests takes it back.
    pub(in crate::watch) fn begin_probation(&self, version: &Version) -> Result<()> {
        let requests = self.settings.watch.history;
        let probation = Probation { version: version.to_string(), requests };
        write_json(&self.probation_file(), &probation)
    }

    /// The version that an alarm takes back, whatever the actions are.
    pub(in crate::watch) fn probation(&self) -> Result<Option<Probation>> {
        read_json_if_any(&self.probation_file())
    }
}

impl Outcome {
    pub(super) fn verdict(&self, version: &Version, production: &Version) -> String {
        match self {
            Outcome::Promoted => format!("{version} is promoted over {production}"),
            Outcome::Canary(canary) => canary.sentence(),
            _ => format!("{version} is released and better than {production}"),
        }
    }

    pub(super) fn paragraph(&self, version: &Version, history: u64) -> String {
        let number = version.number;
        let by_hand = |why: &str| {
            format!(
                "Next: `sprat promote v{number}`{why}. To go on from this dataset, name \
                 train.jsonl, validation.jsonl and test.jsonl of its folder under [data]."
            )
        };
        match self {
            Outcome::Released { shown: true } => by_hand(""),
            Outcome::Released { shown: false } => {
                by_hand("; the labelled traces alone do not prove the gain")
            }
            Outcome::Unlike(why) => by_hand(&format!("; it can't be a canary: {why}")),
            Outcome::Canary(_) => ENDS.to_owned(),
            Outcome::Promoted => format!(
                "An alarm among its first {} tested requests moves the alias back.",
                number::count(history)
            ),
        }
    }
}
