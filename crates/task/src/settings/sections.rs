//! The sections of `sprat.toml`.

use super::routing::{RouteFailure, RoutePolicy, RouteRule, RouteScore, RouteSplit, Sticky};
use super::section::section;
use super::units::Span;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What kind of answer a task gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// One label out of a fixed list.
    Classify,
    /// Fields out of a text, as JSON under a schema.
    Extract,
    /// Free text.
    Generate,
}

/// Where the data of requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privacy {
    /// Requests never leave the user's machines: hosted candidates are shown, never chosen.
    OnPremise,
    /// Requests may be sent to hosted models.
    Any,
}

/// Which weights tuning changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Only a new head on frozen embeddings.
    Head,
    /// Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) and the head.
    Lora,
    /// All weights.
    Full,
}

/// In which precision the frozen matrix products of training are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16 products, summed in 32 bits.
    Bf16,
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// In a straight line to zero.
    Linear,
    /// Along half a cosine to zero.
    Cosine,
    /// Not at all.
    None,
}

/// How classes are weighted in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Every example counts the same.
    None,
    /// Every class counts the same.
    Balanced,
}

/// How much memory the training of a decoder may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainingMemory {
    /// Keeps only the states before each layer and computes the rest again: the same result to
    /// the bit, in about a third more time.
    Low,
    /// Keeps all that the backward pass needs.
    High,
}

/// What happens to a request for the large model when none answers, or the budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenLargeFails {
    /// The small model's answer stands, and the response says so.
    Small,
    /// The request fails.
    Error,
}

/// What a trace keeps of a request's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceText {
    /// The text itself.
    Keep,
    /// A salted hash, so that repetitions can be counted.
    Hash,
    /// Nothing.
    Drop,
}

section! {
    /// What the task is.
    Task ["task"] {
        /// The task's name: lower-case letters, digits and hyphens. Releases carry it.
        name: String = "task".into(),
        /// `classify`: one label out of a fixed list; `extract`: fields out of a text, as JSON under
        /// `schema`; `generate`: free text.
        kind: TaskKind = TaskKind::Classify,
        /// The column with the input text.
        input: String = "text".into(),
        /// The column with the label, or with the wanted answer: JSON where the kind is `extract`.
        target: String = "label".into(),
        /// A column whose values must not be torn apart by a split, such as a conversation.
        group: Option<String> = None,
        /// What a model that writes is told before every text, as the system message. It becomes
        /// part of the tuned model.
        instruction: Option<String> = None,
        /// The JSON Schema of the answers, a file; `extract` needs it. Every answer satisfies it.
        schema: Option<PathBuf> = None,
        /// The longest answer, in tokens, of a model that writes.
        max_answer_tokens: usize = 256,
        /// The served model abstains when its calibrated confidence is below this.
        abstain_below: f64 = 0.0,
    }
}

section! {
    /// Where the examples are, and how the gate treats them.
    Data ["data"] {
        /// The training examples: CSV, TSV, JSON, JSON Lines or Parquet.
        train: Option<PathBuf> = None,
        /// The validation examples; split off from `train` when not given.
        validation: Option<PathBuf> = None,
        /// The test examples; split off from `train` and sealed when not given.
        test: Option<PathBuf> = None,
        /// The share of rows split off for validation.
        validation_share: f64 = 0.15,
        /// The share of rows split off for the sealed test.
        test_share: f64 = 0.2,
        /// The seed of the split.
        seed: u64 = 0,
        /// Columns by whose values results are also shown.
        slices: Vec<String> = Vec::new(),
        /// Blocking checks to let pass, by name.
        waive: Vec<String> = Vec::new(),
        /// Whether `up` cleans the training part before tuning.
        clean: bool = true,
        /// Whether cleaning drops rows whose label confident learning suspects.
        drop_label_errors: bool = false,
        /// Whether cleaning replaces personal data by placeholders.
        redact: bool = false,
        /// Train only on this many most useful clean examples.
        pick: Option<usize> = None,
        /// The longest cell that is read, in bytes.
        max_cell_bytes: usize = 1 << 20,
    }
}

section! {
    /// What production needs: the four selection factors.
    Needs ["needs"] {
        /// The 95th percentile of latency at one client may be at most this many milliseconds.
        p95_latency_ms: Option<f64> = None,
        /// How many requests a day the model must carry.
        requests_per_day: Option<u64> = None,
        /// `on-premise`: requests never leave the user's machines; `any`: they may.
        privacy: Privacy = Privacy::Any,
        /// The least quality that a release must reach on the sealed test: accuracy, the share of
        /// exactly right answers for `extract`, the mean token F1 for `generate`.
        min_quality: Option<f64> = None,
    }
}

section! {
    /// A model to compare. The first local one is the base that `tune` starts from.
    Candidate ["candidates"] {
        /// The model: `hf:…`, `pypi:…`, `file:…`, a path, or `openai:…`.
        model: String = String::new(),
        /// A short name for tables; by default the last part of the reference.
        name: Option<String> = None,
        /// For `openai:` the endpoint's address, up to and with `/v1`.
        base_url: Option<String> = None,
        /// For `openai:` the environment variable that holds the key.
        api_key_env: Option<String> = None,
        /// For `openai:` a file that holds the key and nothing else, instead of `api_key_env`.
        api_key_file: Option<PathBuf> = None,
        /// What a million input tokens cost, in US dollars.
        usd_per_million_input_tokens: f64 = 0.0,
        /// What a million output tokens cost, in US dollars.
        usd_per_million_output_tokens: f64 = 0.0,
        /// How many test examples a hosted candidate is asked at most.
        max_examples: usize = 500,
        /// As a large model of `[route]`: candidates of a lower order are asked first. Without it the
        /// place in `route.large` decides.
        order: Option<usize> = None,
        /// As a large model of `[route]`: of the requests to candidates of one order, it is asked
        /// first with this share of all their weights.
        weight: usize = 1,
    }
}

section! {
    /// A hosted model that compares written answers in `sprat bench` and in
    /// `sprat route fit --judge`.
    Judge ["judge"] {
        /// For `generate`: the hosted model (`openai:…`) that is shown every other local candidate's
        /// answers beside the reference's in `sprat bench`, and the small model's beside the large
        /// one's in `sprat route fit --judge`. Without one, or with `privacy = "on-premise"`, nothing
        /// is sent.
        model: Option<String> = None,
        /// The endpoint's address, up to and with `/v1`.
        base_url: Option<String> = None,
        /// The environment variable that holds the key.
        api_key_env: Option<String> = None,
        /// A file that holds the key and nothing else, instead of `api_key_env`.
        api_key_file: Option<PathBuf> = None,
        /// What a million input tokens cost, in US dollars.
        usd_per_million_input_tokens: f64 = 0.0,
        /// What a million output tokens cost, in US dollars.
        usd_per_million_output_tokens: f64 = 0.0,
        /// What makes an answer the better one, in words.
        criterion: String = "The better answer does what was asked, is correct and complete, \
                             and adds nothing that the input does not support.".into(),
        /// How many rows are judged at most.
        rows: usize = 100,
        /// How often each question is asked. Each row is two questions: one for either order of
        /// its answers.
        repeats: usize = 2,
    }
}

section! {
    /// Which requests to the served model a large one answers.
    Route ["route"] {
        /// The hosted candidates (`openai:…`, or their names) that answer when the small model is
        /// not sure enough; they are asked in this order, or by their own `order` and `weight`,
        /// until one answers. Without any there is no route.
        large: Vec<String> = Vec::new(),
        /// `after`: the small model answers, and its confidence decides whether a large one is asked;
        /// `before`: a head on an embedding of the request decides, and the small model is asked only
        /// about what it keeps.
        policy: RoutePolicy = RoutePolicy::After,
        /// With `after`, what an answer's confidence is: `mean_probability`: a label's calibrated
        /// probability, of a written answer the geometric mean of its tokens' probabilities;
        /// `margin`: the mean difference between the probability of each token and that of the next
        /// best one (of a label: between the two most likely labels); `least_margin`: the least of
        /// these differences.
        score: RouteScore = RouteScore::MeanProbability,
        /// With `after`: the small model's answer is kept when its confidence is at least this.
        /// Without it the threshold that `sprat route fit` found for the served version.
        keep_above: Option<f64> = None,
        /// The greatest failure rate among kept requests that `sprat route fit` may accept.
        alpha: f64 = 0.05,
        /// The probability, over the draw of the graded requests, that the bound may fail.
        delta: f64 = 0.1,
        /// What counts as a failure: `wrong`: the small model's answer is wrong; `regret`: it is, and
        /// the large model's would have been right.
        failure: RouteFailure = RouteFailure::Wrong,
        /// For `generate`: an answer counts as right from this token F1 with the wanted one on.
        right_from: f64 = 1.0,
        /// The seed of the parts of the graded requests.
        seed: u64 = 0,
        /// With `before`: the encoder whose embedding is judged, `hf:…`, `pypi:…`, `file:…` or a
        /// path; by default the released classifier's own.
        encoder: Option<String> = None,
        /// Fixed rules, in order.
        rules: Vec<RouteRule> = Vec::new(),
        /// Other versions that get a share of the requests.
        split: Vec<RouteSplit> = Vec::new(),
        /// What makes requests belong to the same part of a split: `user`, `client` or
        /// `conversation`.
        sticky: Sticky = Sticky::User,
        /// The share of kept requests that a large model is asked about as well, in the background:
        /// its answers are compared and recorded, never shown.
        shadow: f64 = 0.0,
        /// Requests in which personal data is found are never sent to a large model.
        keep_personal: bool = true,
        /// `small`: when no large model answers, or the budget is used up, the small model's answer
        /// stands; `error`: the request fails.
        when_large_fails: WhenLargeFails = WhenLargeFails::Small,
        /// What large models may cost in an hour of the clock, in US dollars.
        usd_per_hour: Option<f64> = None,
        /// What large models may cost in a day (UTC), in US dollars.
        usd_per_day: Option<f64> = None,
        /// How many tokens large models may read and write in an hour of the clock.
        tokens_per_hour: Option<u64> = None,
        /// How many tokens large models may read and write in a day (UTC).
        tokens_per_day: Option<u64> = None,
        /// The longest time for one attempt at a large model.
        timeout: Span = Span::seconds(20),
        /// The longest silence within an answer that has begun.
        idle_timeout: Span = Span::seconds(10),
        /// Attempts at one large model after the first.
        retries: usize = 1,
        /// After this time without an answer the next large model is asked as well, and the first
        /// answer counts. Without it one is asked at a time.
        hedge_after: Option<Span> = None,
        /// How many requests a large model is sent at once.
        concurrency: usize = 64,
        /// After so many failures in a row a large model is left alone.
        breaker_failures: usize = 5,
        /// For how long it is left alone before a single request tries it again.
        breaker_pause: Span = Span::seconds(30),
    }
}

section! {
    /// How the model is tuned.
    Tune ["tune"] {
        /// `head`: a new head on frozen embeddings; `lora`: low-rank adapters; `full`: all weights.
        method: Method = Method::Lora,
        /// The adapters' rank.
        rank: usize = 16,
        /// The adapters' scale is `alpha / rank`.
        alpha: f64 = 32.0,
        /// The share of an adapter's inputs that is dropped in training; an encoder's own dropout
        /// works besides.
        dropout: f64 = 0.05,
        /// The layers that get adapters: `query`, `key`, `value`, `attention_output`,
        /// `intermediate`, `output`, or `all`; of decoders `q`, `k`, `v`, `o`, `gate`, `up`,
        /// `down`, or `all`.
        targets: Vec<String> = vec!["all".into()],
        /// The highest learning rate; without it a rate that suits the method.
        learning_rate: Option<f64> = None,
        /// The head's learning rate as a multiple of `learning_rate` (encoders only).
        head_rate: f64 = 1.0,
        /// Examples per step.
        batch: usize = 32,
        /// How often the training part is gone through at most.
        epochs: f64 = 6.0,
        /// The share of all steps in which the learning rate rises.
        warmup: f64 = 0.06,
        /// How the learning rate falls afterwards: `linear`, `cosine` or `none`.
        decay: Decay = Decay::Linear,
        /// AdamW's decoupled weight decay.
        weight_decay: f64 = 0.01,
        /// The largest norm of the gradient; a longer one is shortened to it.
        clip: f64 = 1.0,
        /// The share of probability that the loss spreads over all classes (encoders only).
        label_smoothing: f64 = 0.05,
        /// `none`: every example counts the same; `balanced`: every class does (encoders only).
        class_weights: ClassWeights = ClassWeights::None,
        /// Validate after every so many steps; without it four times an epoch.
        eval_every: Option<usize> = None,
        /// Stop after so many validations without a better one.
        patience: usize = 6,
        /// How long to search for a better learning rate and rank before the final run.
        budget: Option<Span> = None,
        /// The seed of everything random in training.
        seed: u64 = 0,
        /// `bf16` or `f32`: the precision of the frozen products.
        precision: Precision = Precision::Bf16,
        /// Longer texts are cut to this many tokens; without it to the model's own limit.
        max_tokens: Option<usize> = None,
        /// How much memory the training of a decoder takes: `high`, or `low` for the same result in
        /// about a third more time.
        memory: TrainingMemory = TrainingMemory::High,
        /// Write a checkpoint after this time.
        checkpoint_every: Span = Span::seconds(30),
    }
}

section! {
    /// How the tuned model is made smaller, and what counts as unhurt.
    Shrink ["shrink"] {
        /// The formats to try: `int8`, `bf16`; of a decoder also the GGUF formats `q8_0`, `q6_k`,
        /// `q4_k_m`, `q4_0` and `mixed`, which chooses one for each matrix.
        formats: Vec<String> = vec!["int8".into(), "bf16".into()],
        /// The size budget of `mixed`: so many bits a weight at most, on average over all
        /// matrices. `q4_k_m` takes about 4.8, `q8_0` 8.5.
        bits: f64 = 5.5,
        /// Weigh the errors of `q6_k`, `q4_k_m` and `mixed` by what training examples put through
        /// the model.
        calibrate: bool = true,
        /// The largest loss of accuracy, as a share of the examples, that counts as unhurt.
        margin: f64 = 0.02,
        /// The confidence of the intervals that decide.
        confidence: f64 = 0.95,
    }
}

section! {
    /// What a release must prove.
    Release ["release"] {
        /// The alias that `promote` moves and `up` serves.
        alias: String = "production".into(),
        /// `false`: refuse when the new version is shown to be worse than the current one;
        /// `true`: refuse unless a loss of more than `max_drop` is excluded, which takes many
        /// test rows.
        strict: bool = false,
        /// With `strict`, the loss of accuracy that must be excluded, as a share of examples.
        max_drop: f64 = 0.01,
        /// The confidence of the tests.
        confidence: f64 = 0.95,
    }
}

section! {
    /// How the model is served.
    Serve ["serve"] {
        /// Where to listen.
        listen: String = "127.0.0.1:8080".into(),
        /// A file of hashed API keys; without it and without `SPRAT_API_KEY` no key is asked for.
        api_keys: Option<PathBuf> = None,
        /// The environment variable with the key that may promote and roll back over HTTP; keys made
        /// with `sprat keys create --admin` may, too. Without any such key nobody may.
        admin_key_env: String = "SPRAT_ADMIN_KEY".into(),
        /// Names under which browsers reach the page where no API key is asked for; `localhost` and
        /// plain addresses always work. Other names are refused, because a hostile site can make
        /// its own name point to this machine.
        hosts: Vec<String> = Vec::new(),
        /// The largest body of a request, in bytes.
        max_body_bytes: usize = 1 << 20,
        /// The most texts in one request.
        max_inputs: usize = 256,
        /// The longest time for a request.
        timeout: Span = Span::seconds(30),
        /// How many texts may wait before the server answers 429.
        queue: usize = 1024,
        /// The most texts computed together.
        max_batch: usize = 32,
        /// How many tokens of all texts in progress are kept in memory, for models that write.
        cache_tokens: usize = 16_384,
        /// What a trace keeps of a request's text: `keep`, `hash` or `drop`.
        trace_text: TraceText = TraceText::Hash,
        /// How long traces are kept.
        trace_retention: Span = Span::seconds(30 * 86_400),
        /// How many traces are kept at most; the oldest go first.
        trace_rows: Option<u64> = None,
        /// Whether a trace keeps a sketch of the input's embedding, a few hundred bytes, so that the
        /// watch sees new subjects; with `watch.enabled` it does.
        trace_sketch: bool = false,
    }
}

section! {
    /// How served requests are watched for drift and loss of quality, and what follows an alarm.
    Watch ["watch"] {
        /// Whether `sprat serve` looks by itself; `sprat watch` looks at any time.
        enabled: bool = false,
        /// All tests together give at most one false alarm in so many clean requests, on average.
        false_alarm_every: u64 = 100_000,
        /// The tests, by name; without any, all of them.
        tests: Vec<String> = Vec::new(),
        /// So many requests of a version fit the tests; those after them are tested.
        history: u64 = 2000,
        /// Every threshold is multiplied by this; `sprat watch calibrate` says whether it is needed.
        caution: f64 = 1.0,
        /// On how many of the latest requests the accuracy is estimated.
        window: usize = 1000,
        /// How often new traces are looked at.
        interval: Span = Span::seconds(30),
        /// What follows an alarm, in this order: `log`, `webhook`, `command`, `escalate` (raises the
        /// route's threshold, so that more requests go to the large models), `rollback` (points
        /// `release.alias` back at its previous version), `retrain` (writes a proposal).
        actions: Vec<String> = vec!["log".into()],
        /// Only tests whose alarms are followed by `rollback`; without any all are. `accuracy` is
        /// the test of labelled answers.
        rollback_on: Vec<String> = Vec::new(),
        /// Whether actions are only written down, not taken.
        dry_run: bool = false,
        /// An action that was taken is not taken again for this time.
        cooldown: Span = Span::seconds(3600),
        /// Where `webhook` posts an alarm as JSON.
        webhook: Option<String> = None,
        /// The longest time for one attempt at the webhook, and for the command.
        action_timeout: Span = Span::seconds(10),
        /// Attempts at the webhook after the first.
        webhook_retries: usize = 3,
        /// The program and its arguments that `command` starts, without a shell, with the alarm as
        /// JSON on its standard input: for e-mail, for example.
        command: Vec<String> = Vec::new(),
        /// How far `escalate` raises the threshold: the share of the requests that then go to the
        /// large models, as `sprat route fit` measured it; 1: all that may leave.
        escalate_share: f64 = 1.0,
        /// For how long it stays raised. Without it until the alarm is acknowledged
        /// (`sprat watch acknowledge`) or the route is fitted anew.
        escalate_for: Option<Span> = None,
        /// How many traces `sprat label` draws for labelling.
        label_budget: usize = 100,
        /// `sprat improve` promotes a release that is shown to be better by itself, through a canary.
        auto: bool = false,
        /// The share of the requests that a canary gets beside the promoted version; 0: a release
        /// that is shown to be better is promoted at once.
        canary_share: f64 = 0.1,
        /// A canary that has answered so many requests without an alarm is promoted wholly.
        canary_requests: u64 = 1000,
    }
}

section! {
    /// What running the model costs.
    Cost ["cost"] {
        /// The price of one machine like this for an hour, in US dollars.
        usd_per_machine_hour: f64 = 0.10,
        /// The share of its throughput that a machine is loaded with on average.
        utilization: f64 = 0.3,
    }
}
