//! The error codes of the command line itself.

use sprat_task::{Code, Kind};

/// The input can't be read.
pub(crate) static INPUT: Code = Code {
    id: "SPRAT-CLI-INPUT",
    kind: Kind::Failed,
    summary: "The input file can't be opened.",
    remedy: "Check its path and permissions.",
};

/// The output can't be written.
pub(crate) static OUTPUT: Code = Code {
    id: "SPRAT-CLI-OUTPUT",
    kind: Kind::Failed,
    summary: "The output file can't be written.",
    remedy: "Check the folder's permissions and the space on its disk; nothing half-written is left.",
};

/// No key file is named.
pub(crate) static KEY_FILE: Code = Code {
    id: "SPRAT-CLI-KEY-FILE",
    kind: Kind::Usage,
    summary: "No key file is named.",
    remedy: "Name it with --file, or set api_keys under [serve] in sprat.toml.",
};

/// A page differs from what the code says.
pub(crate) static STALE: Code = Code {
    id: "SPRAT-REFERENCE-STALE",
    kind: Kind::Refused,
    summary: "A generated reference page differs from what the code says.",
    remedy: "Run `make reference` and commit the pages.",
};

/// A page can't be written.
pub(crate) static UNWRITABLE: Code = Code {
    id: "SPRAT-REFERENCE-UNWRITABLE",
    kind: Kind::Failed,
    summary: "A generated reference page can't be written.",
    remedy: "Check the folder's permissions and the space on its disk.",
};

/// All error codes of this crate.
pub(crate) static ALL: &[&Code] = &[&INPUT, &OUTPUT, &KEY_FILE, &STALE, &UNWRITABLE];
