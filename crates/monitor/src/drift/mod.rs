//! The drift tests, one file each: how a request becomes one number in whose distribution a shift
//! of that kind shows.
//!
//! A test is fitted on one part of the clean history and never changes afterwards; another part
//! calibrates it. What a test learns from the fitting part cannot cause false alarms: with a bad
//! fit it only sees less.

mod confidence;
mod cost;
mod label;
mod language;
mod latency;
mod length;
mod novelty;
mod places;
mod refusals;
mod topics;
mod validity;
mod vocabulary;
mod words;

use crate::Observation;
use crate::sequential::{Direction, Side};
use serde::{Deserialize, Serialize};

/// A drift test, fitted.
pub trait Test {
    /// The request as one number; `None` where the request does not carry what the test needs.
    fn score(&self, seen: &Observation<'_>) -> Option<f64>;

    /// Where the test expects trouble.
    fn side(&self) -> Side;
}

/// The fewest rows of the history that must carry what a test needs.
pub const FEWEST: usize = 30;

macro_rules! tests {
    ($( $(#[doc = $doc:expr])+ $name:ident $text:literal $module:ident, )*) => {
        /// The drift tests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Drift { $( $(#[doc = $doc])+ $name, )* }

        impl Drift {
            /// All tests.
            pub const ALL: &'static [Drift] = &[ $( Drift::$name, )* ];

            /// The name in settings and tables.
            pub fn name(self) -> &'static str {
                match self { $( Drift::$name => $text, )* }
            }

            /// What the test is sensitive to.
            pub fn about(self) -> &'static str {
                match self { $( Drift::$name => concat!($($doc),+).trim_ascii(), )* }
            }

            /// The test fitted on clean requests; `None` where too few carry what it needs.
            pub fn fit(self, rows: &[Observation<'_>], seed: u64) -> Option<Fitted> {
                match self {
                    $( Drift::$name => $module::$name::fit(rows, seed).map(Fitted::$name), )*
                }
            }
        }

        /// A fitted test of any kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Fitted { $( $(#[doc = $doc])+ $name($module::$name), )* }

        $( pub use $module::$name; )*

        impl Test for Fitted {
            fn score(&self, seen: &Observation<'_>) -> Option<f64> {
                match self { $( Fitted::$name(test) => test.score(seen), )* }
            }

            fn side(&self) -> Side {
                match self { $( Fitted::$name(test) => test.side(), )* }
            }
        }
    };
}

tests! {
    /// Inputs unlike any before: out of scope, new subjects.
    Novelty "novelty" novelty,
    /// Known subjects becoming more or less frequent.
    Topics "topics" topics,
    /// Longer or shorter inputs.
    Length "length" length,
    /// Words that the history does not have: typos, new products, jargon.
    Vocabulary "vocabulary" vocabulary,
    /// Letters in unusual order: other languages, scripts, encodings, code.
    Language "language" language,
    /// Answered labels becoming more or less frequent.
    Label "label" label,
    /// Invalid answers and errors.
    Validity "validity" validity,
    /// Refusals and abstentions.
    Refusals "refusals" refusals,
    /// Less confident, or suspiciously confident, answers.
    Confidence "confidence" confidence,
    /// Slower or faster answers.
    Latency "latency" latency,
    /// Dearer or cheaper answers.
    Cost "cost" cost,
}

impl Drift {
    /// What it means that the test's scores have moved one way, for tests that look both ways.
    pub(crate) fn moved(self, direction: Direction) -> Option<&'static str> {
        Some(match (self, direction) {
            (Drift::Length, Direction::Up) => "Longer inputs",
            (Drift::Length, Direction::Down) => "Shorter inputs",
            (Drift::Refusals, Direction::Up) => "More refusals and abstentions",
            (Drift::Refusals, Direction::Down) => "Fewer refusals and abstentions",
            // The score is the doubt.
            (Drift::Confidence, Direction::Up) => "Less confident answers",
            (Drift::Confidence, Direction::Down) => "Suspiciously confident answers",
            (Drift::Latency, Direction::Up) => "Slower answers",
            (Drift::Latency, Direction::Down) => "Faster answers",
            (Drift::Cost, Direction::Up) => "Dearer answers",
            (Drift::Cost, Direction::Down) => "Cheaper answers",
            _ => return None,
        })
    }
}

/// Whether so many rows carry what a test needs.
fn enough<'a, T>(
    rows: &[Observation<'a>],
    needs: impl Fn(&Observation<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let values: Vec<T> = rows.iter().filter_map(needs).collect();
    (values.len() >= FEWEST).then_some(values)
}

#[cfg(test)]
mod tests;
