//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// The key for hashing texts could not be read or made.
pub static KEY: Code = Code {
    id: "SPRAT-MONITOR-KEY",
    kind: Kind::Failed,
    summary: "The key with which traced texts are hashed could not be read or made.",
    remedy: "Check the permissions of the key file in the state folder, or set the text policy to \
             `keep` or `drop`.",
};

/// The writer thread could not be started or has ended.
pub static WRITER: Code = Code {
    id: "SPRAT-MONITOR-WRITER",
    kind: Kind::Failed,
    summary: "The thread that writes traces could not be started or has ended.",
    remedy: "Restart the server; if it happens again, please report this as a bug.",
};

/// Traces could not be written out.
pub static EXPORT: Code = Code {
    id: "SPRAT-MONITOR-EXPORT",
    kind: Kind::Failed,
    summary: "The traces could not be written out.",
    remedy: "Check that the place is writable and that its disk has room.",
};

/// Every code of this crate, for the generated reference.
pub static ALL: &[&Code] = &[&KEY, &WRITER, &EXPORT];
