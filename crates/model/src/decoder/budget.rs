//! Which matrix deserves how many bits, when all together may take so many bytes.
//!
//! Of each matrix and format the error is known, and the size. Beginning with the smallest
//! formats, what is left of the budget goes where the error falls most per byte: along the lower
//! convex hull of each matrix's sizes and errors, the steepest step of all first. For a sum of
//! errors that is the best choice up to the last step that no longer fits (Fox 1966, "Discrete
//! optimization via marginal analysis", Management Science 13).
//!
//! An error is relative to the matrix's own energy, both weighted by the importance of the columns:
//! about the share of its product that storing it destroys. So all matrices count alike, and a
//! small one gets more bits for the same share.

use sprat_nn::BlockFormat;

/// A format that a matrix could have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) format: BlockFormat,
    pub(super) bytes: usize,
    /// Its share of the matrix's energy.
    pub(super) error: f64,
}

/// The formats that are tried for rows of so many columns.
fn formats(columns: usize) -> &'static [BlockFormat] {
    use BlockFormat::{F16, Q4_0, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    if columns.is_multiple_of(Q4K.elements()) {
        &[Q4K, Q5K, Q6K, Q8_0]
    } else if columns.is_multiple_of(Q8_0.elements()) {
        &[Q4_0, Q5_0, Q5_1, Q8_0]
    } else {
        &[F16]
    }
}

/// What the formats would do to a matrix with rows of `columns` weights.
pub(super) fn candidates(
    values: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
) -> Vec<Candidate> {
    let mut blocks = Vec::new();
    let mut restored = vec![0.0; values.len()];
    let fits = |format: &&BlockFormat| format.bytes_for(values.len()).is_some();
    let candidates = formats(columns).iter().filter(fits).map(|&format| {
        let bytes = format.bytes_for(values.len()).unwrap_or_default();
        blocks.resize(bytes, 0);
        format.quantize_rows(columns, values, importance, &mut blocks);
        format.dequantize_all(&blocks, &mut restored);
        Candidate { format, bytes, error: relative_error(values, &restored, columns, importance) }
    });
    candidates.collect()
}

/// `Σ h·(x − y)² / Σ h·x²`, with the importance `h` of the columns.
fn relative_error(x: &[f32], y: &[f32], columns: usize, importance: Option<&[f32]>) -> f64 {
    let (mut error, mut energy) = (0.0, 0.0);
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact(columns)) {
        for (at, (x, y)) in x.iter().zip(y).enumerate() {
            let weight = importance.map_or(1.0, |importance| f64::from(importance[at]));
            let (x, y) = (f64::from(*x), f64::from(*y));
            error += weight * (x - y) * (x - y);
            energy += weight * x * x;
        }
    }
    if energy > 0.0 { error / energy } else { 0.0 }
}

/// The format of each matrix, all of them together in at most `budget` bytes.
///
/// # Errors
/// The bytes that are needed at least, when they are more.
pub(super) fn choose(
    matrices: &[Vec<Candidate>],
    budget: usize,
) -> std::result::Result<Vec<BlockFormat>, usize> {
    let hulls: Vec<Vec<Candidate>> = matrices.iter().map(|all| hull(all)).collect();
    let mut taken: usize = hulls.iter().filter_map(|hull| hull.first()).map(|c| c.bytes).sum();
    if taken > budget {
        return Err(taken);
    }
    let mut steps: Vec<(f64, usize, usize)> = Vec::new();
    for (matrix, hull) in hulls.iter().enumerate() {
        let pairs = hull.windows(2).enumerate();
        steps.extend(pairs.map(|(at, pair)| (slope(&pair[0], &pair[1]), matrix, at + 1)));
    }
    // Slopes fall along a hull, so that its steps come in their order.
    steps.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut places = vec![0; hulls.len()];
    for (_, matrix, to) in steps {
        // What does not fit blocks the larger steps of its matrix, not those of others.
        let Some(from) = to.checked_sub(1).filter(|from| *from == places[matrix]) else { continue };
        let more = hulls[matrix][to].bytes - hulls[matrix][from].bytes;
        if taken + more <= budget {
            (taken, places[matrix]) = (taken + more, to);
        }
    }
    Ok(hulls.iter().zip(places).map(|(hull, at)| hull[at].format).collect())
}

/// How much error a byte takes away between two candidates.
fn slope(from: &Candidate, to: &Candidate) -> f64 {
    (from.error - to.error) / (to.bytes - from.bytes) as f64
}

/// The candidates for which no mixture of others is both smaller and better, the smallest first.
fn hull(all: &[Candidate]) -> Vec<Candidate> {
    let mut sorted = all.to_vec();
    sorted.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.error.total_cmp(&b.error)));
    let mut hull: Vec<Candidate> = Vec::new();
    for next in sorted {
        if hull.last().is_some_and(|last| next.bytes == last.bytes || next.error >= last.error) {
            continue;
        }
        while let [.., before, last] = hull[..]
            && slope(&before, &last) <= slope(&last, &next)
        {
            hull.pop();
        }
        hull.push(next);
    }
    hull
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LADDER: [BlockFormat; 4] =
        [BlockFormat::Q4K, BlockFormat::Q5K, BlockFormat::Q6K, BlockFormat::Q8_0];

    fn matrix(sizes: [usize; 4], errors: [f64; 4]) -> Vec<Candidate> {
        let all = LADDER.into_iter().zip(sizes).zip(errors);
        all.map(|((format, bytes), error)| Candidate { format, bytes, error }).collect()
    }

    fn totals(matrices: &[Vec<Candidate>], chosen: &[BlockFormat]) -> (usize, f64) {
        let pairs = matrices.iter().zip(chosen);
        pairs.fold((0, 0.0), |(bytes, error), (all, format)| {
            let own = all.iter().find(|one| one.format == *format).unwrap();
            (bytes + own.bytes, error + own.error)
        })
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_and_more_of_it_never_gives_more_error(
            plain in prop::collection::vec(
                (prop::array::uniform4(1usize..1000), prop::array::uniform4(0.0..1.0f64)), 1..6),
            budgets in prop::array::uniform2(0usize..6000),
        ) {
            let all: Vec<_> = plain.into_iter().map(|(b, e)| matrix(b, e)).collect();
            let (less, more) = (budgets[0].min(budgets[1]), budgets[0].max(budgets[1]));
            let found = [less, more].map(|budget| choose(&all, budget));
            match &found {
                [Ok(small), Ok(large)] => {
                    let (small, large) = (totals(&all, small), totals(&all, large));
                    prop_assert!(small.0 <= less && large.0 <= more);
                    prop_assert!(large.1 <= small.1 + 1e-12);
                }
                [Err(least), Ok(_)] => prop_assert!(less < *least && *least <= more),
                [Err(least), Err(_)] => prop_assert!(more < *least),
                [Ok(_), Err(_)] => prop_assert!(false, "more is never too little"),
            }
        }
    }

    #[test]
    fn what_suffers_most_gets_more_bits() {
        let sizes = [45, 55, 66, 85];
        let robust = matrix(sizes, [0.004, 0.001, 0.0003, 0.0001]);
        let sensitive = matrix(sizes, [0.4, 0.1, 0.03, 0.01]);
        let both = [robust, sensitive];
        assert_eq!(choose(&both, 100).unwrap(), [BlockFormat::Q4K, BlockFormat::Q5K]);
        assert_eq!(choose(&both, 130).unwrap(), [BlockFormat::Q4K, BlockFormat::Q8_0]);
        assert_eq!(choose(&both, 170).unwrap(), [BlockFormat::Q8_0; 2]);
        assert_eq!(choose(&both, 89), Err(90));
    }

    #[test]
    fn errors_are_measured_where_inputs_are() {
        // One column is far from any grid of the others.
        let values: Vec<f32> =
            (0..1024).map(|at| if at % 256 == 7 { 40.0 } else { (at as f32).sin() }).collect();
        let mut importance = vec![1.0; 256];
        let plain = candidates(&values, 256, Some(&importance));
        importance[7] = 0.0;
        let ignored = candidates(&values, 256, Some(&importance));
        assert_eq!(plain.iter().map(|one| one.format).collect::<Vec<_>>(), LADDER);
        assert!(plain.windows(2).all(|pair| pair[0].bytes < pair[1].bytes));
        assert!(plain[0].error < ignored[0].error, "{plain:?} {ignored:?}");
        assert_eq!(candidates(&values[..96], 48, None)[0].format, BlockFormat::F16);
    }
}
