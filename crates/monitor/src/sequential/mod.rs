//! Sequential testing with a bounded rate of false alarms.
//!
//! A test reduces each request to one number, its score. [`Ranks`] turns scores into conformal
//! p-values, [`Detector`] bets against their uniformity and adds the winnings up.
//!
//! **The guarantee.** Where the calibration rows and the clean requests are exchangeable, the
//! smoothed p-values are independent and uniform, exactly and for any number of calibration rows
//! (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, theorem 8.1). A
//! bet has mean 1 under uniformity, so the Shiryaev–Roberts sum `R(t) = (R(t−1) + 1) · e(t)` has
//! mean at most `t`, and with a restart at each alarm the expected number of alarms among `T`
//! clean requests is at most `T / threshold` (Shin, Ramdas and Rinaldo, "E-detectors", 2022,
//! arXiv:2203.03532). Expectations add up whatever the dependence between tests: with `k` tests,
//! each at a threshold of `k · A`, all together give at most one false alarm in `A` requests.
//!
//! **What breaks it.** Clean requests that are not exchangeable: daily and weekly cycles,
//! sessions whose requests resemble each other, retries. The measured rate then is higher than
//! the stated one. Requests that have been seen join the ranks, so a shift that creeps in more
//! slowly than they grow becomes the new normal without an alarm.

mod bets;
mod detector;
mod ranks;

pub use bets::Side;
pub use detector::Detector;
pub use ranks::Ranks;
