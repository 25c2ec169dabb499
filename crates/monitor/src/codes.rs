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

/// Feedback on a request that left no trace.
pub static TRACE: Code = Code {
    id: "SPRAT-MONITOR-TRACE",
    kind: Kind::NotFound,
    summary: "There is no trace of the request that feedback is about.",
    remedy: "Send the id of the response's `x-request-id` header, and the `index` of the input; \
             traces are kept as long as `serve.trace_retention` says.",
};

/// Feedback that cannot be kept.
pub static FEEDBACK: Code = Code {
    id: "SPRAT-MONITOR-FEEDBACK",
    kind: Kind::Usage,
    summary: "Feedback is too long, empty, or contradicts itself.",
    remedy: "Correct the field that the message names.",
};

/// The state of a watch cannot be read.
pub static STATE: Code = Code {
    id: "SPRAT-MONITOR-STATE",
    kind: Kind::Failed,
    summary: "The state of the watch can't be read, or was written by a newer version of Sprat.",
    remedy: "Use the newer version, or move the file away: the watch then learns anew from the \
             traces that are kept.",
};

/// The state of a watch cannot be written.
pub static SAVE: Code = Code {
    id: "SPRAT-MONITOR-SAVE",
    kind: Kind::Failed,
    summary: "The state of the watch can't be written.",
    remedy: "Check the permissions of the state folder and the space on its disk; the watch goes on \
             from where it was last written.",
};

/// Every code of this crate, for the generated reference.
pub static ALL: &[&Code] = &[&KEY, &WRITER, &EXPORT, &TRACE, &FEEDBACK, &STATE, &SAVE];
