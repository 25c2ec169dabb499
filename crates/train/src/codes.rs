//! The error codes of training.

use sprat_task::{Code, Kind};

/// The training or validation part can't be trained on.
pub static DATA: Code = Code {
    id: "SPRAT-TRAIN-DATA",
    kind: Kind::Failed,
    summary: "The training or validation part is empty, or a label is outside the label list.",
    remedy: "Check the data with `sprat data check`; both parts need examples of known labels.",
};

/// Examples of tokens can't be learned from.
pub static EXAMPLES: Code = Code {
    id: "SPRAT-TRAIN-EXAMPLES",
    kind: Kind::Failed,
    summary: "Examples carry no loss, do not fit the context, or have answers without an end.",
    remedy: "Correct or drop the rows that the message names, or raise `tune.max_tokens`.",
};

/// A setting of the recipe can't be used.
pub static RECIPE: Code = Code {
    id: "SPRAT-TRAIN-RECIPE",
    kind: Kind::Failed,
    summary: "A training setting names something that the base model does not have.",
    remedy: "Correct the setting under [tune]; the settings reference lists what is allowed.",
};

/// Another process trains in the same folder.
pub static LOCKED: Code = Code {
    id: "SPRAT-TRAIN-LOCKED",
    kind: Kind::Failed,
    summary: "Another process is training in the same run folder.",
    remedy: "Wait until it ends or stop it, or train in another folder.",
};

/// The folder holds an unfinished run of something else.
pub static OTHER_RUN: Code = Code {
    id: "SPRAT-TRAIN-OTHER-RUN",
    kind: Kind::Failed,
    summary: "The run folder holds an unfinished run with other settings, data or base model.",
    remedy: "Train in another folder, or delete this one if its run is not wanted any more.",
};

/// A checkpoint can't be read.
pub static CHECKPOINT: Code = Code {
    id: "SPRAT-TRAIN-CHECKPOINT",
    kind: Kind::Failed,
    summary: "The checkpoints of a run are damaged, or were written by a newer version.",
    remedy: "Delete the run folder to train from the start.",
};

/// A file of the run can't be written or read.
pub static STORAGE: Code = Code {
    id: "SPRAT-TRAIN-STORAGE",
    kind: Kind::Failed,
    summary: "A file in the run folder could not be read or written.",
    remedy: "Check the folder's permissions and the free space; the same command then resumes.",
};

/// The loss is not a finite number any more.
pub static DIVERGED: Code = Code {
    id: "SPRAT-TRAIN-DIVERGED",
    kind: Kind::Failed,
    summary: "The loss or a gradient became infinite or not a number.",
    remedy: "Lower `tune.learning_rate`, or let `--budget` search for one.",
};

/// The search found no settings that work.
pub static SEARCH: Code = Code {
    id: "SPRAT-TRAIN-SEARCH",
    kind: Kind::Failed,
    summary: "No trial of the search ended with a usable result.",
    remedy: "Set `tune.learning_rate` by hand; start an order of magnitude lower.",
};

/// Every code of this crate, for the reference.
pub static ALL: &[&Code] =
    &[&DATA, &EXAMPLES, &RECIPE, &LOCKED, &OTHER_RUN, &CHECKPOINT, &STORAGE, &DIVERGED, &SEARCH];
