//! Bets against uniform p-values. Each pays with mean 1 while they are uniform.

use serde::{Deserialize, Serialize};

/// Where a test expects trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Scores grow.
    High,
    /// Scores grow or shrink.
    Both,
    /// Scores are categories: any of them may become more frequent.
    Mix,
    /// Scores are 1 for an event and 0 for none: events may become more frequent.
    Event,
}

/// The tail, and the share of requests that is suspected to have moved into it.
pub(super) const STEPS: [(f64, f64); 8] = [
    (0.005, 0.02),
    (0.005, 0.1),
    (0.005, 0.4),
    (0.05, 0.05),
    (0.05, 0.2),
    (0.05, 0.6),
    (0.25, 0.15),
    (0.25, 0.5),
];

/// Bins, and the number of requests after which what was learned has faded to a third.
const LEARNED: [(usize, f64); 6] =
    [(8, 300.0), (8, 3000.0), (32, 300.0), (32, 3000.0), (128, 1000.0), (128, 8000.0)];

/// The share of a learned bet that is put on the learned density; the rest is kept.
const STAKE: f64 = 0.5;

/// One way of betting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Bet {
    /// A share of requests has moved into the tail below `tail`, or, `upper`, above `1 − tail`.
    Step {
        /// The size of the tail.
        tail: f64,
        /// The suspected share.
        share: f64,
        /// The tail lies at 1.
        upper: bool,
    },
    /// The density of the latest p-values, learned before each is seen (prequential: Dawid 1984).
    Learned(Learned),
}

/// A histogram that forgets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Learned {
    /// Counts, all multiplied by `unit`.
    counts: Vec<f64>,
    sum: f64,
    /// What the next p-value counts for. It grows instead of all counts shrinking.
    unit: f64,
    growth: f64,
}

impl Bet {
    /// The bets for a side with their weights, which sum to 1.
    pub(super) fn family(side: Side) -> Vec<(f64, Bet)> {
        let steps =
            |upper: bool| STEPS.iter().map(move |&(tail, share)| Bet::Step { tail, share, upper });
        let learned =
            || LEARNED.iter().map(|&(bins, memory)| Bet::Learned(Learned::new(bins, memory)));
        let groups: Vec<Vec<Bet>> = match side {
            Side::High => vec![steps(false).collect(), learned().collect()],
            Side::Both => vec![steps(false).collect(), steps(true).collect(), learned().collect()],
            Side::Mix => vec![learned().collect()],
            // What is learned could pay for an answer without an event.
            Side::Event => vec![steps(false).collect()],
        };
        let share = 1.0 / groups.len() as f64;
        let weigh = |group: Vec<Bet>| {
            let weight = share / group.len() as f64;
            group.into_iter().map(move |bet| (weight, bet))
        };
        groups.into_iter().flat_map(weigh).collect()
    }

    /// What the bet pays for a p-value.
    pub(super) fn pays(&mut self, p: f64) -> f64 {
        match self {
            Bet::Step { tail, share, upper } => {
                let p = if *upper { 1.0 - p } else { p };
                // The tail's mean payment is `share`, so that the whole has mean 1.
                1.0 - *share + if p < *tail { *share / *tail } else { 0.0 }
            }
            Bet::Learned(learned) => learned.pays(p),
        }
    }
}

impl Learned {
    fn new(bins: usize, memory: f64) -> Learned {
        Learned { counts: vec![0.0; bins], sum: 0.0, unit: 1.0, growth: 1.0 / (1.0 - 1.0 / memory) }
    }

    fn pays(&mut self, p: f64) -> f64 {
        let bins = self.counts.len();
        let bin = ((p * bins as f64) as usize).min(bins - 1);
        // One pseudo-count a bin, in the unit of the moment.
        let density =
            bins as f64 * (self.counts[bin] + self.unit) / (self.sum + bins as f64 * self.unit);
        self.counts[bin] += self.unit;
        self.sum += self.unit;
        self.unit *= self.growth;
        if self.unit > 1e100 {
            self.counts.iter_mut().for_each(|count| *count /= self.unit);
            self.sum /= self.unit;
            self.unit = 1.0;
        }
        1.0 - STAKE + STAKE * density
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_bet_pays_one_on_average_whatever_came_before() {
        for side in [Side::High, Side::Both, Side::Mix, Side::Event] {
            let family = Bet::family(side);
            let weights: f64 = family.iter().map(|(weight, _)| weight).sum();
            assert!((weights - 1.0).abs() < 1e-12);
            for (_, mut bet) in family {
                let mut rng = sprat_task::random::stream(3, "p");
                for _ in 0..200 {
                    bet.pays(rng.random::<f64>().powi(4));
                }
                // All next p-values, on a grid finer than any bin or tail.
                let mean: f64 = (0..6400)
                    .map(|at| bet.clone().pays((f64::from(at) + 0.5) / 6400.0))
                    .sum::<f64>()
                    / 6400.0;
                assert!((mean - 1.0).abs() < 1e-9, "{bet:?}: {mean}");
            }
        }
    }

    #[test]
    fn a_histogram_survives_the_growth_of_its_unit() {
        let mut learned = Learned::new(4, 50.0);
        let paid = (0..60_000).map(|_| learned.pays(0.1)).fold(0.0, f64::max);
        assert!(paid > 1.0 && paid.is_finite());
    }
}
