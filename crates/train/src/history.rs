//! The course of a run: what was measured at which step.

use crate::metrics::Metrics;
use serde::{Deserialize, Serialize};

/// One record of a run's course.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point<M = Metrics> {
    /// Optimizer steps done.
    pub step: u64,
    /// The same in passes through the training part.
    pub epoch: f64,
    /// Mean training loss in nats since the record before; none before the first step.
    pub train_loss: Option<f64>,
    /// The learning rate of the last step done.
    pub learning_rate: f64,
    /// The validation at this step, if there was one.
    pub validation: Option<M>,
    /// Seconds of training so far, interruptions not counted. The only field that differs between
    /// two runs of the same recipe.
    pub seconds: f64,
}

/// The best validation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best<M = Metrics> {
    pub(crate) step: u64,
    pub(crate) metrics: M,
}
