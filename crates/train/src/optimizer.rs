//! One optimizer step over a learner's parameters: clipping by the common norm, then AdamW.

use crate::learner::{Learner, Measure};
use crate::recipe::Recipe;
use sprat_nn::{AdamW, AdamWState, clip_gradients};

/// Changes every parameter by its gradient, clears the gradients, and returns their common norm
/// before clipping. A norm that is not finite changes nothing.
pub(crate) fn step<M: Measure>(
    learner: &mut dyn Learner<Measure = M>,
    states: &mut [AdamWState],
    rate: f64,
    recipe: &Recipe,
) -> f64 {
    let mut squares = 0.0;
    learner.parameters(&mut |parameter| {
        let norm = f64::from(clip_gradients(&mut [parameter.gradient], f32::INFINITY));
        squares += norm * norm;
    });
    let norm = squares.sqrt();
    if !norm.is_finite() {
        return norm;
    }
    let adam = AdamW { weight_decay: recipe.weight_decay as f32, ..AdamW::default() };
    let scale = if norm > recipe.clip { (recipe.clip / norm) as f32 } else { 1.0 };
    let mut states = states.iter_mut();
    learner.parameters(&mut |parameter| {
        let Some(state) = states.next() else { return };
        if scale < 1.0 {
            parameter.gradient.iter_mut().for_each(|slope| *slope *= scale);
        }
        let rate = (rate * parameter.rate) as f32;
        let (value, gradient) = (parameter.value, parameter.gradient);
        adam.step(rate, &mut [value], &[gradient], &[parameter.decays], state);
        gradient.fill(0.0);
    });
    learner.updated();
    norm
}
