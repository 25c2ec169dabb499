//! Quality without labels, and the few labels that are worth their price.
//!
//! [`estimated_accuracy`] reads the accuracy off the confidence. It holds while confidence means
//! what it meant on the calibration rows: when the *inputs* change (covariate shift). It fails,
//! without any sign, when the *meaning* changes (concept change): inputs that look as before and
//! whose right answer is now another one, or inputs that no label fits. Only gold answers show
//! that; [`worth_labelling`] says which to ask for, and [`labelled_accuracy`] makes an unbiased
//! estimate of them.

mod estimate;
mod labelling;

pub use estimate::{Confident, Estimate, estimated_accuracy};
pub use labelling::{
    Asked, Candidate, Gold, labelled_accuracy, labelled_accuracy_of, mean_confidence,
    worth_labelling,
};
