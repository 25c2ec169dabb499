//! What the tests see of one request.

use crate::TraceRow;

/// One request as the tests see it. A field that is not known is `None`: the tests that need it
/// then look away, and the watch counts how often they had to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation<'a> {
    /// The embedding of the input, of the same length in every request.
    pub embedding: Option<&'a [f32]>,
    /// The input, where it is kept.
    pub text: Option<&'a str>,
    /// The length of the input, in tokens or characters; always in the same unit.
    pub length: Option<f64>,
    /// The label that was answered; an abstention has none.
    pub label: Option<&'a str>,
    /// The calibrated confidence, from 0 to 1.
    pub confidence: Option<f64>,
    /// Whether the answer was valid: of the right form, not an error.
    pub valid: Option<bool>,
    /// Whether the model refused or abstained.
    pub refused: Option<bool>,
    /// From receipt to answer, in milliseconds.
    pub latency_ms: Option<f64>,
    /// What the answer cost, in any one unit of money or tokens.
    pub cost: Option<f64>,
}

impl<'a> Observation<'a> {
    /// What a trace still says of its request; `embedding` is its sketch, read. Of a request that
    /// was not answered nothing but its input and that is seen. What an answer cost is money where
    /// prices are known, else tokens.
    pub fn of(row: &'a TraceRow, embedding: Option<&'a [f32]>) -> Self {
        let known = |tokens: u64| (tokens > 0).then_some(tokens as f64);
        let answered = row.status == 0 || (200..300).contains(&row.status);
        let input = Observation { embedding, text: row.text.as_deref(), ..Observation::default() };
        // Rows of before the column say it by their status.
        let valid = row.valid.or((answered || row.status >= 500).then_some(answered));
        if !answered {
            return Observation { valid, ..input };
        }
        Observation {
            length: known(row.prompt_tokens),
            label: row.label.as_deref(),
            confidence: row.confidence,
            valid,
            refused: row.confidence.is_some().then_some(row.label.is_none()),
            latency_ms: Some(row.latency_ms).filter(|ms| ms.is_finite()),
            cost: row.usd.or_else(|| known(row.prompt_tokens + row.completion_tokens)),
            ..input
        }
    }
}
