//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// The embedded template could not be filled.
pub static RENDER: Code = Code {
    id: "SPRAT-REPORT-RENDER",
    kind: Kind::Failed,
    summary: "A report page could not be rendered from its template.",
    remedy: "This is a defect of Sprat: report it with the message; --json gives the same figures.",
};

/// A report could not be written to its file.
pub static WRITE: Code = Code {
    id: "SPRAT-REPORT-WRITE",
    kind: Kind::Failed,
    summary: "A report page could not be written to disk.",
    remedy: "Check that the folder exists, is writable and has free space.",
};

/// Every code of this crate, for the reference.
pub static ALL: &[&Code] = &[&RENDER, &WRITE];
