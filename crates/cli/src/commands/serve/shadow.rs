//! The comparisons of shadowed requests, as rows of the traces.

use sprat_monitor::{Observed, Recorder};
use sprat_route::policy::shadow::{Compared, ShadowSink};
use std::sync::Arc;

/// Records each comparison as a trace of a task of its own, `TASK:shadow`, under the id of the
/// request with `-shadow` behind it: nobody who looks at the task's own traces takes the large
/// model's answers for answers that were given. Its confidence is 1 where both say the same, and 0
/// where they do not.
pub(super) struct Recorded {
    recorder: Arc<Recorder>,
    task: String,
    version: String,
}

impl Recorded {
    pub(super) fn new(recorder: Arc<Recorder>, task: &str, version: &str) -> Self {
        Recorded { recorder, task: format!("{task}:shadow"), version: version.to_owned() }
    }
}

impl ShadowSink for Recorded {
    fn compared(&self, compared: Compared) {
        let Compared { request, small, large, model: _, agrees } = compared;
        let text = match &request.input {
            sprat_infer::Input::Text(text) | sprat_infer::Input::Prompt(text) => text.clone(),
            sprat_infer::Input::Messages(messages) => {
                messages.last().map(|message| message.content.clone()).unwrap_or_default()
            }
            sprat_infer::Input::Tokens(_) => String::new(),
        };
        // What a model wrote is a text, and texts are kept by policy alone.
        let labels = small.label.into_iter().zip(large.label.clone());
        let scores = labels.flat_map(|(given, other)| [(given, 0.0), (other, 1.0)]).collect();
        let output = if large.label.is_none() { large.output } else { String::new() };
        let _ = self.recorder.record(Observed {
            id: format!("{}-shadow", request.caller.id.unwrap_or_default()),
            task: self.task.clone(),
            version: self.version.clone(),
            text,
            label: large.label,
            confidence: Some(if agrees { 1.0 } else { 0.0 }),
            scores,
            latency: large.latency,
            prompt_tokens: large.prompt_tokens as u64,
            completion_tokens: large.completion_tokens as u64,
            status: 0,
            route: Some("shadow".into()),
            usd: large.usd,
            valid: None,
            output,
            embedding: None,
        });
    }
}
