//! The error codes of the data gate.

use sprat_task::{Code, Kind};

/// A data file can't be read at all.
pub static OPEN: Code = Code {
    id: "SPRAT-DATA-OPEN",
    kind: Kind::Failed,
    summary: "A data file could not be opened or read.",
    remedy: "Check the path and the permissions of the file.",
};

/// The format is not known.
pub static FORMAT: Code = Code {
    id: "SPRAT-DATA-FORMAT",
    kind: Kind::Failed,
    summary: "The format of a data file is not known or the file does not have that format.",
    remedy: "Use .csv, .tsv, .json, .jsonl or .parquet, or set the format explicitly.",
};

/// Bytes that are not UTF-8.
pub static ENCODING: Code = Code {
    id: "SPRAT-DATA-ENCODING",
    kind: Kind::Failed,
    summary: "A data file is not encoded in UTF-8.",
    remedy: "Convert the file, for example with `iconv -f latin1 -t utf-8 IN > OUT`.",
};

/// A quote that is opened and never properly closed.
pub static QUOTE: Code = Code {
    id: "SPRAT-DATA-QUOTE",
    kind: Kind::Failed,
    summary: "A quoted cell is never closed, or text follows its closing quote.",
    remedy: "Close the quote; a quote inside a quoted cell is written twice.",
};

/// A row with more or fewer cells than the header.
pub static RAGGED: Code = Code {
    id: "SPRAT-DATA-RAGGED",
    kind: Kind::Failed,
    summary: "A row has more or fewer cells than the header has columns.",
    remedy: "Give every row the same number of cells; quote cells that hold the delimiter.",
};

/// A named column is not there.
pub static COLUMN: Code = Code {
    id: "SPRAT-DATA-COLUMN",
    kind: Kind::Failed,
    summary: "A column that the settings name is not in the data.",
    remedy: "Name an existing column in `sprat.toml`.",
};

/// A header that names a column twice, or leaves a needed one unnamed.
pub static HEADER: Code = Code {
    id: "SPRAT-DATA-HEADER",
    kind: Kind::Failed,
    summary: "The header of a data file names a column twice.",
    remedy: "Give every column its own name.",
};

/// A cell or record over the size limit.
pub static TOO_LARGE: Code = Code {
    id: "SPRAT-DATA-TOO-LARGE",
    kind: Kind::TooLarge,
    summary: "A cell or a record is larger than the limit.",
    remedy: "Look for a torn quote or a wrong delimiter; if the size is meant, raise the limit.",
};

/// Nothing in the file.
pub static EMPTY: Code = Code {
    id: "SPRAT-DATA-EMPTY",
    kind: Kind::Failed,
    summary: "A data file holds no rows.",
    remedy: "Give a file with a header and at least one row.",
};

/// A record that cannot be parsed.
pub static RECORD: Code = Code {
    id: "SPRAT-DATA-RECORD",
    kind: Kind::Failed,
    summary: "A record is malformed: wrong JSON, a wrong type, or no usable message.",
    remedy: "Correct the record on the named line.",
};

/// Settings that contradict themselves or the data.
pub static SETTING: Code = Code {
    id: "SPRAT-DATA-SETTING",
    kind: Kind::Usage,
    summary: "A setting of the data gate makes no sense.",
    remedy: "Correct the named setting.",
};

/// A split that can't be made.
pub static SPLIT: Code = Code {
    id: "SPRAT-DATA-SPLIT",
    kind: Kind::Failed,
    summary: "The data cannot be split as asked.",
    remedy: "Give more rows or groups, or change the shares.",
};

/// A sealed part that is missing or was changed.
pub static SEAL: Code = Code {
    id: "SPRAT-DATA-SEAL",
    kind: Kind::Failed,
    summary: "A sealed test part is missing, was changed, or its seal is not readable.",
    remedy: "Make the split again; do not edit the files of a sealed part.",
};

/// An output that can't be written.
pub static WRITE: Code = Code {
    id: "SPRAT-DATA-WRITE",
    kind: Kind::Failed,
    summary: "A dataset version or a split could not be written.",
    remedy: "Check the free space and the permissions of the folder.",
};

/// The output is there already.
pub static EXISTS: Code = Code {
    id: "SPRAT-DATA-EXISTS",
    kind: Kind::Failed,
    summary: "The folder for a new dataset version exists already; nothing is changed in place.",
    remedy: "Choose another folder, or remove the old one yourself.",
};

/// The gate found something that blocks.
pub static BLOCKED: Code = Code {
    id: "SPRAT-DATA-BLOCKED",
    kind: Kind::Refused,
    summary: "The data gate found something that would make every later number worthless.",
    remedy: "Run `sprat data clean`, correct the named rows, or waive the check by name.",
};

/// All codes of this crate, for the reference.
pub static ALL: &[&Code] = &[
    &OPEN, &FORMAT, &ENCODING, &QUOTE, &RAGGED, &COLUMN, &HEADER, &TOO_LARGE, &EMPTY, &RECORD,
    &SETTING, &SPLIT, &SEAL, &WRITE, &EXISTS, &BLOCKED,
];
