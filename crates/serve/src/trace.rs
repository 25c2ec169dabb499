//! What every answered input leaves behind.

use sprat_monitor::{Observed, Recorder};
use sprat_task::Timestamp;
use std::time::Duration;

/// One input and what became of it. Whether the text is kept, hashed or dropped is the sink's
/// decision.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The id of the request, as its response names it.
    pub request: String,
    /// Which input of the request, from 0.
    pub index: usize,
    /// When the request arrived.
    pub at: Option<Timestamp>,
    /// The path, such as `/v1/classify`.
    pub endpoint: &'static str,
    /// The name of the client's key, where keys are used.
    pub client: Option<String>,
    /// The model as `/v1/models` lists it.
    pub model: String,
    /// The version that answered.
    pub version: String,
    /// What was read.
    pub input: String,
    /// What was answered; empty on failure and for embeddings.
    pub output: String,
    /// The label, for a classifier.
    pub label: Option<String>,
    /// Calibrated probability of that label.
    pub confidence: Option<f32>,
    /// All labels with their probabilities.
    pub scores: Vec<(String, f32)>,
    /// Whether the confidence was under the threshold.
    pub abstained: bool,
    /// Which side of a route answered: `small` or `large`.
    pub route: Option<&'static str>,
    /// What it cost, in US dollars, where prices are known.
    pub usd: Option<f64>,
    /// The embedding of the input, where the model hands it out.
    pub embedding: Option<Vec<f32>>,
    /// Tokens read.
    pub prompt_tokens: usize,
    /// Tokens written.
    pub completion_tokens: usize,
    /// From submission to the model until the answer.
    pub latency: Duration,
    /// The part of it that was spent waiting.
    pub queued: Duration,
    /// The HTTP status of the response.
    pub status: u16,
    /// The code of the error, if it failed.
    pub error: Option<&'static str>,
}

/// Takes traces. It is called on the path of the request and must not block: queue and return.
pub trait TraceSink: Send + Sync {
    /// Takes one trace.
    fn record(&self, trace: Trace);
}

/// Forgets all traces.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTraces;

impl TraceSink for NoTraces {
    fn record(&self, _: Trace) {}
}

/// Into the log of traces, without waiting for the disk; a full queue drops and counts.
impl TraceSink for Recorder {
    fn record(&self, trace: Trace) {
        let id = if trace.index == 0 {
            trace.request
        } else {
            format!("{}-{}", trace.request, trace.index)
        };
        // Abstentions have no label; their best score is in the scores.
        let writes = trace.label.is_none() && trace.scores.is_empty();
        let label = trace.label.filter(|_| !trace.abstained);
        // Refused and overloaded requests say nothing about the model.
        let valid = match trace.status {
            200..300 => Some(true),
            0 | 300..500 | 503 => None,
            _ => Some(false),
        };
        let _ = Recorder::record(
            self,
            Observed {
                id,
                task: trace.model,
                version: trace.version,
                text: trace.input,
                label,
                confidence: trace.confidence,
                scores: trace.scores,
                latency: trace.latency,
                prompt_tokens: trace.prompt_tokens as u64,
                completion_tokens: trace.completion_tokens as u64,
                status: trace.status,
                route: trace.route.map(str::to_owned),
                usd: trace.usd,
                valid,
                output: if writes { trace.output } else { String::new() },
                embedding: trace.embedding,
            },
        );
    }
}
