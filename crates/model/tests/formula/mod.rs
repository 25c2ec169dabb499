//! Weights from a formula.

/// The formula of `dev/make_golden_families.py`.
pub(crate) fn fill(name: &str, count: usize) -> Vec<f32> {
    let bytes = name.bytes().enumerate();
    let start = bytes.map(|(at, byte)| (at + 1) * usize::from(byte)).sum::<usize>() % 997;
    let norm = name.to_lowercase().contains("norm") && name.ends_with(".weight");
    let around = if norm { 1.0 } else { 0.0 };
    let value = |i: usize| ((i as f64 * 0.7 + start as f64).sin() * 0.3 + around) as f32;
    (0..count).map(value).collect()
}
