//! The three parts of graded traffic.

use crate::Graded;
use rand::seq::SliceRandom;
use sprat_task::random;
use std::collections::BTreeMap;

/// Positions of rows, by what they may be used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Trains the difficulty head, the calibration and the family of thresholds.
    pub fit: Vec<usize>,
    /// Tests the thresholds.
    pub calibration: Vec<usize>,
    /// Tests the chosen one.
    pub sealed: Vec<usize>,
}

/// The positions of rows by groups, in random order.
pub(crate) fn groups(rows: &[Graded], seed: u64, name: &str) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(bool, u64), Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let key = row.group.map_or((false, at as u64), |group| (true, group));
        groups.entry(key).or_default().push(at);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.shuffle(&mut random::stream(seed, name));
    groups
}

/// Splits at random by groups. Not by outcome: with the failures dealt out evenly the calibration
/// part would be no independent draw, and a binomial test on it would claim too much.
pub(crate) fn split(rows: &[Graded], fit: f64, calibration: f64, seed: u64) -> Parts {
    let groups = groups(rows, seed, "route parts");
    let total = rows.len() as f64;
    let (until_fit, until_calibration) = (total * fit, total * (fit + calibration));
    let mut parts = Parts::default();
    let mut dealt = 0;
    for group in groups {
        let middle = dealt as f64 + group.len() as f64 / 2.0;
        dealt += group.len();
        let part = match () {
            () if middle <= until_fit => &mut parts.fit,
            () if middle <= until_calibration => &mut parts.calibration,
            () => &mut parts.sealed,
        };
        part.extend(group);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_together_and_every_row_has_one_part() {
        let rows: Vec<Graded> = (0..1000)
            .map(|at| Graded { small: true, large: None, group: (at % 3 > 0).then_some(at / 4) })
            .collect();
        let parts = split(&rows, 0.3, 0.5, 1);
        let mut part_of = vec![9; rows.len()];
        for (part, members) in [&parts.fit, &parts.calibration, &parts.sealed].iter().enumerate() {
            members.iter().for_each(|&at| part_of[at] = part);
        }
        assert!(part_of.iter().all(|part| *part < 3));
        for (a, row) in rows.iter().enumerate() {
            for (b, other) in rows.iter().enumerate().skip(a).take(5) {
                assert!(
                    row.group.is_none() || row.group != other.group || part_of[a] == part_of[b]
                );
            }
        }
        assert!(
            (290..=310).contains(&parts.fit.len()) && (190..=210).contains(&parts.sealed.len())
        );
        assert_eq!(parts, split(&rows, 0.3, 0.5, 1));
        assert_ne!(parts, split(&rows, 0.3, 0.5, 2));
    }
}
