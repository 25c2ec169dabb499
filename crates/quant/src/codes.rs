//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// A conversion starts from weights that are already small.
pub static SOURCE: Code = Code {
    id: "SPRAT-QUANT-SOURCE",
    kind: Kind::Failed,
    summary: "Weights that are already in a small number format were to be converted.",
    remedy: "Convert the version that was tuned, not one that was made from it.",
};

/// The result would replace its own source.
pub static PLACE: Code = Code {
    id: "SPRAT-QUANT-PLACE",
    kind: Kind::Failed,
    summary: "The folder to write is the folder that is read.",
    remedy: "Write into another folder.",
};

/// Every code of this crate.
pub static ALL: &[&Code] = &[&SOURCE, &PLACE];
