//! Winnings, added up over all moments at which a shift may have begun.

use super::bets::{Bet, Side};
use serde::{Deserialize, Serialize};

/// The Shiryaev–Roberts e-detector over a family of bets; see the module's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    side: Side,
    players: Vec<Player>,
    steps: u64,
}

/// Which way scores have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// They are greater than before.
    Up,
    /// They are smaller.
    Down,
}

/// One bet with its sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Player {
    weight: f64,
    bet: Bet,
    sum: f64,
    /// The winnings since the step that makes them greatest (Page's CUSUM), for dates.
    won: f64,
    /// That step.
    quiet: u64,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new(side: Side) -> Detector {
        Detector { side, players: players(side, 0), steps: 0 }
    }

    /// Takes the next p-value; gives the statistic, whose mean after `t` uniform p-values is at
    /// most `t`.
    pub fn observe(&mut self, p: f64) -> f64 {
        self.observe_event(p, true)
    }

    /// The same for a score that is an event or none: without one the statistic does not grow,
    /// whatever the tie was broken to.
    pub fn observe_event(&mut self, p: f64, happened: bool) -> f64 {
        self.steps += 1;
        for player in &mut self.players {
            let paid = player.bet.pays(p);
            let (sum, won) = ((player.sum + 1.0) * paid, player.won * paid);
            // The caps keep both finite where nobody asks for a restart; they only lower them.
            player.sum = sum.min(if happened { 1e200 } else { player.sum });
            player.won = won.min(if happened { 1e200 } else { player.won });
            if player.won <= 1.0 {
                player.won = 1.0;
                player.quiet = self.steps;
            }
        }
        self.statistic()
    }

    /// The present statistic.
    pub fn statistic(&self) -> f64 {
        self.players.iter().map(|player| player.weight * player.sum).sum()
    }

    /// An estimate of the step at which the shift began: the last one at which the bet that has
    /// won the most had nothing left of what it won.
    pub fn since(&self) -> u64 {
        let best =
            self.players.iter().max_by(|a, b| (a.weight * a.sum).total_cmp(&(b.weight * b.sum)));
        best.map_or(0, |player| player.quiet)
    }

    /// Which way scores have moved, by the winnings on one tail against those on the other; none
    /// where both or neither has won, as where they moved apart, and where nobody bets on the
    /// lower ones.
    pub fn direction(&self) -> Option<Direction> {
        let won = |above: bool| {
            let of = |player: &Player| match player.bet {
                Bet::Step { upper, .. } if upper != above => Some(player.won),
                _ => None,
            };
            self.players.iter().filter_map(of).reduce(f64::max)
        };
        // Small p-values are great scores.
        let (up, down) = (won(true)?.ln(), won(false)?.ln());
        // Winnings multiply: one side's must be the square of the other's, and more than luck's.
        let clearly = |one: f64, other: f64| one > 10f64.ln() && one > 2.0 * other;
        match (clearly(up, down), clearly(down, up)) {
            (true, _) => Some(Direction::Up),
            (_, true) => Some(Direction::Down),
            _ => None,
        }
    }

    /// Begins anew after an alarm, with nothing won and nothing learned.
    pub fn restart(&mut self) {
        self.players = players(self.side, self.steps);
    }
}

fn players(side: Side, quiet: u64) -> Vec<Player> {
    let family = Bet::family(side).into_iter();
    family.map(|(weight, bet)| Player { weight, bet, sum: 0.0, won: 1.0, quiet }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn uniform_p_values_give_no_more_alarms_than_stated() {
        const THRESHOLD: f64 = 400.0;
        for side in [Side::High, Side::Both, Side::Mix] {
            let mut rng = sprat_task::random::stream(11, "uniform");
            let mut detector = Detector::new(side);
            let mut alarms = 0;
            for _ in 0..200_000 {
                if detector.observe(rng.random()) >= THRESHOLD {
                    alarms += 1;
                    detector.restart();
                }
            }
            // 500 is the bound on the mean; what overshoots the threshold makes it rarer.
            assert!((20..=500).contains(&alarms), "{side:?}: {alarms}");
        }
    }

    /// The p-values of events at a rate, and whether each was one.
    fn events(seed: u64) -> impl FnMut(f64) -> (f64, bool) {
        let mut rng = sprat_task::random::stream(seed, "events");
        let mut ranks = super::super::Ranks::new(&[0.0, 1.0], seed, "events");
        move |rate| {
            let happened = rng.random::<f64>() < rate;
            (ranks.p_value(f64::from(u8::from(happened))), happened)
        }
    }

    #[test]
    fn steady_events_give_no_more_alarms_than_stated_and_none_at_all_give_none() {
        const THRESHOLD: f64 = 400.0;
        for (rate, most) in [(0.0, 0), (0.002, 500), (0.05, 500), (0.3, 500)] {
            let mut alarms = 0;
            for seed in 0..20 {
                let mut next = events(seed);
                // The calibration, short on purpose.
                for _ in 0..40 {
                    next(rate);
                }
                let mut detector = Detector::new(Side::Event);
                for _ in 0..10_000 {
                    let before = detector.statistic();
                    let (p, happened) = next(rate);
                    let after = detector.observe_event(p, happened);
                    assert!(happened || after <= before, "no event is no evidence");
                    if after >= THRESHOLD {
                        alarms += 1;
                        detector.restart();
                    }
                }
            }
            assert!(alarms <= most, "{rate}: {alarms}");
        }
    }

    #[test]
    fn events_that_become_frequent_are_found_and_dated() {
        let mut next = events(3);
        for _ in 0..1000 {
            next(0.005);
        }
        let mut detector = Detector::new(Side::Event);
        for _ in 0..5000 {
            let (p, happened) = next(0.005);
            assert!(detector.observe_event(p, happened) < 1e6);
        }
        let found = (1..5000).find(|_| {
            let (p, happened) = next(0.05);
            detector.observe_event(p, happened) >= 1e6
        });
        assert!(found.unwrap() < 600, "{found:?}");
        assert!(detector.since().abs_diff(5000) < 300, "{}", detector.since());
    }

    #[test]
    fn the_way_scores_moved_is_known_where_they_moved_one_way() {
        let moved = |side, place: fn(f64, f64) -> f64| {
            let mut rng = sprat_task::random::stream(7, "direction");
            let mut detector = Detector::new(side);
            for _ in 0..2000 {
                detector.observe(rng.random());
            }
            for _ in 0..300 {
                detector.observe(place(rng.random(), rng.random()));
            }
            detector.direction()
        };
        assert_eq!(moved(Side::Both, |p, _| p * p * p), Some(Direction::Up));
        assert_eq!(moved(Side::Both, |p, _| 1.0 - p * p * p), Some(Direction::Down));
        let apart = |p: f64, q: f64| if q < 0.5 { p * p * p } else { 1.0 - p * p * p };
        assert_eq!(moved(Side::Both, apart), None);
        assert_eq!(moved(Side::Both, |p, _| p), None, "they have not");
        assert_eq!(moved(Side::Mix, |p, _| p * p * p), None, "categories have no direction");
    }

    #[test]
    fn a_planted_shift_is_found_and_dated() {
        let mut rng = sprat_task::random::stream(5, "shift");
        let mut detector = Detector::new(Side::Both);
        for _ in 0..20_000 {
            detector.observe(rng.random());
        }
        let found = (1..5000).find(|_| {
            let p: f64 = rng.random();
            detector.observe(if rng.random::<f64>() < 0.1 { p * 0.005 } else { p }) >= 1e6
        });
        assert!(found.unwrap() < 400, "{found:?}");
        assert!(detector.since().abs_diff(20_000) < 300, "{}", detector.since());
    }
}
