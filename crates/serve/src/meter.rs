//! Prometheus metrics of one server: an own recorder, so that servers in one process do not mix.

use crate::codes;
use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use sprat_infer::Answer;
use sprat_task::{Error, Result};
use std::time::Duration;

const REQUESTS: &str = "sprat_http_requests_total";
const SECONDS: &str = "sprat_http_request_duration_seconds";
const ERRORS: &str = "sprat_http_errors_total";
const IN_FLIGHT: &str = "sprat_http_requests_in_flight";
const ANSWERS: &str = "sprat_answers_total";
const QUEUED: &str = "sprat_queue_seconds";
const COMPUTED: &str = "sprat_compute_seconds";
const BATCH: &str = "sprat_batch_size";
const READ: &str = "sprat_prompt_tokens_total";
const WRITTEN: &str = "sprat_completion_tokens_total";
const SHADOWED: &str = "sprat_route_shadow_total";
const WAITING: &str = "sprat_queue_length";
const WAITING_TEXT: &str =
    "Inputs that wait for a model; models over the same weights wait in one queue.";

static METADATA: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// The recorder and its output.
pub(crate) struct Meter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Meter {
    pub(crate) fn new() -> Result<Self> {
        let seconds = [
            0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
            30.0,
        ];
        let batches = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("seconds".into()), &seconds)
            .and_then(|b| b.set_buckets_for_metric(Matcher::Full(BATCH.into()), &batches))
            .map_err(|why| {
                Error::new(&codes::START, "the metrics cannot be set up").why(why.to_string())
            })?
            .build_recorder();
        for (name, text) in [
            (REQUESTS, "Requests by path, method and status."),
            (ERRORS, "Error responses by code."),
            (ANSWERS, "Answers by model, version and label, abstentions apart."),
            (READ, "Tokens read by model."),
            (WRITTEN, "Tokens written by model."),
            (
                SHADOWED,
                "Requests that a large model was asked about as well, by version and outcome.",
            ),
        ] {
            recorder.describe_counter(KeyName::from(name), None, text.into());
        }
        for (name, text) in [
            (SECONDS, "Time from a request's head to its response's head."),
            (QUEUED, "Time that inputs waited for the model."),
            (COMPUTED, "Time that the model took for the batch of an input."),
            (BATCH, "Inputs in the batch of an input."),
        ] {
            let unit = if name == BATCH { Unit::Count } else { Unit::Seconds };
            recorder.describe_histogram(KeyName::from(name), Some(unit), text.into());
        }
        recorder.describe_gauge(IN_FLIGHT.into(), None, "Requests being answered.".into());
        recorder.describe_gauge(WAITING.into(), None, WAITING_TEXT.into());
        let handle = recorder.handle();
        Ok(Meter { recorder, handle })
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds raw samples into their buckets; to be called every few seconds.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// A response was made.
    pub(crate) fn response(
        &self,
        path: &str,
        method: &str,
        status: u16,
        time: Duration,
        error: Option<&'static str>,
    ) {
        let path = SharedString::from(path.to_owned());
        let labels = vec![
            Label::new("path", path.clone()),
            Label::new("method", SharedString::from(method.to_owned())),
            Label::new("status", SharedString::from(status.to_string())),
        ];
        self.count(REQUESTS, labels, 1);
        self.observe(SECONDS, vec![Label::new("path", path)], time.as_secs_f64());
        if let Some(code) = error {
            self.count(ERRORS, vec![Label::new("code", code)], 1);
        }
    }

    /// So many requests are being answered.
    pub(crate) fn in_flight(&self, change: f64) {
        let gauge = self.recorder.register_gauge(&Key::from_name(IN_FLIGHT), &METADATA);
        gauge.increment(change);
    }

    /// So many inputs wait for a model.
    pub(crate) fn waiting(&self, model: &str, waiting: usize) {
        let key = Key::from_parts(WAITING, vec![Label::new("model", model.to_owned())]);
        self.recorder.register_gauge(&key, &METADATA).set(waiting as f64);
    }

    /// A figure of the watch.
    pub(crate) fn watched(&self, gauge: crate::watching::Gauge) {
        let label = gauge.label.map(|(name, value)| Label::new(name, value));
        let labels: Vec<Label> = label.into_iter().collect();
        let key = Key::from_parts(gauge.name, labels);
        if gauge.name.ends_with("_total") {
            self.recorder.register_counter(&key, &METADATA).absolute(gauge.value as u64);
        } else {
            self.recorder.register_gauge(&key, &METADATA).set(gauge.value);
        }
    }

    /// What became of shadowed requests.
    pub(crate) fn shadowed(&self, shadowed: crate::Shadowed) {
        let labels =
            vec![Label::new("version", shadowed.version), Label::new("outcome", shadowed.outcome)];
        let key = Key::from_parts(SHADOWED, labels);
        self.recorder.register_counter(&key, &METADATA).absolute(shadowed.count);
    }

    /// A model answered.
    pub(crate) fn answer(&self, model: &str, version: &str, answer: &Answer, abstained: bool) {
        let model = Label::new("model", model.to_owned());
        let labels = vec![
            model.clone(),
            Label::new("version", version.to_owned()),
            Label::new("label", answer.label.clone().unwrap_or_default()),
            Label::new("abstained", if abstained { "true" } else { "false" }),
        ];
        self.count(ANSWERS, labels, 1);
        self.count(READ, vec![model.clone()], answer.prompt_tokens as u64);
        self.count(WRITTEN, vec![model.clone()], answer.completion_tokens as u64);
        self.observe(QUEUED, vec![model.clone()], answer.timing.queued.as_secs_f64());
        self.observe(COMPUTED, vec![model.clone()], answer.timing.computed.as_secs_f64());
        self.observe(BATCH, vec![model], answer.timing.batch as f64);
    }

    fn count(&self, name: &'static str, labels: Vec<Label>, amount: u64) {
        let key = Key::from_parts(name, labels);
        self.recorder.register_counter(&key, &METADATA).increment(amount);
    }

    fn observe(&self, name: &'static str, labels: Vec<Label>, value: f64) {
        let key = Key::from_parts(name, labels);
        self.recorder.register_histogram(&key, &METADATA).record(value);
    }
}
