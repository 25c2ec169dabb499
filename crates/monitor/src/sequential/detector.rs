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
        self.steps += 1;
        for player in &mut self.players {
            // The cap keeps the sum finite where nobody asks for a restart; it only lowers it.
            let paid = player.bet.pays(p);
            player.sum = ((player.sum + 1.0) * paid).min(1e200);
            player.won = (player.won * paid).min(1e200);
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
