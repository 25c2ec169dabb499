//! Rows that the model would not read to the end.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use crate::parallel::map_chunks;
use sprat_task::Result;

/// Longer than the model's context.
pub(super) struct TooLong;

impl Check for TooLong {
    fn id(&self) -> &'static str {
        "too-long"
    }
    fn title(&self) -> &'static str {
        "Longer than the model's context"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "Tokens of the model's own tokenizer, special tokens included; texts with fewer bytes \
         than the context has tokens can't be too long and are not tokenized."
    }
    fn advice(&self) -> &'static str {
        "The model cuts these texts; shorten them or use a model with a longer context."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        let Some(limit) = evidence.model.limit else {
            return Ok(Outcome::Skipped("no model is named yet".into()));
        };
        // A token is at least one byte, but for the special ones, of which there are few.
        let short = limit.max_tokens.saturating_sub(8);
        let blocks = map_chunks(evidence.rows.len(), 1024, evidence.interrupt, |rows| {
            let one = |row: usize| {
                let text = &evidence.rows[row].1.text;
                let tokens = if text.len() <= short { 0 } else { (limit.length)(text) };
                (tokens > limit.max_tokens).then_some((row as u32, tokens))
            };
            rows.filter_map(one).collect::<Vec<_>>()
        })?;
        let mut findings = Findings::new(evidence);
        for (row, tokens) in blocks.into_iter().flatten() {
            findings.push(1, || {
                let message = format!("{tokens} tokens; the model reads {}", limit.max_tokens);
                Finding::new(message).rows(evidence, [row])
            });
        }
        Ok(Outcome::Looked(findings))
    }
}
