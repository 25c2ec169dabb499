//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// The port is in use.
pub static PORT: Code = Code {
    id: "SPRAT-SERVE-PORT",
    kind: Kind::Failed,
    summary: "The server's port is in use or may not be opened.",
    remedy: "Stop the program that uses the port, or choose another one with --port.",
};

/// The server could not start or go on.
pub static START: Code = Code {
    id: "SPRAT-SERVE-START",
    kind: Kind::Failed,
    summary: "The server could not be started.",
    remedy: "Follow the reason given.",
};

/// The file of API keys cannot be read.
pub static KEYS: Code = Code {
    id: "SPRAT-SERVE-KEYS",
    kind: Kind::Usage,
    summary: "The API keys cannot be read.",
    remedy: "Each line of the file is a name and the SHA-256 of a key, as the key command prints.",
};

/// The client's key is missing or wrong.
pub static KEY: Code = Code {
    id: "SPRAT-SERVE-KEY",
    kind: Kind::Unauthorized,
    summary: "The request carries no valid API key.",
    remedy: "Send the header `Authorization: Bearer KEY` with a key of this server.",
};

/// The body is not what the endpoint reads.
pub static BODY: Code = Code {
    id: "SPRAT-SERVE-BODY",
    kind: Kind::Usage,
    summary: "The body of a request is not valid: no UTF-8, no JSON, or a value of a wrong type.",
    remedy: "Correct the field that the message names; /openapi.json describes every field.",
};

/// A parameter that this server does not support.
pub static PARAMETER: Code = Code {
    id: "SPRAT-SERVE-PARAMETER",
    kind: Kind::Usage,
    summary: "A request has a parameter, or a value of one, that this server does not support.",
    remedy: "Leave the parameter out: it would be ignored, and that is never done silently.",
};

/// The answer's schema cannot be satisfied.
pub static SCHEMA: Code = Code {
    id: "SPRAT-SERVE-SCHEMA",
    kind: Kind::Usage,
    summary: "The task cannot satisfy the JSON schema that a request asks for.",
    remedy: "Use an object with one string property that allows the task's labels.",
};

/// Too large.
pub static TOO_LARGE: Code = Code {
    id: "SPRAT-SERVE-TOO-LARGE",
    kind: Kind::TooLarge,
    summary: "A request is larger than the server allows.",
    remedy: "Send fewer or shorter inputs in one request, or raise the server's limit.",
};

/// The server has enough to do.
pub static BUSY: Code = Code {
    id: "SPRAT-SERVE-BUSY",
    kind: Kind::Busy,
    summary: "The server works on as many requests as it may.",
    remedy: "Send the request again after the time in Retry-After.",
};

/// Time is over.
pub static TIMEOUT: Code = Code {
    id: "SPRAT-SERVE-TIMEOUT",
    kind: Kind::Failed,
    summary: "A request was not finished within the server's time limit.",
    remedy: "Send less in one request, or raise the server's time limit.",
};

/// No such model.
pub static MODEL: Code = Code {
    id: "SPRAT-SERVE-MODEL",
    kind: Kind::NotFound,
    summary: "The model that a request names is not served here.",
    remedy: "Use one of the models that /v1/models lists.",
};

/// Two models would have one name.
pub static NAME: Code = Code {
    id: "SPRAT-SERVE-NAME",
    kind: Kind::Usage,
    summary: "Two of the models that are to be served would answer to the same name.",
    remedy: "Give one of them another name: an adapter by its NAME=, a model by its folder's name.",
};

/// The model cannot do that.
pub static ABILITY: Code = Code {
    id: "SPRAT-SERVE-ABILITY",
    kind: Kind::Usage,
    summary: "The model cannot do what the endpoint is for.",
    remedy: "Use the endpoint that fits the model: /v1/models says what each can do.",
};

/// No such address.
pub static ADDRESS: Code = Code {
    id: "SPRAT-SERVE-ADDRESS",
    kind: Kind::NotFound,
    summary: "The server has nothing at this address, or not for this method.",
    remedy: "See /openapi.json for the addresses and their methods.",
};

/// A bug.
pub static PANIC: Code = Code {
    id: "SPRAT-SERVE-PANIC",
    kind: Kind::Failed,
    summary: "The server met an unexpected state while it answered a request.",
    remedy: "Report it with the request's id; other requests are not affected.",
};

/// Changing is nobody's right here.
pub static ADMIN_OFF: Code = Code {
    id: "SPRAT-SERVE-ADMIN-OFF",
    kind: Kind::Forbidden,
    summary: "Nobody may promote or roll back over HTTP: the server knows no admin key.",
    remedy: "Put a key of at least 24 characters into the environment variable that \
             `serve.admin_key_env` names (SPRAT_ADMIN_KEY) or make one with \
             `sprat keys create --admin NAME`, and start the server again.",
};

/// The key is not an admin's.
pub static ADMIN_KEY: Code = Code {
    id: "SPRAT-SERVE-ADMIN-KEY",
    kind: Kind::Forbidden,
    summary: "A request that would change something carries a key that is no admin's.",
    remedy: "Send the header `Authorization: Bearer KEY` with an admin key of this server.",
};

/// Another site's page sent it.
pub static ORIGIN: Code = Code {
    id: "SPRAT-SERVE-ORIGIN",
    kind: Kind::Forbidden,
    summary: "A page of another site sent the request.",
    remedy: "Use the page that this server itself serves; a proxy in front must hand on the Host \
             header as the browser sent it.",
};

/// The name under which the server was reached is not its own.
pub static HOST: Code = Code {
    id: "SPRAT-SERVE-HOST",
    kind: Kind::Forbidden,
    summary: "The server asks for no key and was reached under a name that is not known to be its \
              own; a hostile site can make its name point here.",
    remedy: "Use `localhost` or the plain address, name the host in `serve.hosts`, or turn API keys \
             on.",
};

/// There is nothing to look at.
pub static CONSOLE: Code = Code {
    id: "SPRAT-SERVE-CONSOLE",
    kind: Kind::NotFound,
    summary: "The server runs without a project: there are no releases, traces or reports to look \
              at.",
    remedy: "Run `sprat serve` in the folder of a project.",
};

/// No such report.
pub static REPORT: Code = Code {
    id: "SPRAT-SERVE-REPORT",
    kind: Kind::NotFound,
    summary: "There is no such report, or the link to it is no longer valid.",
    remedy: "See /admin/reports for what there is; links to reports are good for an hour.",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[
    &PORT, &START, &KEYS, &KEY, &BODY, &PARAMETER, &SCHEMA, &TOO_LARGE, &BUSY, &TIMEOUT, &MODEL,
    &NAME, &ABILITY, &ADDRESS, &PANIC, &ADMIN_OFF, &ADMIN_KEY, &ORIGIN, &HOST, &CONSOLE, &REPORT,
];
