//! The error codes of the lifecycle.

use sprat_task::{Code, Kind};

/// A file that would be replaced.
pub static EXISTS: Code = Code {
    id: "SPRAT-FLOW-EXISTS",
    kind: Kind::Failed,
    summary: "A file that would be written is there already.",
    remedy: "Name another file, or replace it with --force.",
};

/// A column can't be found.
pub static COLUMN: Code = Code {
    id: "SPRAT-FLOW-COLUMN",
    kind: Kind::Failed,
    summary: "A column that the task needs is not in the data, or can't be guessed.",
    remedy: "Name it with --input, --target or --group, or in sprat.toml under [task].",
};

/// Writing failed.
pub static WRITE: Code = Code {
    id: "SPRAT-FLOW-WRITE",
    kind: Kind::Failed,
    summary: "A file of the project could not be written.",
    remedy: "Check the folder's permissions and the space on its disk, then run the command again.",
};

/// Reading failed.
pub static READ: Code = Code {
    id: "SPRAT-FLOW-READ",
    kind: Kind::Failed,
    summary: "A file of the project could not be read, or is not what it should be.",
    remedy: "Run `sprat doctor`; a step whose files are damaged runs again when .sprat/steps is removed.",
};

/// The settings name no training data.
pub static NO_DATA: Code = Code {
    id: "SPRAT-FLOW-NO-DATA",
    kind: Kind::Failed,
    summary: "The settings name no training data.",
    remedy: "Set `train` under [data] in sprat.toml, or write one with `sprat init FILE`.",
};

/// The settings name no local candidate.
pub static NO_BASE: Code = Code {
    id: "SPRAT-FLOW-NO-BASE",
    kind: Kind::Failed,
    summary: "The settings name no local model that could be tuned.",
    remedy: "Add a [[candidates]] table with a model such as hf:…, pypi:… or file:….",
};

/// The task's kind and the base model do not go together, or the step is not for it.
pub static KIND: Code = Code {
    id: "SPRAT-FLOW-KIND",
    kind: Kind::Failed,
    summary: "The task's kind does not suit the base model, the method or this command.",
    remedy: "Extraction and generation need a decoder as base; the message says what does not fit.",
};

/// The schema of answers is missing, or no schema.
pub static ANSWER_SCHEMA: Code = Code {
    id: "SPRAT-FLOW-ANSWER-SCHEMA",
    kind: Kind::Failed,
    summary: "The JSON Schema of the answers can't be used, or the answers do not follow it.",
    remedy: "Name a JSON Schema file with `schema` under [task]; `sprat data check` names the rows.",
};

/// The template of a model is another one than in tuning.
pub static OTHER_TEMPLATE: Code = Code {
    id: "SPRAT-FLOW-OTHER-TEMPLATE",
    kind: Kind::Refused,
    summary: "The chat template is not the one that the model was tuned with.",
    remedy: "Put the template back that the base model had, or tune again with this one.",
};

/// The tokenizer of a model is another one than in tuning.
pub static OTHER_TOKENIZER: Code = Code {
    id: "SPRAT-FLOW-OTHER-TOKENIZER",
    kind: Kind::Refused,
    summary: "The tokenizer is not the one that the model was tuned with.",
    remedy: "Put the tokenizer's files back that the base model had, or tune again with these.",
};

/// The adapter of a model is missing, or another one.
pub static OTHER_ADAPTER: Code = Code {
    id: "SPRAT-FLOW-OTHER-ADAPTER",
    kind: Kind::Refused,
    summary: "The adapter is missing, or is not the one that was tuned.",
    remedy: "Restore the model's folder from its version: `sprat doctor` finds damaged checkouts.",
};

/// An adapter over the weights of another base.
pub static OTHER_BASE: Code = Code {
    id: "SPRAT-FLOW-OTHER-BASE",
    kind: Kind::Refused,
    summary: "An adapter was tuned over another base model, or in another number format, than it is to be served over.",
    remedy: "Serve it over the base that it was tuned over; the message says which that is.",
};

/// Adapters are to stand beside something that takes none.
pub static ADAPTER: Code = Code {
    id: "SPRAT-FLOW-ADAPTER",
    kind: Kind::Usage,
    summary: "An adapter is not given as NAME=PATH, or there is not one base model that writes beside which it could be served.",
    remedy: "Name one decoder with --model, a folder, a GGUF file or hf:…, and its adapters with --adapter NAME=PATH.",
};

/// What is served is not what was trained.
pub static NOT_EQUIVALENT: Code = Code {
    id: "SPRAT-FLOW-NOT-EQUIVALENT",
    kind: Kind::Refused,
    summary: "Held-out examples have other token losses or answers than in the step before.",
    remedy: "Do not serve this model. The message names the step; tune again, and report it if it happens twice.",
};

/// Labels are missing.
pub static LABELS: Code = Code {
    id: "SPRAT-FLOW-LABELS",
    kind: Kind::Failed,
    summary: "The data's labels do not allow training or measuring.",
    remedy: "Give every class training rows, and use at least two classes; `sprat data check` shows the counts.",
};

/// A check of the data gate blocks.
pub static DATA_REFUSED: Code = Code {
    id: "SPRAT-FLOW-DATA-REFUSED",
    kind: Kind::Refused,
    summary: "A check of the data gate blocks the data.",
    remedy: "Fix the rows that the report names, let `sprat data clean` fix them, or waive the check by name with --waive or data.waive.",
};

/// No shrunk variant passed.
pub static SHRINK_REFUSED: Code = Code {
    id: "SPRAT-FLOW-SHRINK-REFUSED",
    kind: Kind::Refused,
    summary: "No smaller variant keeps the tuned skill within the margin.",
    remedy: "Release the tuned model as it is, widen shrink.margin, or give more validation data so that the interval narrows.",
};

/// No candidate meets the needs.
pub static CHOICE_REFUSED: Code = Code {
    id: "SPRAT-FLOW-CHOICE-REFUSED",
    kind: Kind::Refused,
    summary: "No measured candidate meets the needs.",
    remedy: "The report says which need each candidate misses: tune longer, add a candidate, or relax the need.",
};

/// The release gate refused.
pub static RELEASE_REFUSED: Code = Code {
    id: "SPRAT-FLOW-RELEASE-REFUSED",
    kind: Kind::Refused,
    summary: "The release gate refused: the evidence is not enough.",
    remedy: "The report names the rule that failed and the figure it saw.",
};

/// A reproduction differs.
pub static NOT_REPRODUCED: Code = Code {
    id: "SPRAT-FLOW-NOT-REPRODUCED",
    kind: Kind::Refused,
    summary: "Running a version's recipe again gave other bits.",
    remedy: "Use the code version, the processor features and the data that the version's record names.",
};

/// The input data of a version is gone.
pub static INPUTS_GONE: Code = Code {
    id: "SPRAT-FLOW-INPUTS-GONE",
    kind: Kind::Failed,
    summary: "What a version was made from is not on this machine any more.",
    remedy: "Bring the data or the model back; the message names its digest.",
};

/// A measuring process failed.
pub static MEASURE: Code = Code {
    id: "SPRAT-FLOW-MEASURE",
    kind: Kind::Failed,
    summary: "A candidate could not be measured in its own process.",
    remedy: "The reason is the process's own error; a process killed without one usually ran out of memory.",
};

/// A judge gave no verdict.
pub static JUDGE: Code = Code {
    id: "SPRAT-FLOW-JUDGE",
    kind: Kind::Failed,
    summary: "The judge of written answers may not be asked, or what it said is no verdict.",
    remedy: "Name another model under [judge], or one whose endpoint knows `response_format`; with `needs.privacy = \"on-premise\"` there is no judge.",
};

/// The doctor found problems.
pub static UNSOUND: Code = Code {
    id: "SPRAT-FLOW-UNSOUND",
    kind: Kind::Refused,
    summary: "`sprat doctor` found something broken in the store.",
    remedy: "Do what the report says for each problem; versions that are whole stay usable.",
};

/// A line of the input of `predict` failed.
pub static LINES_FAILED: Code = Code {
    id: "SPRAT-PREDICT-LINES-FAILED",
    kind: Kind::Failed,
    summary: "Some lines of the input got no answer.",
    remedy: "Each has its own error in the output; the other lines are answered.",
};

/// A line of the input of `predict` is not a request.
pub static LINE: Code = Code {
    id: "SPRAT-PREDICT-LINE",
    kind: Kind::Failed,
    summary: "A line of the input is not a request.",
    remedy: "Write one JSON object a line: {\"id\"?, \"text\"} or {\"id\"?, \"messages\"}.",
};

/// A reference names nothing that can answer.
pub static REFERENCE: Code = Code {
    id: "SPRAT-FLOW-REFERENCE",
    kind: Kind::Failed,
    summary: "A model reference names nothing that could answer here.",
    remedy: "Name a release (task, task@alias, task@v3), a tuned model's folder, or a hosted candidate of sprat.toml.",
};

/// There is nothing to watch.
pub static WATCH_NOTHING: Code = Code {
    id: "SPRAT-WATCH-NOTHING",
    kind: Kind::Failed,
    summary: "There is no promoted version and no trace: nothing to watch yet.",
    remedy: "Promote a version (`sprat up` does) and send requests to `sprat serve`.",
};

/// An alarm stands.
pub static WATCH_ALARM: Code = Code {
    id: "SPRAT-WATCH-ALARM",
    kind: Kind::Refused,
    summary: "The watch has an alarm that nobody has acknowledged.",
    remedy: "Look at `sprat watch log`; `sprat watch acknowledge` takes note of it, `--relearn` takes \
             the requests from now on as the new normal.",
};

/// Too few requests to calibrate on.
pub static WATCH_FEW: Code = Code {
    id: "SPRAT-WATCH-FEW",
    kind: Kind::Failed,
    summary: "There are too few clean requests or labelled rows for what was asked.",
    remedy: "Serve more requests first, name labelled rows with --data, or lower `watch.history`.",
};

/// A file of feedback has bad lines.
pub static FEEDBACK_LINES: Code = Code {
    id: "SPRAT-WATCH-FEEDBACK-LINES",
    kind: Kind::Failed,
    summary: "Some lines of a feedback file could not be kept; the others were.",
    remedy: "Correct the lines that the output names and read the file again: what was kept is kept \
             once.",
};

/// Traces hold no texts.
pub static NO_TEXTS: Code = Code {
    id: "SPRAT-WATCH-NO-TEXTS",
    kind: Kind::Failed,
    summary: "The traces hold no texts that could be labelled or learned from.",
    remedy: "Set `trace_text = \"keep\"` under [serve]; requests from then on can be used.",
};

/// The next version is no improvement.
pub static NOT_BETTER: Code = Code {
    id: "SPRAT-IMPROVE-NOT-BETTER",
    kind: Kind::Refused,
    summary: "The version made from traces is not better than production on labelled traces.",
    remedy: "Label more requests (`sprat label`), above all those that production gets wrong.",
};

/// An action failed.
pub static WATCH_ACTION: Code = Code {
    id: "SPRAT-WATCH-ACTION",
    kind: Kind::Failed,
    summary: "What should have followed an alarm did not work.",
    remedy: "Follow the reason given; the alarm stands, and its evidence is in `sprat watch log`.",
};

/// A version can't be put on trial, or none is.
pub static WATCH_CANARY: Code = Code {
    id: "SPRAT-WATCH-CANARY",
    kind: Kind::Usage,
    summary: "What was asked of a canary, a version on trial beside the promoted one, can't be done.",
    remedy: "Wait until the watch ends the trial, or take the canary away: `sprat rollback --canary`.",
};

/// No route was fitted for a version.
pub static ROUTE_UNFITTED: Code = Code {
    id: "SPRAT-FLOW-ROUTE-UNFITTED",
    kind: Kind::Failed,
    summary: "No route is fitted for the version that is to be served, and no confidence is set \
              from which its answers are kept.",
    remedy: "Run `sprat route fit`, or set `route.keep_above`.",
};

/// The fitted route belongs to something else.
pub static ROUTE_OTHER_VERSION: Code = Code {
    id: "SPRAT-FLOW-ROUTE-OTHER-VERSION",
    kind: Kind::Failed,
    summary: "The fitted route belongs to another version, score or encoder than the one that is \
              to be served: its threshold says nothing about this one.",
    remedy: "Run `sprat route fit` for this version, or set `route.keep_above`.",
};

/// The graded requests do not support the bound.
pub static ROUTE_REFUSED: Code = Code {
    id: "SPRAT-FLOW-ROUTE-REFUSED",
    kind: Kind::Refused,
    summary: "No threshold could be shown to keep the failure rate within its bound.",
    remedy: "Grade more requests, allow more failures (`route.alpha`) or a greater risk \
             (`route.delta`), or tune a better small model.",
};

/// The traces hold no texts to replay or to grade.
pub static ROUTE_TRACES: Code = Code {
    id: "SPRAT-FLOW-ROUTE-TRACES",
    kind: Kind::Failed,
    summary: "The traces hold no text for what was asked.",
    remedy: "Set `trace_text = \"keep\"` under [serve], let requests come in, then try again.",
};

/// All error codes of this crate.
pub static ALL: &[&Code] = &[
    &WATCH_NOTHING,
    &WATCH_ALARM,
    &WATCH_FEW,
    &WATCH_ACTION,
    &WATCH_CANARY,
    &NOT_BETTER,
    &FEEDBACK_LINES,
    &NO_TEXTS,
    &EXISTS,
    &COLUMN,
    &WRITE,
    &READ,
    &NO_DATA,
    &NO_BASE,
    &KIND,
    &ANSWER_SCHEMA,
    &OTHER_TEMPLATE,
    &OTHER_TOKENIZER,
    &OTHER_ADAPTER,
    &OTHER_BASE,
    &ADAPTER,
    &NOT_EQUIVALENT,
    &LABELS,
    &DATA_REFUSED,
    &SHRINK_REFUSED,
    &CHOICE_REFUSED,
    &RELEASE_REFUSED,
    &NOT_REPRODUCED,
    &INPUTS_GONE,
    &MEASURE,
    &JUDGE,
    &LINES_FAILED,
    &LINE,
    &REFERENCE,
    &UNSOUND,
    &ROUTE_UNFITTED,
    &ROUTE_OTHER_VERSION,
    &ROUTE_REFUSED,
    &ROUTE_TRACES,
];
