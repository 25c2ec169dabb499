//! The recorder of traces, as the settings want it: every answered input leaves a row in
//! `traces.sqlite`.

use sprat_flow::Project;
use sprat_monitor::{HashKey, Options, Recorder, Retention, TextPolicy};
use sprat_task::settings::TraceText;
use sprat_task::{Clock, Result};
use std::sync::Arc;

/// The recorder as the settings want it.
pub(super) fn recorder(project: &Project, clock: Arc<dyn Clock>) -> Result<Recorder> {
    let serve = &project.settings.serve;
    let text = match serve.trace_text {
        TraceText::Keep => TextPolicy::Keep,
        TraceText::Drop => TextPolicy::Drop,
        TraceText::Hash => {
            TextPolicy::Hash(HashKey::load_or_create(&project.state.join("trace.key"))?)
        }
    };
    let retention = Retention { age: Some(serve.trace_retention.0), rows: serve.trace_rows };
    let options = Options { text, retention, sketch: project.sketches(), ..Options::default() };
    Recorder::start(&project.registry.traces_path(), options, clock)
}
