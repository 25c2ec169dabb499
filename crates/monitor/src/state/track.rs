//! The course of one test's evidence in bounded memory.

use serde::{Deserialize, Serialize};

/// The most points.
const POINTS: usize = 200;

/// The greatest evidence of each run of requests. When there are too many runs, neighbours are
/// joined: peaks stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    /// Requests in a run.
    run: u64,
    /// The last request of a run and its greatest evidence.
    points: Vec<(u64, f64)>,
    /// Requests in the last run, which is not complete.
    open: u64,
}

impl Default for Track {
    fn default() -> Self {
        Track { run: 1, points: Vec::new(), open: 1 }
    }
}

impl Track {
    /// Takes the evidence after a request.
    pub(super) fn note(&mut self, request: u64, evidence: f64) {
        match self.points.last_mut() {
            Some(last) if self.open < self.run => {
                self.open += 1;
                *last = (request, last.1.max(evidence));
            }
            _ => {
                if self.points.len() == POINTS {
                    self.points = self.points.chunks(2).map(joined).collect();
                    self.run *= 2;
                }
                self.points.push((request, evidence));
                self.open = 1;
            }
        }
    }

    /// The points, by request.
    pub(super) fn points(&self) -> &[(u64, f64)] {
        &self.points
    }
}

fn joined(pair: &[(u64, f64)]) -> (u64, f64) {
    let at = pair.last().map_or(0, |point| point.0);
    (at, pair.iter().map(|point| point.1).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_of_a_million_requests_has_two_hundred_points_and_every_peak() {
        let mut track = Track::default();
        for request in 1..=1_000_000u64 {
            track.note(request, if request == 777_777 { 50.0 } else { 1.0 });
        }
        let points = track.points();
        assert!((100..=200).contains(&points.len()), "{}", points.len());
        assert_eq!(points.iter().filter(|point| point.1 == 50.0).count(), 1);
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(points.last().unwrap().0, 1_000_000);
    }
}
