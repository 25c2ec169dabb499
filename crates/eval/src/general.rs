//! Measures of general ability on embeddings, for the untuned base: what shrinking does to a
//! model apart from the tuned skill.

/// For every row, whether its nearest neighbour (cosine; itself excluded) has the same group: 1
/// or 0. A skill with right and wrong answers, commensurate with accuracy on the tuned task.
/// `embeddings` is `[rows, width]`, row-major; `groups[i]` is what row `i` is about.
pub fn neighbour_hits(embeddings: &[f32], width: usize, groups: &[usize]) -> Vec<f64> {
    let neighbours = nearest(embeddings, width, 1);
    neighbours
        .iter()
        .zip(groups)
        .map(|(near, group)| {
            let hit = near.first().is_some_and(|&other| groups.get(other) == Some(group));
            f64::from(u8::from(hit))
        })
        .collect()
}

/// For every row, the share of its `k` nearest neighbours (cosine) under `before` that are also
/// among the `k` nearest under `after`: 1 when shrinking kept the order of similarities.
/// Both are `[rows, width]`, row-major.
pub fn neighbour_overlap(before: &[f32], after: &[f32], width: usize, k: usize) -> Vec<f64> {
    let (before, after) = (nearest(before, width, k), nearest(after, width, k));
    before
        .iter()
        .zip(&after)
        .map(|(one, other)| {
            let kept = one.iter().filter(|row| other.contains(row)).count();
            kept as f64 / one.len().max(1) as f64
        })
        .collect()
}

/// The `k` nearest other rows of each row, nearest first; ties go to the earlier row.
fn nearest(embeddings: &[f32], width: usize, k: usize) -> Vec<Vec<usize>> {
    if width == 0 {
        return Vec::new();
    }
    let unit: Vec<Vec<f32>> = embeddings
        .chunks_exact(width)
        .map(|row| {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
            row.iter().map(|x| x / norm).collect()
        })
        .collect();
    let rows = unit.len();
    (0..rows)
        .map(|at| {
            let mut others: Vec<(f32, usize)> = (0..rows)
                .filter(|&other| other != at)
                .map(|other| (dot(&unit[at], &unit[other]), other))
                .collect();
            let k = k.min(others.len());
            if k == 0 {
                return Vec::new();
            }
            let order =
                |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            others.select_nth_unstable_by(k - 1, order);
            others.truncate(k);
            others.sort_by(order);
            others.into_iter().map(|(_, row)| row).collect()
        })
        .collect()
}

/// Eight partial sums, so that the compiler can use vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for at in 0..8 {
            sums[at] += x[at] * y[at];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [f32; 8] = [1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9];

    #[test]
    fn neighbours_are_found_by_angle() {
        assert_eq!(nearest(&POINTS, 2, 1), [[1], [0], [3], [2]]);
        assert_eq!(neighbour_hits(&POINTS, 2, &[0, 0, 1, 1]), [1.0; 4]);
        assert_eq!(neighbour_hits(&POINTS, 2, &[0, 1, 1, 1]), [0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn identical_embeddings_overlap_fully() {
        assert_eq!(neighbour_overlap(&POINTS, &POINTS, 2, 2), [1.0; 4]);
        let turned: Vec<f32> = POINTS.iter().map(|x| x * 3.0).collect();
        assert_eq!(neighbour_overlap(&POINTS, &turned, 2, 1), [1.0; 4]);
        let swapped = [1.0, 0.0, 0.0, 1.0, 0.9, 0.1, 0.1, 0.9];
        assert_eq!(neighbour_overlap(&POINTS, &swapped, 2, 1), [0.0; 4]);
        assert!(neighbour_overlap(&[], &[], 2, 3).is_empty());
    }
}
