//! Several tests at once.

/// Holm's step-down adjustment (Holm, "A simple sequentially rejective multiple test procedure",
/// 1979): p-values, in their own order, that may be compared with the level as if each were the
/// only test.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut floor: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        floor = floor.max((p_values[at] * factor).min(1.0));
        adjusted[at] = floor;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_agrees_with_statsmodels() {
        // statsmodels 0.15.0: multipletests([0.01, 0.04, 0.03, 0.005, 0.5], method="holm")[1].
        let ours = holm(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        for (ours, expected) in ours.iter().zip([0.04, 0.09, 0.09, 0.025, 0.5]) {
            assert!((ours - expected).abs() < 1e-12, "{ours} {expected}");
        }
        assert!(holm(&[]).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn adjusting_never_makes_a_finding_stronger(p in proptest::collection::vec(0.0f64..=1.0, 0..12)) {
            for (adjusted, raw) in holm(&p).iter().zip(&p) {
                proptest::prop_assert!(adjusted >= raw && *adjusted <= 1.0);
            }
        }
    }
}
