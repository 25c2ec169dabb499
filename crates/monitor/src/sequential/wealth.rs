//! Evidence over one trial that has an end, with a bounded chance of any false alarm in it.
//!
//! A player begins with a wealth of 1. Half of it is at stake from the first comparison on, for
//! what is wrong from the beginning; the other half is staked in equal parts at each of the
//! comparisons of a trial, for what goes wrong on the way. Bets have mean 1 whatever came before,
//! so the wealth is a nonnegative martingale, and the chance that it ever reaches `1 / α` is at
//! most `α` (Ville, "Étude critique de la notion de collectif", 1939), however long the trial.
//!
//! What is bet on is the place of one score among others ([`Place`]), each of which stands in one
//! place only: where a score is as likely to stand anywhere among them, its smoothed p-value is
//! uniform whatever came before. What is paid is the mean over the part of [0, 1] that the place
//! covers, which is the mean given the scores: nothing is drawn, and as bets only fall with the
//! p-value, a score that is among the best pays 1 at most.

use super::bets::STEPS;

/// Where a score stands among others that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The others that are worse.
    pub worse: usize,
    /// The others that are as good.
    pub equal: usize,
    /// The others that are better.
    pub better: usize,
}

impl Place {
    /// The place of a score where greater ones are worse.
    pub fn of(score: f64, others: impl IntoIterator<Item = f64>) -> Place {
        let mut place = Place { worse: 0, equal: 0, better: 0 };
        for other in others {
            match other.total_cmp(&score) {
                std::cmp::Ordering::Greater => place.worse += 1,
                std::cmp::Ordering::Equal => place.equal += 1,
                std::cmp::Ordering::Less => place.better += 1,
            }
        }
        place
    }

    /// The part of [0, 1] in which its smoothed p-value lies.
    fn span(self) -> (f64, f64) {
        let all = (self.worse + self.equal + self.better + 1) as f64;
        (self.worse as f64 / all, (self.worse + self.equal + 1) as f64 / all)
    }
}

/// The wealth of a player who bets that scores are worse than those that they are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Wealth {
    /// What each way of betting has won, a share of the stakes each.
    won: [f64; STEPS.len()],
    /// What is not at stake yet.
    kept: f64,
    /// What is staked at each comparison.
    stake: f64,
}

impl Wealth {
    /// Of a trial that is expected to compare so many scores; it may compare more.
    pub fn new(comparisons: u64) -> Wealth {
        let stake = 0.5 / comparisons.max(1) as f64;
        Wealth { won: [0.5; STEPS.len()], kept: 0.5, stake }
    }

    /// Bets on a place; gives the wealth after it.
    pub fn observe(&mut self, place: Place) -> f64 {
        let stake = self.stake.min(self.kept);
        self.kept -= stake;
        let span = place.span();
        for (won, step) in self.won.iter_mut().zip(STEPS) {
            // The cap keeps it finite; it only lowers it.
            *won = ((*won + stake) * mean(step, span)).min(1e200);
        }
        self.total()
    }

    /// The present wealth.
    pub fn total(&self) -> f64 {
        self.kept + self.won.iter().sum::<f64>() / self.won.len() as f64
    }
}

/// What a step pays on average over a part of [0, 1].
fn mean((tail, share): (f64, f64), (from, to): (f64, f64)) -> f64 {
    let within = (to.min(tail) - from.min(tail)) / (to - from);
    1.0 - share + share * within / tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_together_pay_one_and_the_best_ones_never_more() {
        for others in [1, 4, 19, 300] {
            for step in STEPS {
                let paid: Vec<f64> = (0..=others)
                    .map(|worse| Place { worse, equal: 0, better: others - worse })
                    .map(|place| mean(step, place.span()))
                    .collect();
                let all = paid.iter().sum::<f64>() / paid.len() as f64;
                assert!((all - 1.0).abs() < 1e-9, "{others} {step:?}: {all}");
                assert!(paid.windows(2).all(|pair| pair[0] >= pair[1]));
            }
        }
        // Nothing happened here nor there: nothing is won or lost.
        let mut wealth = Wealth::new(10);
        for _ in 0..100 {
            let nothing = Place::of(0.0, [0.0; 9]);
            assert!((wealth.observe(nothing) - 1.0).abs() < 1e-9);
        }
        assert!(wealth.observe(Place::of(0.0, [1.0, 0.0, 0.0])) < 1.0);
    }
}
