//! Places in the space of embeddings: rows of equal length, one after the other.

use serde::{Deserialize, Serialize};

/// Points, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Places {
    dim: usize,
    points: Vec<f32>,
}

impl Places {
    pub(super) fn new(rows: &[&[f32]]) -> Option<Places> {
        let dim = rows.first()?.len();
        let same = dim > 0 && rows.iter().all(|row| row.len() == dim);
        same.then(|| Places { dim, points: rows.concat() })
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.points.chunks_exact(self.dim.max(1))
    }

    /// The index of the nearest place and its squared distance; `None` for a vector of another
    /// length or with something that is not a number.
    pub(super) fn nearest(&self, point: &[f32]) -> Option<(usize, f32)> {
        if point.len() != self.dim {
            return None;
        }
        let mut best = None;
        for (at, place) in self.rows().enumerate() {
            let far = distance(place, point);
            if best.is_none_or(|(_, least)| far < least) && far.is_finite() {
                best = Some((at, far));
            }
        }
        best
    }

    /// Puts the places in an order in which neighbours in space mostly are neighbours: each is
    /// followed by the nearest one left.
    pub(super) fn chain(&self) -> Vec<usize> {
        let rows: Vec<&[f32]> = self.rows().collect();
        let mut left: Vec<usize> = (1..rows.len()).collect();
        let mut order = vec![0];
        while let Some(&last) = order.last() {
            let far = |at: usize| distance(rows[last], rows[at]);
            let near = (0..left.len()).min_by(|&a, &b| far(left[a]).total_cmp(&far(left[b])));
            let Some(near) = near else { break };
            order.push(left.swap_remove(near));
        }
        order
    }

    /// The same places in another order.
    pub(super) fn ordered(&self, order: &[usize]) -> Places {
        let rows: Vec<&[f32]> = self.rows().collect();
        let points = order.iter().flat_map(|&at| rows[at].iter().copied()).collect();
        Places { dim: self.dim, points }
    }
}

/// The squared Euclidean distance, summed in eight lanes in a fixed order.
pub(super) fn distance(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| (x - y) * (x - y)).sum();
    for (x, y) in a.zip(b) {
        for lane in 0..8 {
            let d = x[lane] - y[lane];
            lanes[lane] += d * d;
        }
    }
    lanes.iter().sum::<f32>() + rest
}
