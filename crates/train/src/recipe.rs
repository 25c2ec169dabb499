//! How a model is tuned: the `[tune]` section of `sprat.toml`, with its gaps filled.

use sprat_task::Digest;
pub use sprat_task::settings::Tune as Recipe;
use sprat_task::settings::{Method, Span, TrainingMemory};

/// The learning rate where the recipe names none. Found by the search of this crate on Banking77
/// with MiniLM, validation part only; `benches/README.md` has the table.
pub fn default_rate(method: Method) -> f64 {
    match method {
        Method::Head => 1e-2,
        Method::Lora => 5e-4,
        Method::Full => 1e-4,
    }
}

/// The recipe with every gap filled that has an answer without looking at data.
#[must_use]
pub fn resolve(recipe: &Recipe) -> Recipe {
    let rate = recipe.learning_rate.unwrap_or_else(|| default_rate(recipe.method));
    Recipe { learning_rate: Some(rate), ..recipe.clone() }
}

/// The digest of what decides a run's result: the filled recipe without the settings that change
/// only its course (how often checkpoints are written, how long the search before it may take,
/// how much memory there is).
pub fn digest(recipe: &Recipe) -> Digest {
    let recipe = Recipe {
        budget: None,
        checkpoint_every: Span::seconds(0),
        memory: TrainingMemory::High,
        ..resolve(recipe)
    };
    // The recipe is plain data: to JSON it always goes.
    Digest::of_json(&serde_json::to_value(recipe).unwrap_or_default())
}

/// The digest of labelled examples: texts and classes in their order.
pub fn data_digest(examples: &[(String, usize)], labels: &[String]) -> Digest {
    Digest::of_json(&serde_json::json!({ "labels": labels, "examples": examples }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_the_result_changes_the_digest() {
        let recipe = Recipe::default();
        let slower = Recipe { checkpoint_every: Span::seconds(1), ..recipe.clone() };
        let searched = Recipe { budget: Some(Span::seconds(600)), ..recipe.clone() };
        let explicit =
            Recipe { learning_rate: Some(default_rate(recipe.method)), ..recipe.clone() };
        let small = Recipe { memory: TrainingMemory::Low, ..recipe.clone() };
        for same in [slower, searched, explicit, small] {
            assert_eq!(digest(&recipe), digest(&same));
        }
        for other in [
            Recipe { rank: 8, ..recipe.clone() },
            Recipe { seed: 1, ..recipe.clone() },
            Recipe { learning_rate: Some(0.5), ..recipe.clone() },
        ] {
            assert_ne!(digest(&recipe), digest(&other));
        }
    }
}
