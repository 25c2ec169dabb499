//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// The graded rows can't be used.
pub static GRADED: Code = Code {
    id: "SPRAT-ROUTE-GRADED",
    kind: Kind::Failed,
    summary: "The graded requests can't be used: too few, without a score each, or without the \
              large model's grades that the failure `regret` needs.",
    remedy: "Grade more requests; `failure = \"wrong\"` needs no answers of the large model.",
};

/// A setting is out of range.
pub static OPTIONS: Code = Code {
    id: "SPRAT-ROUTE-OPTIONS",
    kind: Kind::Usage,
    summary: "A setting of the fit is out of range.",
    remedy: "alpha and delta lie between 0 and 1, both excluded; shares are positive and leave \
             something for the sealed part.",
};

/// The document of a fitted route can't be read.
pub static DOCUMENT: Code = Code {
    id: "SPRAT-ROUTE-DOCUMENT",
    kind: Kind::Failed,
    summary: "A fitted route is damaged, or of a version that this program does not know.",
    remedy: "Fit the route again with this version of the program.",
};

/// All error codes of this crate.
pub static ALL: &[&Code] = &[&GRADED, &OPTIONS, &DOCUMENT];
