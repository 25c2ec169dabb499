//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// The database could not be opened.
pub static OPEN: Code = Code {
    id: "SPRAT-STORE-OPEN",
    kind: Kind::Failed,
    summary: "The state database could not be opened.",
    remedy: "Check that the state folder exists, that you may write in it, and that its disk is there.",
};

/// The database was written by a newer Sprat.
pub static NEWER: Code = Code {
    id: "SPRAT-STORE-NEWER",
    kind: Kind::Failed,
    summary: "The state was written by a newer version of Sprat than this one.",
    remedy: "Use that newer version of Sprat; nothing was changed.",
};

/// A query failed.
pub static QUERY: Code = Code {
    id: "SPRAT-STORE-QUERY",
    kind: Kind::Failed,
    summary: "The state database refused an operation.",
    remedy: "Run `sprat doctor`; if it reports nothing, please report this as a bug.",
};

/// Other processes held the database for too long.
pub static BUSY: Code = Code {
    id: "SPRAT-STORE-BUSY",
    kind: Kind::Failed,
    summary: "Other processes held the state database for too long.",
    remedy: "Try again when they have finished.",
};

/// The disk is full.
pub static FULL: Code = Code {
    id: "SPRAT-STORE-FULL",
    kind: Kind::Failed,
    summary: "The disk, or the share of it that this user may fill, is full.",
    remedy: "Free some space (`sprat gc` removes unused blobs) and run the same command again; \
             what was stored before is untouched.",
};

/// Stored content does not match its digest, or a row cannot be read.
pub static DAMAGED: Code = Code {
    id: "SPRAT-STORE-DAMAGED",
    kind: Kind::Failed,
    summary: "Something in the store is not what was written.",
    remedy: "Run `sprat doctor` for the whole picture; restore the named item from a backup, an \
             exported version, or by running the step again.",
};

/// A blob is not in the store.
pub static MISSING: Code = Code {
    id: "SPRAT-STORE-MISSING",
    kind: Kind::NotFound,
    summary: "A blob is not in the store.",
    remedy: "Run `sprat doctor` to see which versions are affected; import or release them again.",
};

/// Reading or writing a file of the store failed.
pub static FILE: Code = Code {
    id: "SPRAT-STORE-FILE",
    kind: Kind::Failed,
    summary: "A file of the store could not be read or written.",
    remedy: "Check the permissions of the state folder and the health of its disk.",
};

/// Every code of this crate, for the generated reference.
pub static ALL: &[&Code] = &[&OPEN, &NEWER, &QUERY, &BUSY, &FULL, &DAMAGED, &MISSING, &FILE];
