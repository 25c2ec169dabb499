//! For tests: gradients against central differences, and reproducible numbers.

use crate::Mat;

/// A matrix of reproducible numbers in `[-1, 1)`.
pub(crate) fn matrix(rows: usize, cols: usize, salt: u64) -> Mat {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(77);
    let data = (0..rows * cols)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect();
    Mat::new(rows, cols, data)
}

/// `Σ weight · y`: a scalar whose gradient for `y` is `weight`.
pub(crate) fn weigh(y: &Mat, weight: &Mat) -> f64 {
    assert_eq!((y.rows, y.cols), (weight.rows, weight.cols));
    y.data.iter().zip(&weight.data).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
}

/// Checks `gradient` of `loss` at `at` against central differences in every coordinate.
pub(crate) fn check(what: &str, at: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
    assert_eq!(at.len(), gradient.len(), "{what}: one derivative per number");
    let h = 1.0 / 128.0;
    for i in 0..at.len() {
        let moved = |by: f32| {
            let mut x = at.to_vec();
            x[i] += by;
            loss(&x)
        };
        // Five points (Fornberg 1988, table 1): the error is of order h⁴.
        let want = (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h)))
            / (12.0 * f64::from(h));
        let error = (f64::from(gradient[i]) - want).abs();
        assert!(error < 1e-3 * (1.0 + want.abs()), "{what}[{i}]: {} is not {want}", gradient[i]);
    }
}
