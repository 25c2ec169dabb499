//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// A reference names nothing in the registry.
pub static UNKNOWN: Code = Code {
    id: "SPRAT-REGISTRY-UNKNOWN",
    kind: Kind::NotFound,
    summary: "A reference names no version, alias or task of this registry.",
    remedy: "See what there is with `sprat log`; references are `task`, `task@alias`, `task@v3` \
             or `task@` with at least six digits of the digest.",
};

/// A reference fits more than one version.
pub static AMBIGUOUS: Code = Code {
    id: "SPRAT-REGISTRY-AMBIGUOUS",
    kind: Kind::Usage,
    summary: "A digest prefix fits more than one version.",
    remedy: "Give more digits of the digest, or the version number.",
};

/// A name or reference is malformed.
pub static NAME: Code = Code {
    id: "SPRAT-REGISTRY-NAME",
    kind: Kind::Usage,
    summary: "The name of a task, alias or adapter, or a reference, is malformed.",
    remedy: "Use letters, digits, `-`, `_` and `.`, at most 100, beginning with a letter or digit; \
             an alias must not look like a version number or a digest, nor be `latest`.",
};

/// The alias moved in the meantime.
pub static CONFLICT: Code = Code {
    id: "SPRAT-REGISTRY-CONFLICT",
    kind: Kind::Conflict,
    summary: "Somebody else moved the alias in the meantime; nothing was changed.",
    remedy: "Look at where it stands now (`sprat log`) and decide again.",
};

/// There is nothing to roll back to.
pub static NO_PREVIOUS: Code = Code {
    id: "SPRAT-REGISTRY-NO-PREVIOUS",
    kind: Kind::Conflict,
    summary: "The alias has no earlier version to go back to.",
    remedy: "Promote the wanted version by its number instead.",
};

/// The artefact cannot be released as it is.
pub static ARTEFACT: Code = Code {
    id: "SPRAT-REGISTRY-ARTEFACT",
    kind: Kind::Failed,
    summary: "The artefact's folder cannot be read, is empty, or holds something that is no plain \
              file.",
    remedy: "Give a folder of plain files whose names are valid UTF-8 without `\\` and `:`.",
};

/// The gate's pass is for another artefact.
pub static GATE: Code = Code {
    id: "SPRAT-REGISTRY-GATE",
    kind: Kind::Refused,
    summary: "The gate judged another artefact than the one to be released.",
    remedy: "The artefact's files changed after they were judged: judge them again.",
};

/// Laying out an artefact failed.
pub static CHECKOUT: Code = Code {
    id: "SPRAT-REGISTRY-CHECKOUT",
    kind: Kind::Failed,
    summary: "An artefact could not be laid out as a folder.",
    remedy: "Check that the place is writable, that nothing stands there yet, and that the disk \
             has room.",
};

/// An archive was refused.
pub static ARCHIVE: Code = Code {
    id: "SPRAT-REGISTRY-ARCHIVE",
    kind: Kind::Failed,
    summary: "The archive is truncated, was altered, or was not made by `sprat export`.",
    remedy: "Export the version again and compare the files' sizes after copying; nothing was \
             imported.",
};

/// An archive is larger than allowed.
pub static ARCHIVE_TOO_LARGE: Code = Code {
    id: "SPRAT-REGISTRY-ARCHIVE-TOO-LARGE",
    kind: Kind::TooLarge,
    summary: "The archive holds more files or bytes than allowed.",
    remedy: "If you trust its origin, raise the limit for this import.",
};

/// An archive could not be written.
pub static EXPORT: Code = Code {
    id: "SPRAT-REGISTRY-EXPORT",
    kind: Kind::Failed,
    summary: "The archive could not be written.",
    remedy: "Check that the place is writable and that its disk has room; no partial file was left.",
};

/// A stored version does not match its digest.
pub static DAMAGED: Code = Code {
    id: "SPRAT-REGISTRY-DAMAGED",
    kind: Kind::Failed,
    summary: "A stored version cannot be read or does not match its digest.",
    remedy: "Run `sprat doctor`; restore the registry from a backup, or import the version again \
             elsewhere.",
};

/// Every code of this crate, for the generated reference.
pub static ALL: &[&Code] = &[
    &UNKNOWN,
    &AMBIGUOUS,
    &NAME,
    &CONFLICT,
    &NO_PREVIOUS,
    &ARTEFACT,
    &GATE,
    &CHECKOUT,
    &ARCHIVE,
    &ARCHIVE_TOO_LARGE,
    &EXPORT,
    &DAMAGED,
];
