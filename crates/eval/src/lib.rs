//! Is it good enough, is it better, did it get worse, what does it cost: metrics, intervals,
//! paired tests, slices, retention, gates and choice, on plain vectors. Knows no models and no
//! storage.
//!
//! Every figure carries its uncertainty, every test its name; the same inputs and seed give the
//! same bits.

mod answers;
mod bench;
pub mod bootstrap;
mod calibration;
mod choose;
pub mod codes;
mod confusion;
mod cost;
mod equivalence;
mod exact;
mod extraction;
mod factors;
mod gate;
pub mod general;
mod generation;
mod interval;
mod isotonic;
mod judged;
mod latency;
mod multiple;
mod paired;
mod retention;
mod selective;
mod show;
mod slices;

pub use answers::{Answers, NO_ANSWER};
pub use bench::{Bench, Entry, Place, Resources, Scored, Setup, bench};
pub use calibration::{Calibration, CalibrationBin, calibration};
pub use choose::{Assessment, Choice, Factor, Measurement, Needs, Privacy, Scope, choose};
pub use confusion::{ClassScore, Confusion};
pub use cost::{BreakEven, Pricing, break_even};
pub use equivalence::{Equivalence, equivalence};
pub use exact::{binomial_lower, binomial_tail, binomial_upper, clopper_pearson, fisher_tail};
pub use extraction::{
    Counts, Extracted, Extraction, FieldScore, extraction, extraction_difference,
};
pub use gate::{
    Evidence, Finding, Gate, GateRecord, Leakage, NotWorse, PassedGate, Quality, Refusal, Rules,
    TestSeal, Verdict, Weights,
};
pub use generation::{Generation, TextScore, generation};
pub use interval::{Interval, LEVEL, normal_quantile, wilson};
pub use isotonic::{Isotonic, Weighted};
pub use judged::{Judged, JudgedRow, Preference, RowVerdict, judged};
pub use latency::{Latency, Quantile, latency};
pub use multiple::holm;
pub use paired::{Comparison, McNemar, compare, mcnemar, paired_difference};
pub use retention::{ClassChange, Margins, PairedScores, Retention, retention};
pub use selective::{Selective, selective};
pub use slices::{Slice, SliceColumn, slices};
