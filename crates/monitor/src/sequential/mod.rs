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
//! **Events.** Where scores say only whether something bad happened ([`Side::Event`]), an answer to
//! which nothing happened must never be the last straw. A random tie can make it one: its p-value
//! falls anywhere above those of events, so it now and then lands in a tail that pays. There the
//! sum follows `R'(t) = min(R'(t−1), (R'(t−1) + 1) · e(t))` where nothing happened, and the plain
//! rule at events. Its alarms are at most as many as those of the plain sum over the same
//! p-values, path by path, so the bound above holds for them. By induction over `t`: where both
//! have raised as many alarms, `R' ≤ R` in every bet, and an alarm of `R'` is then one of `R`,
//! too; where the plain sum has raised more, one more alarm of `R'` makes them equal at most, and
//! `R'` begins again at 0, which is not above `R`. That needs bets that depend on nothing before,
//! so nothing is learned here. (Paying the mean over the tie instead of a random place in it
//! would lose the argument: p-values are independent of each other, not of the scores before
//! them.)
//!
//! **What breaks it.** Clean requests that are not exchangeable: daily and weekly cycles,
//! sessions whose requests resemble each other, retries. The measured rate then is higher than
//! the stated one. Requests that have been seen join the ranks, so a shift that creeps in more
//! slowly than they grow becomes the new normal without an alarm.

mod bets;
mod detector;
mod ranks;
mod wealth;

pub use bets::Side;
pub use detector::{Detector, Direction};
pub use ranks::Ranks;
pub use wealth::{Place, Wealth};
