//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// The queue of a model is full.
pub static BUSY: Code = Code {
    id: "SPRAT-INFER-BUSY",
    kind: Kind::Busy,
    summary: "The queue of requests that wait for a model is full.",
    remedy: "Send the request again after a moment, or raise the length of the queue.",
};

/// The engine is shutting down.
pub static CLOSED: Code = Code {
    id: "SPRAT-INFER-CLOSED",
    kind: Kind::Busy,
    summary: "The model is being shut down and takes no further requests.",
    remedy: "Send the request again: another version of the model takes over.",
};

/// A request waited longer than it was willing to.
pub static TIMEOUT: Code = Code {
    id: "SPRAT-INFER-TIMEOUT",
    kind: Kind::Failed,
    summary: "A request was not answered within its time limit.",
    remedy: "Raise the time limit, send fewer requests at once, or choose a smaller model.",
};

/// The model cannot satisfy the constraint that the request puts on the answer.
pub static CONSTRAINT: Code = Code {
    id: "SPRAT-INFER-CONSTRAINT",
    kind: Kind::Usage,
    summary: "The model cannot answer under the constraint that the request asks for.",
    remedy: "Ask for the labels that the model knows, or use a model that can satisfy the constraint.",
};

/// A JSON schema cannot be used.
pub static SCHEMA: Code = Code {
    id: "SPRAT-INFER-SCHEMA",
    kind: Kind::Usage,
    summary: "The JSON schema that an answer is to satisfy is not valid, uses a keyword that is not \
              supported, or allows no answer at all.",
    remedy: "Correct the schema at the place that the error names; it is a JSON pointer.",
};

/// A regular expression or a grammar cannot be used.
pub static GRAMMAR: Code = Code {
    id: "SPRAT-INFER-GRAMMAR",
    kind: Kind::Usage,
    summary: "The regular expression or grammar that an answer is to match cannot be read.",
    remedy: "Correct it. Regular expressions follow Rust's syntax without look-around and always \
             match the whole answer; grammars follow the Lark dialect of llguidance.",
};

/// A constraint is larger or more complex than the limits allow.
pub static COMPLEX: Code = Code {
    id: "SPRAT-INFER-COMPLEX",
    kind: Kind::TooLarge,
    summary: "A constraint on an answer exceeds the limits on size, depth or complexity.",
    remedy: "Simplify the constraint: fewer alternatives, less nesting, smaller repetition counts.",
};

/// The answer cannot go on under its constraint.
pub static MASK: Code = Code {
    id: "SPRAT-INFER-MASK",
    kind: Kind::Failed,
    summary: "An answer could not be continued under its constraint.",
    remedy: "Simplify the constraint; if it is simple already, report it with the request.",
};

/// The request holds something that this kind of model cannot read.
pub static INPUT: Code = Code {
    id: "SPRAT-INFER-INPUT",
    kind: Kind::Usage,
    summary: "The input of a request is not one that this model can read.",
    remedy: "Send one text, or one user message.",
};

/// A sampling parameter is out of its range.
pub static SAMPLING: Code = Code {
    id: "SPRAT-INFER-SAMPLING",
    kind: Kind::Usage,
    summary: "A parameter of the sampling is out of its range.",
    remedy: "Correct the parameter that the error names.",
};

/// A prompt does not fit into the model.
pub static CONTEXT: Code = Code {
    id: "SPRAT-INFER-CONTEXT",
    kind: Kind::Usage,
    summary: "A prompt and its answer are longer than the model can read, or than its cache.",
    remedy: "Shorten the prompt, ask for fewer tokens, or give the cache more memory.",
};

/// An answer under a constraint was not finished within its limit.
pub static TRUNCATED: Code = Code {
    id: "SPRAT-INFER-TRUNCATED",
    kind: Kind::Failed,
    summary: "An answer under a constraint was not complete when its limit of tokens was reached.",
    remedy: "Raise max_tokens, or bound the lengths in the schema.",
};

/// No answer satisfied a constraint that is checked only on whole answers.
pub static UNSATISFIED: Code = Code {
    id: "SPRAT-INFER-UNSATISFIED",
    kind: Kind::Failed,
    summary: "None of the answers that were tried satisfied the whole constraint.",
    remedy: "Leave out the keywords that cannot be enforced token by token, or say in the prompt \
             what they ask for.",
};

/// An engine died while it computed.
pub static PANIC: Code = Code {
    id: "SPRAT-INFER-PANIC",
    kind: Kind::Failed,
    summary: "The model's computation ended abnormally.",
    remedy: "Report it with the input that caused it; other requests are not affected.",
};

/// A worker thread could not be started.
pub static THREAD: Code = Code {
    id: "SPRAT-INFER-THREAD",
    kind: Kind::Failed,
    summary: "The system refused to start a worker thread.",
    remedy: "Raise the limit on threads of this process, or stop other programs.",
};

/// The settings of a hosted model are wrong.
pub static REMOTE_SETTINGS: Code = Code {
    id: "SPRAT-REMOTE-SETTINGS",
    kind: Kind::Usage,
    summary: "The settings of a hosted model are wrong.",
    remedy: "Correct the candidate's settings in sprat.toml.",
};

/// The environment variable with the key of a hosted model is not set.
pub static REMOTE_KEY: Code = Code {
    id: "SPRAT-REMOTE-KEY",
    kind: Kind::Usage,
    summary: "The environment variable that should hold the key of a hosted model is missing.",
    remedy: "Set the variable that `api_key_env` names.",
};

/// A hosted model could not be reached.
pub static REMOTE_UNREACHABLE: Code = Code {
    id: "SPRAT-REMOTE-UNREACHABLE",
    kind: Kind::Failed,
    summary: "A hosted model could not be reached.",
    remedy: "Check base_url, the network and the proxy settings, then try again.",
};

/// A hosted model did not finish.
pub static REMOTE_UNFINISHED: Code = Code {
    id: "SPRAT-REMOTE-UNFINISHED",
    kind: Kind::Failed,
    summary: "A hosted model has the request, but did not answer in time or broke off its answer.",
    remedy: "Try again. Where it is slow, allow more time; its provider may charge for what it wrote.",
};

/// A hosted model answered with an error.
pub static REMOTE_STATUS: Code = Code {
    id: "SPRAT-REMOTE-STATUS",
    kind: Kind::Failed,
    summary: "A hosted model answered with an error.",
    remedy: "Read the reason it gave; check the model's name, the key and the account's limits.",
};

/// A hosted model finds fault with the request.
pub static REMOTE_REFUSED: Code = Code {
    id: "SPRAT-REMOTE-REFUSED",
    kind: Kind::Failed,
    summary: "A hosted model refused the request itself (status 400, 413 or 422).",
    remedy: "Read the reason it gave; it may not know a parameter, or the text is too long for it.",
};

/// A hosted model's answer does not follow the protocol.
pub static REMOTE_GARBAGE: Code = Code {
    id: "SPRAT-REMOTE-GARBAGE",
    kind: Kind::Failed,
    summary: "A hosted model's answer does not follow the OpenAI protocol.",
    remedy: "Check that base_url points at an OpenAI-compatible endpoint (it usually ends in /v1).",
};

/// A hosted model's answer is too long.
pub static REMOTE_TOO_LARGE: Code = Code {
    id: "SPRAT-REMOTE-TOO-LARGE",
    kind: Kind::Failed,
    summary: "A hosted model's answer exceeds the size limit.",
    remedy: "Check that base_url points at the right service; lower max_tokens.",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[
    &BUSY,
    &CLOSED,
    &TIMEOUT,
    &CONSTRAINT,
    &SCHEMA,
    &GRAMMAR,
    &COMPLEX,
    &MASK,
    &INPUT,
    &SAMPLING,
    &CONTEXT,
    &TRUNCATED,
    &UNSATISFIED,
    &PANIC,
    &THREAD,
    &REMOTE_SETTINGS,
    &REMOTE_KEY,
    &REMOTE_UNREACHABLE,
    &REMOTE_UNFINISHED,
    &REMOTE_STATUS,
    &REMOTE_REFUSED,
    &REMOTE_GARBAGE,
    &REMOTE_TOO_LARGE,
];
