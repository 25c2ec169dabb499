//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// Vectors that do not belong together.
pub static INPUT: Code = Code {
    id: "SPRAT-EVAL-INPUT",
    kind: Kind::Failed,
    summary: "The answers to evaluate do not fit together: different lengths, unknown classes, \
              or probabilities that are not numbers between 0 and 1.",
    remedy: "Evaluate every candidate on the same rows, with the classes of the task.",
};

/// Nothing to evaluate.
pub static EMPTY: Code = Code {
    id: "SPRAT-EVAL-EMPTY",
    kind: Kind::Failed,
    summary: "There are no examples to evaluate on.",
    remedy: "Give a test part, or let `sprat data split` make one.",
};

/// The release gate refused.
pub static GATE: Code = Code {
    id: "SPRAT-EVAL-GATE",
    kind: Kind::Refused,
    summary: "The release gate refused: the evidence does not satisfy every rule.",
    remedy: "Read the rules that failed: improve the model, collect more test rows, or, where a \
             rule may be waived, waive it by name with a reason.",
};

/// The shrunk model lost too much of the tuned skill.
pub static RETENTION: Code = Code {
    id: "SPRAT-EVAL-RETENTION",
    kind: Kind::Refused,
    summary: "The shrunk model lost more of the tuned skill than allowed, or the evidence is not \
              enough to exclude it.",
    remedy: "Use a larger variant, test on more rows, or allow a larger margin.",
};

/// What is served does not answer like what was measured.
pub static EQUIVALENCE: Code = Code {
    id: "SPRAT-EVAL-EQUIVALENCE",
    kind: Kind::Refused,
    summary: "After a step that should not change answers, the model answers differently.",
    remedy: "Run the named step again; if it repeats, report it with both artefacts' digests.",
};

/// No candidate satisfies the needs.
pub static CHOICE: Code = Code {
    id: "SPRAT-EVAL-CHOICE",
    kind: Kind::Refused,
    summary: "No candidate satisfies every need.",
    remedy: "Read why each was ruled out: add a candidate, tune one, or relax a need.",
};

/// Every code of this crate, for the reference.
pub static ALL: &[&Code] = &[&INPUT, &EMPTY, &GATE, &RETENTION, &EQUIVALENCE, &CHOICE];
