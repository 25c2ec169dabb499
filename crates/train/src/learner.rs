//! What the training loop needs to know of a model: nothing but losses, gradients and logits.

use sprat_task::Result;

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
    /// Adds the gradients of the mean loss over these training examples to the parameters'
    /// buffers and returns that loss. `step` numbers the random choices, such as dropout masks:
    /// the same step on the same values gives the same bits.
    fn gradients(&mut self, rows: &[usize], step: u64) -> Result<f64>;

    /// Calls `visit` with every parameter, always in the same order.
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter<'_>));

    /// The parameters' values have changed: derived forms are stale.
    fn updated(&mut self);

    /// The logits of the validation examples, `[n, classes]`, row-major, without dropout.
    fn validate(&mut self) -> Result<Vec<f32>>;
}
