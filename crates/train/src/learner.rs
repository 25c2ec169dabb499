//! What the training loop needs to know of a model: nothing but losses, gradients and measures.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sprat_task::Result;
use std::fmt::Debug;

/// What one validation measures.
pub(crate) trait Measure: Copy + Debug + PartialEq + Serialize + DeserializeOwned {
    /// By it checkpoints and trials are compared: lower is better; not a number for a model that
    /// is broken.
    fn score(&self) -> f64;

    /// Mean loss in nats, as the model stands.
    fn loss(&self) -> f64;

    /// What is shown while training goes on: a name and a value.
    fn shown(&self) -> (&'static str, f64);

    /// Whether this is a better model than `other`.
    fn better_than(&self, other: &Self) -> bool {
        // False for NaN on either side but the other's: a broken model is never the best.
        self.score() < other.score() || (other.score().is_nan() && !self.score().is_nan())
    }
}

/// One tensor that the optimizer changes, borrowed from the model.
pub(crate) struct Parameter<'a> {
    /// Its name in files, unique in the model.
    pub(crate) name: &'a str,
    /// Its present values.
    pub(crate) value: &'a mut [f32],
    /// The gradient of the loss, of the same length; the loop clears it after use.
    pub(crate) gradient: &'a mut [f32],
    /// Whether weight decay applies: to matrices, not to biases and norms.
    pub(crate) decays: bool,
    /// The learning rate as a multiple of the schedule's.
    pub(crate) rate: f64,
}

/// A model with its data, as the loop sees it.
pub(crate) trait Learner {
    /// What its validation measures.
    type Measure: Measure;

    /// Adds the gradients of the mean loss over these training examples to the parameters'
    /// buffers and returns that loss. `step` numbers the random choices, such as dropout masks:
    /// the same step on the same values gives the same bits.
    fn gradients(&mut self, rows: &[usize], step: u64) -> Result<f64>;

    /// Calls `visit` with every parameter, always in the same order.
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter<'_>));

    /// The parameters' values have changed: derived forms are stale.
    fn updated(&mut self);

    /// Measures the model on the validation examples, without dropout.
    fn validate(&mut self) -> Result<Self::Measure>;
}
