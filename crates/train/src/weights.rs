//! How much each class counts in the loss.

use sprat_task::settings::ClassWeights;

/// One weight per class whose mean over the training examples is 1, so that the learning rate
/// keeps its meaning; `None` when all classes count the same.
///
/// Balanced: `n / (present classes · n_class)`, as in scikit-learn's `class_weight="balanced"`
/// (King & Zeng 2001). A class without examples gets 1; nothing is multiplied by it.
pub fn class_weights(kind: ClassWeights, gold: &[usize], classes: usize) -> Option<Vec<f32>> {
    if kind == ClassWeights::None {
        return None;
    }
    let mut counts = vec![0usize; classes];
    for &class in gold {
        counts[class] += 1;
    }
    let present = counts.iter().filter(|&&count| count > 0).count();
    let weight = |&count: &usize| match count {
        0 => 1.0,
        count => gold.len() as f32 / (present * count) as f32,
    };
    Some(counts.iter().map(weight).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_counts_the_same_and_the_mean_is_one() {
        let gold = [0, 0, 0, 2];
        let weights = class_weights(ClassWeights::Balanced, &gold, 3).unwrap();
        assert_eq!(weights, [2.0 / 3.0, 1.0, 2.0]);
        let mean = gold.iter().map(|&class| weights[class]).sum::<f32>() / 4.0;
        assert!((mean - 1.0).abs() < 1e-6);
        assert_eq!(class_weights(ClassWeights::None, &gold, 3), None);
    }
}
