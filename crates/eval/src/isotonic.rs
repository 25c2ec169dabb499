//! Isotonic regression: the best rising function through points, whatever its shape.

use serde::{Deserialize, Serialize};

/// A point of the sample: where, how high, and how much it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighted {
    /// Where.
    pub x: f64,
    /// How high.
    pub y: f64,
    /// How much it counts; above 0.
    pub weight: f64,
}

/// A function that never falls: straight lines between its knots, level outside of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Isotonic {
    /// Where the knots are, rising, and how high, never falling.
    knots: Vec<(f64, f64)>,
}

/// Points that share a value of the fitted function.
struct Block {
    first: f64,
    last: f64,
    sum: f64,
    weight: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

impl Isotonic {
    /// The function that minimizes the weighted sum of squared errors among those that never
    /// fall, by pooling adjacent violators (Ayer et al., "An empirical distribution function for
    /// sampling with incomplete information", 1955; Barlow et al., "Statistical Inference under
    /// Order Restrictions", 1972). Points at the same place are first made one, their mean.
    /// Points that are not finite or have no weight are left out.
    ///
    /// Between two blocks the prediction is a straight line, as in scikit-learn, so that different
    /// scores mostly stay different; the fit itself is a step function.
    pub fn fit(points: impl IntoIterator<Item = Weighted>) -> Self {
        let mut points: Vec<Weighted> = points
            .into_iter()
            .filter(|p| p.x.is_finite() && p.y.is_finite() && p.weight > 0.0)
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let mut places: Vec<Block> = Vec::new();
        for point in points {
            let (sum, weight) = (point.y * point.weight, point.weight);
            match places.last_mut() {
                Some(place) if place.first == point.x => {
                    place.sum += sum;
                    place.weight += weight;
                }
                _ => places.push(Block { first: point.x, last: point.x, sum, weight }),
            }
        }
        let mut blocks: Vec<Block> = Vec::new();
        for mut block in places {
            while let Some(before) = blocks.pop_if(|before| before.mean() >= block.mean()) {
                block = Block {
                    first: before.first,
                    last: block.last,
                    sum: before.sum + block.sum,
                    weight: before.weight + block.weight,
                };
            }
            blocks.push(block);
        }
        let mut fitted = Isotonic::default();
        for block in &blocks {
            fitted.knots.push((block.first, block.mean()));
            if block.last > block.first {
                fitted.knots.push((block.last, block.mean()));
            }
        }
        fitted
    }

    /// The function's value at `x`; NaN where `x` is NaN or nothing was fitted.
    pub fn at(&self, x: f64) -> f64 {
        let (Some(&(_, lowest)), Some(&(_, highest))) = (self.knots.first(), self.knots.last())
        else {
            return f64::NAN;
        };
        if x.is_nan() {
            return f64::NAN;
        }
        let after = self.knots.partition_point(|knot| knot.0 <= x);
        match (after.checked_sub(1), self.knots.get(after)) {
            (None, _) => lowest,
            (Some(_), None) => highest,
            (Some(before), Some(&(right, high))) => {
                let (left, low) = self.knots[before];
                low + (high - low) * (x - left) / (right - left)
            }
        }
    }

    /// The knots, `(x, y)`.
    pub fn knots(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.knots.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;

    fn weighted(points: &[(f64, f64, f64)]) -> Isotonic {
        Isotonic::fit(points.iter().map(|&(x, y, weight)| Weighted { x, y, weight }))
    }

    #[test]
    fn predictions_agree_with_scikit_learn() {
        // scikit-learn 1.9.1: IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=w).
        let fitted = weighted(&[
            (0.1, 0.0, 1.0),
            (0.2, 1.0, 2.0),
            (0.2, 0.0, 1.0),
            (0.35, 0.0, 1.0),
            (0.4, 1.0, 3.0),
            (0.55, 1.0, 1.0),
            (0.6, 0.0, 2.0),
            (0.7, 1.0, 1.0),
            (0.8, 1.0, 1.0),
            (0.95, 1.0, 1.0),
        ]);
        for (x, expected) in [
            (0.0, 0.0),
            (0.15, 0.25),
            (0.3, 0.5),
            (0.5, 0.666_666_67),
            (0.62, 0.733_333_33),
            (0.65, 0.833_333_33),
            (0.99, 1.0),
        ] {
            assert!((fitted.at(x) - expected).abs() < 1e-7, "{x}: {}", fitted.at(x));
        }
    }

    #[test]
    fn what_is_no_number_is_left_out_and_nothing_gives_nothing() {
        assert!(Isotonic::fit([]).at(0.5).is_nan());
        let one = weighted(&[(f64::NAN, 1.0, 1.0), (0.3, 0.7, 1.0), (0.4, 0.1, 0.0)]);
        assert_eq!((one.at(-5.0), one.at(0.3), one.at(9.0)), (0.7, 0.7, 0.7));
        assert!(one.at(f64::NAN).is_nan());
    }

    proptest::proptest! {
        #[test]
        fn the_fit_never_falls_and_keeps_the_mean(
            points in vec((-5.0f64..5.0, 0.0f64..1.0, 0.1f64..3.0), 1..60),
        ) {
            let fitted = weighted(&points);
            let mut before = f64::NEG_INFINITY;
            for (_, y) in fitted.knots() {
                proptest::prop_assert!(y >= before);
                before = y;
            }
            // Pooling keeps the weighted mean (Barlow et al. 1972, theorem 1.7).
            let total: f64 = points.iter().map(|p| p.2).sum();
            let mean = points.iter().map(|p| p.1 * p.2).sum::<f64>() / total;
            let fit = points.iter().map(|p| fitted.at(p.0) * p.2).sum::<f64>() / total;
            proptest::prop_assert!((mean - fit).abs() < 1e-9, "{mean} {fit}");
        }
    }
}
