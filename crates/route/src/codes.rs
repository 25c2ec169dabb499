//! The error codes of this crate.

use sprat_task::{Code, Kind};

/// A budget for large models is used up.
pub static BUDGET: Code = Code {
    id: "SPRAT-ROUTE-BUDGET",
    kind: Kind::Busy,
    summary: "The budget for large models is used up for this hour or day.",
    remedy: "Wait until the window is over, raise the budget under [route], or let the small model \
             answer then: `when_large_fails = \"small\"`.",
};

/// A large model broke off.
pub static BROKEN_OFF: Code = Code {
    id: "SPRAT-ROUTE-BROKEN-OFF",
    kind: Kind::Failed,
    summary: "A large model broke off an answer of which pieces had been passed on already.",
    remedy: "Send the request again; without `stream` another large model takes over by itself.",
};

/// The file of a budget's expenses can't be used.
pub static LEDGER: Code = Code {
    id: "SPRAT-ROUTE-LEDGER",
    kind: Kind::Failed,
    summary: "The file with what large models have cost so far can't be read, or is no such file.",
    remedy: "Repair the file or its rights. Removing it begins the hour and the day anew, as if \
             nothing had been spent.",
};

/// No large model could be asked.
pub static UPSTREAMS: Code = Code {
    id: "SPRAT-ROUTE-UPSTREAMS",
    kind: Kind::Failed,
    summary: "No large model of the route could be asked.",
    remedy: "Look at the reason of each; endpoints that fail again and again are left alone for \
             `route.breaker_pause` and then tried with a single request.",
};

/// The settings of a route contradict each other.
pub static SETTINGS: Code = Code {
    id: "SPRAT-ROUTE-SETTINGS",
    kind: Kind::Failed,
    summary: "The route cannot be built from its settings.",
    remedy: "Name hosted candidates (`openai:…`) under `route.large`, and allow requests to leave: \
             `needs.privacy = \"any\"`.",
};

/// The graded rows can't be used.
pub static GRADED: Code = Code {
    id: "SPRAT-ROUTE-GRADED",
    kind: Kind::Failed,
    summary: "The graded requests can't be used: too few, without a score each, or without the \
              large model's grades that the failure `regret` needs.",
    remedy: "Grade more requests; `failure = \"wrong\"` needs no answers of the large model.",
};

/// A setting is out of range.
pub static OPTIONS: Code = Code {
    id: "SPRAT-ROUTE-OPTIONS",
    kind: Kind::Usage,
    summary: "A setting of the fit is out of range.",
    remedy: "alpha and delta lie between 0 and 1, both excluded; shares are positive and leave \
             something for the sealed part.",
};

/// The document of a fitted route can't be read.
pub static DOCUMENT: Code = Code {
    id: "SPRAT-ROUTE-DOCUMENT",
    kind: Kind::Failed,
    summary: "A fitted route is damaged, or of a version that this program does not know.",
    remedy: "Fit the route again with this version of the program.",
};

/// Every code of this crate, for the generated reference.
pub static ALL: &[&Code] =
    &[&BUDGET, &BROKEN_OFF, &LEDGER, &UPSTREAMS, &SETTINGS, &GRADED, &OPTIONS, &DOCUMENT];
