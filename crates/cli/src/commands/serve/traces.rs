//! Every answered input leaves a row in `traces.sqlite`.

use sprat_flow::Project;
use sprat_monitor::{HashKey, Observed, Options, Recorder, Retention, TextPolicy};
use sprat_serve::{Trace, TraceSink};
use sprat_task::settings::TraceText;
use sprat_task::{Clock, Result};
use std::sync::Arc;

/// Hands traces to the recorder, which never blocks.
pub(super) struct Sink(pub(super) Recorder);

impl TraceSink for Sink {
    fn record(&self, trace: Trace) {
        self.0.record(Observed {
            id: format!("{}/{}", trace.request, trace.index),
            task: trace.model,
            version: trace.version,
            text: trace.input,
            label: trace.label,
            confidence: trace.confidence,
            scores: trace.scores,
            latency: trace.latency,
            prompt_tokens: trace.prompt_tokens as u64,
            completion_tokens: trace.completion_tokens as u64,
            status: if trace.error.is_none() { 200 } else { 500 },
            route: None,
        });
    }
}

/// The recorder as the settings want it.
pub(super) fn recorder(project: &Project, clock: Arc<dyn Clock>) -> Result<Recorder> {
    let serve = &project.settings.serve;
    let text = match serve.trace_text {
        TraceText::Keep => TextPolicy::Keep,
        TraceText::Drop => TextPolicy::Drop,
        TraceText::Hash => TextPolicy::Hash(HashKey::load_or_create(&project.state.join("trace.key"))?),
    };
    let retention = Retention { age: Some(serve.trace_retention.0), ..Retention::default() };
    let options = Options { text, retention, ..Options::default() };
    Recorder::start(&project.registry.traces_path(), options, clock)
}
