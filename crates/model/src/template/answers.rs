//! Where the answers stand in a conversation's text.

use super::{ChatTemplate, Conversation};
use sprat_task::Timestamp;
use std::ops::Range;

/// Locates the answers by rendering the conversation up to each of them. The text with the
/// prompt for an answer must begin the text of the whole conversation, and so must the text
/// with the answer; what lies between is the answer.
pub(super) fn find(
    template: &ChatTemplate,
    conversation: &Conversation,
    now: Timestamp,
    whole: &str,
) -> Vec<Range<usize>> {
    let text = |messages: usize, prompt: bool| {
        let mut part = conversation.clone();
        part.messages.truncate(messages);
        part.add_generation_prompt = prompt;
        // A template that refuses a part of the conversation has no prompt there.
        let rendered = template.render(&part, now).ok()?;
        whole.starts_with(&rendered.text).then_some(rendered.text.len())
    };
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in 0..conversation.messages.len() {
        if conversation.role(at) != Some("assistant") {
            continue;
        }
        let (Some(from), Some(to)) = (text(at, true), text(at + 1, false)) else { continue };
        let to = turn_end(template, whole, from, to);
        // Two messages in a row may be one turn to the template.
        let apart = found.last().is_none_or(|before| before.end <= from);
        if from < to && apart {
            found.push(from..to);
        }
    }
    found
}

/// White space behind the token that ends a turn is the template's, not the model's.
fn turn_end(template: &ChatTemplate, whole: &str, from: usize, to: usize) -> usize {
    let Some(answer) = whole.get(from..to) else { return to };
    let trimmed = answer.trim_end();
    let ends = template.texts.control.iter().any(|text| trimmed.ends_with(text.as_str()));
    if ends { from + trimmed.len() } else { to }
}
