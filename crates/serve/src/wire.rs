//! Bodies as they travel: the source of both the parser and the OpenAPI document.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One text or several.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(crate) enum OneOrMany {
    /// One text.
    One(String),
    /// Several texts.
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// A request to `/v1/classify`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassifyRequest {
    /// The text or texts to classify.
    pub(crate) input: OneOrMany,
    /// A model of `/v1/models`; without it the first one.
    pub(crate) model: Option<String>,
    /// Confidence under which no label is given, from 0 to 1; without it the model's own.
    pub(crate) threshold: Option<f32>,
    /// So many labels are listed with their scores; without it all.
    pub(crate) top_k: Option<u32>,
    /// Who asks, in the client's own terms: where requests are split between versions, those of
    /// one user stay with one.
    pub(crate) user: Option<String>,
}

/// The probability of one label.
#[derive(Serialize, ToSchema)]
pub(crate) struct Score {
    /// The label.
    pub(crate) label: String,
    /// Its calibrated probability.
    pub(crate) score: f32,
}

/// Which model of a route answered, and why.
#[derive(Serialize, ToSchema)]
pub(crate) struct Routed {
    /// `small` or `large`.
    pub(crate) by: &'static str,
    /// The name of the model.
    pub(crate) model: String,
    /// Why it was this one.
    pub(crate) why: String,
    /// The score that decided, from 0 to 1: how sure the small model was, or how easy the request
    /// looks.
    pub(crate) confidence: Option<f32>,
    /// The least score that is kept.
    pub(crate) threshold: Option<f32>,
    /// The version that the request was given to, where requests are split between several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    /// The share of requests that this version gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
}

impl From<&sprat_infer::Route> for Routed {
    fn from(route: &sprat_infer::Route) -> Self {
        Routed {
            by: route.side(),
            model: route.model.clone(),
            why: route.why.clone(),
            confidence: route.confidence,
            threshold: route.threshold,
            variant: route.variant.as_ref().map(|variant| variant.name.clone()),
            share: route.variant.as_ref().map(|variant| variant.share),
        }
    }
}

/// What became of one text.
#[derive(Serialize, ToSchema)]
pub(crate) struct Classified {
    /// Which of the inputs, from 0.
    pub(crate) index: usize,
    /// The label; null where the model abstained.
    pub(crate) label: Option<String>,
    /// The calibrated probability of the best label.
    pub(crate) confidence: Option<f32>,
    /// Whether the confidence was under the threshold.
    pub(crate) abstained: bool,
    /// Whether the end of the text did not fit into the model and was not read.
    pub(crate) truncated: bool,
    /// The labels with their probabilities, the most likely first.
    pub(crate) scores: Vec<Score>,
    /// Which model answered, where a large one stands behind the small one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<Routed>,
}

/// Tokens of a request.
#[derive(Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Tokens read.
    pub(crate) prompt_tokens: usize,
    /// Tokens read and written.
    pub(crate) total_tokens: usize,
}

/// The answer of `/v1/classify`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClassifyResponse {
    /// Always `list`.
    pub(crate) object: &'static str,
    /// The model that answered.
    pub(crate) model: String,
    /// Its version.
    pub(crate) version: String,
    /// One result per input, in order.
    pub(crate) data: Vec<Classified>,
    /// Tokens.
    pub(crate) usage: Usage,
}

/// A request to `/v1/embeddings`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingsRequest {
    /// The text or texts.
    pub(crate) input: OneOrMany,
    /// A model of `/v1/models`.
    pub(crate) model: String,
    /// `float` (the default) or `base64`: little-endian 32-bit floats.
    pub(crate) encoding_format: Option<String>,
    /// Not supported: vectors are as long as the model makes them.
    pub(crate) dimensions: Option<u32>,
    /// Who asks, in the client's own terms; not used.
    #[serde(rename = "user")]
    pub(crate) _user: Option<String>,
}

/// One vector.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmbeddingItem {
    /// Always `embedding`.
    pub(crate) object: &'static str,
    /// Which of the inputs, from 0.
    pub(crate) index: usize,
    /// An array of numbers, or base64 text.
    pub(crate) embedding: Value,
}

/// The answer of `/v1/embeddings`.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmbeddingsResponse {
    /// Always `list`.
    pub(crate) object: &'static str,
    /// One vector per input, in order.
    pub(crate) data: Vec<EmbeddingItem>,
    /// The model that answered.
    pub(crate) model: String,
    /// Tokens.
    pub(crate) usage: Usage,
}

/// A request whose answer is written token by token: to its own parameters come those of the
/// sampling, the same in both protocols. Parameters that are not listed are refused.
macro_rules! written {
    ($(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($own)*
            /// Sampling temperature from 0 to 2; 0 takes the most likely token.
            pub(crate) temperature: Option<f32>,
            /// Draws only from the most likely tokens whose probabilities reach this sum.
            pub(crate) top_p: Option<f32>,
            /// Draws only from so many of the most likely tokens.
            pub(crate) top_k: Option<u32>,
            /// Draws only from tokens at least this share as likely as the most likely one.
            pub(crate) min_p: Option<f32>,
            /// From -2 to 2: lowers the logits of tokens that stand in the answer already.
            pub(crate) presence_penalty: Option<f32>,
            /// From -2 to 2: the same, times how often they stand there.
            pub(crate) frequency_penalty: Option<f32>,
            /// Over 1: lowers the logits of tokens that stand in the prompt or the answer.
            pub(crate) repetition_penalty: Option<f32>,
            /// What is added to the logits of single tokens, by their numbers, from -100 to 100.
            pub(crate) logit_bias: Option<BTreeMap<String, f32>>,
            /// Seed of the sampling.
            pub(crate) seed: Option<u64>,
            /// A text or up to 16 texts at which the answer ends.
            pub(crate) stop: Option<OneOrMany>,
            /// So many answers are written.
            pub(crate) n: Option<u32>,
        }

        impl $name {
            /// How the tokens are to be drawn.
            pub(crate) fn drawing(&mut self) -> Drawing {
                Drawing {
                    temperature: self.temperature.take(),
                    top_p: self.top_p.take(),
                    top_k: self.top_k.take(),
                    min_p: self.min_p.take(),
                    presence_penalty: self.presence_penalty.take(),
                    frequency_penalty: self.frequency_penalty.take(),
                    repetition_penalty: self.repetition_penalty.take(),
                    logit_bias: self.logit_bias.take(),
                    seed: self.seed.take(),
                    stop: self.stop.take(),
                    n: self.n.take(),
                }
            }
        }
    };
}

/// How the tokens of an answer are drawn.
#[derive(Debug, Default)]
pub(crate) struct Drawing {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) top_k: Option<u32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) repetition_penalty: Option<f32>,
    pub(crate) logit_bias: Option<BTreeMap<String, f32>>,
    pub(crate) seed: Option<u64>,
    pub(crate) stop: Option<OneOrMany>,
    pub(crate) n: Option<u32>,
}

written! {
    /// A request to `/v1/chat/completions`.
    ChatRequest {
        /// A model of `/v1/models`.
        pub(crate) model: String,
        /// The conversation; a classifier reads its one user message.
        pub(crate) messages: Vec<ChatMessage>,
        /// `text`, `json_object`, or `json_schema` with a schema.
        pub(crate) response_format: Option<ResponseFormat>,
        /// What else the answer must satisfy.
        pub(crate) guided: Option<Guided>,
        /// Whether the answer comes as server-sent events.
        pub(crate) stream: Option<bool>,
        /// Options of the stream.
        pub(crate) stream_options: Option<StreamOptions>,
        /// At most so many tokens are written; a classifier's label is never cut.
        pub(crate) max_tokens: Option<u32>,
        /// The newer name of `max_tokens`.
        pub(crate) max_completion_tokens: Option<u32>,
        /// Whether the logarithms of the tokens' probabilities come with the answer.
        pub(crate) logprobs: Option<bool>,
        /// The same for so many of the most likely tokens at each place, up to 20.
        pub(crate) top_logprobs: Option<u32>,
        /// The functions that the model may call.
        pub(crate) tools: Option<Vec<ToolEntry>>,
        /// `none`, `auto`, `required`, or the one function to call.
        pub(crate) tool_choice: Option<Value>,
        /// Whether several functions may be called at once.
        pub(crate) parallel_tool_calls: Option<bool>,
        /// Who asks, in the client's own terms: where requests are split between
        /// versions, those of one user stay with one.
        pub(crate) user: Option<String>,
    }
}

/// A constraint that OpenAI's protocol has no place for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Guided {
    /// A regular expression for the whole answer.
    Regex(String),
    /// A grammar in the Lark dialect of llguidance.
    Lark(String),
    /// The answer is one of these texts.
    Choice(Vec<String>),
}

/// A function that a model may call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolEntry {
    /// Always `function`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The function.
    pub(crate) function: Function,
}

/// What a model knows of a function.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) description: Option<String>,
    /// The JSON schema of its arguments; without it there are none.
    pub(crate) parameters: Option<Value>,
    /// Calls are always strict.
    #[serde(rename = "strict")]
    pub(crate) _strict: Option<bool>,
}

written! {
    /// A request to `/v1/completions`.
    CompletionRequest {
        /// A model of `/v1/models`.
        pub(crate) model: String,
        /// The beginning of the text or texts: as text, or as the model's tokens.
        pub(crate) prompt: Prompt,
        /// At most so many tokens are written (16 unless it is said).
        pub(crate) max_tokens: Option<u32>,
        /// With the logarithms of so many of the most likely tokens' probabilities, up to 20.
        pub(crate) logprobs: Option<u32>,
        /// Whether the prompt stands before the answer.
        pub(crate) echo: Option<bool>,
        /// Only 1, or as many as `n`, is supported.
        pub(crate) best_of: Option<u32>,
        /// Not supported.
        pub(crate) suffix: Option<String>,
        /// Whether the answer comes as server-sent events.
        pub(crate) stream: Option<bool>,
        /// Options of the stream.
        pub(crate) stream_options: Option<StreamOptions>,
        /// Who asks, in the client's own terms: where requests are split between
        /// versions, those of one user stay with one.
        pub(crate) user: Option<String>,
    }
}

/// One prompt or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string, an array of strings, or arrays of token numbers")]
pub(crate) enum Prompt {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// The tokens of one text.
    Tokens(Vec<u32>),
    /// The tokens of several texts.
    ManyTokens(Vec<Vec<u32>>),
}

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub(crate) role: String,
    /// The text, or parts of text; may be missing where there are `tool_calls`.
    pub(crate) content: Option<Content>,
    /// The speaker's or the tool's name.
    pub(crate) name: Option<String>,
    /// The functions that the model called in an earlier answer.
    pub(crate) tool_calls: Option<Value>,
    /// Which of the calls the message of a tool answers.
    pub(crate) tool_call_id: Option<String>,
    /// Of an earlier answer; not used.
    #[serde(rename = "refusal")]
    pub(crate) _refusal: Option<String>,
}

/// The content of a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or an array of text parts")]
pub(crate) enum Content {
    /// One text.
    Text(String),
    /// Several parts.
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Part {
    /// Only `text` is supported.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The text.
    #[serde(default)]
    pub(crate) text: String,
}

/// The form of the answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The schema, for the type `json_schema`.
    pub(crate) json_schema: Option<NamedSchema>,
}

/// A JSON schema with its name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedSchema {
    /// A name, for the client's own use.
    #[serde(rename = "name")]
    pub(crate) _name: Option<String>,
    /// A description, for the client's own use.
    #[serde(rename = "description")]
    pub(crate) _description: Option<String>,
    /// The schema; every answer satisfies it, whatever `strict` says.
    pub(crate) schema: Option<Value>,
    /// Answers are always strict.
    #[serde(rename = "strict")]
    pub(crate) _strict: Option<bool>,
}

/// Options of a stream.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamOptions {
    /// Whether a last chunk counts the tokens.
    #[serde(default)]
    pub(crate) include_usage: bool,
}

/// The answer of `/v1/chat/completions` and `/v1/completions`, for the document.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatResponse {
    id: String,
    object: String,
    created: u64,
    model: String,
    system_fingerprint: String,
    choices: Vec<Value>,
    usage: Value,
    /// Of constrained answers: how the constraint was enforced, and how often it was tried anew.
    sprat: Value,
}

/// An error.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorObject,
}

/// What happened and what to do.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorObject {
    /// What happened, why, and what to do.
    message: String,
    /// The class, as OpenAI's API names it.
    r#type: String,
    /// The field that it is about.
    param: Option<String>,
    /// The stable code, `SPRAT-…`.
    code: String,
}

/// One entry of `/v1/models`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelCard {
    /// The name to use in requests.
    pub(crate) id: String,
    /// Always `model`.
    pub(crate) object: &'static str,
    /// When its version was made, in seconds since 1970.
    pub(crate) created: u64,
    /// Always `sprat`.
    pub(crate) owned_by: &'static str,
    /// The version behind the name at present.
    pub(crate) version: String,
    /// Further names it answers to.
    pub(crate) aliases: Vec<String>,
    /// What it can do: `classify`, `chat`, `complete`, `embed`.
    pub(crate) abilities: Vec<&'static str>,
    /// The labels of a classifier.
    pub(crate) labels: Vec<String>,
}

/// The answer of `/v1/models`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    pub(crate) object: &'static str,
    /// The models.
    pub(crate) data: Vec<ModelCard>,
}
