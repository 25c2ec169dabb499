//! OpenAI chat fine-tuning records: `{"messages": [{"role", "content", "weight"?}, …]}`
//! (platform.openai.com, "Fine-tuning", data format). The target is the last assistant message
//! that is trained on (`weight` is not 0); the input is the text of all user messages before it,
//! one a line; system messages go to the extra column `system`.

use super::{Sink, columns};
use crate::codes;
use crate::example::Example;
use serde_json::{Map, Value};
use sprat_task::Result;

pub(super) fn example(record: &Map<String, Value>, line: u64, sink: &Sink<'_>) -> Result<Example> {
    let wrong =
        |what: &str| Err(sink.error(&codes::RECORD, what.to_owned()).line(line).field("messages"));
    let Some(messages) = record.get("messages").and_then(Value::as_array) else {
        return wrong("a chat record has no `messages` array");
    };
    let role = |message: &Value| message.get("role").and_then(Value::as_str).map(str::to_owned);
    let Some(target) = messages.iter().rposition(|message| {
        role(message).as_deref() == Some("assistant")
            && message.get("weight").and_then(Value::as_f64) != Some(0.0)
    }) else {
        return wrong("a chat record has no assistant message to learn from");
    };
    let mut user = Vec::new();
    let mut system = Vec::new();
    for message in &messages[..target] {
        match role(message).as_deref() {
            Some("user") => user.push(content(message)),
            Some("system" | "developer") => system.push(content(message)),
            Some(_) => {}
            None => return wrong("a message has no role"),
        }
    }
    if user.is_empty() {
        return wrong("a chat record has no user message before the assistant's");
    }
    let text = user.join("\n");
    sink.fits(text.len(), line, "messages")?;
    let answer = content(&messages[target]);
    sink.fits(answer.len(), line, "messages")?;
    let group = sink.options.group.as_ref().and_then(|name| record.get(name));
    let mut example = Example {
        line,
        text,
        label: columns::label(&answer),
        group: group.and_then(super::json::text_of).and_then(|cell| columns::label(&cell)),
        ..Example::default()
    };
    if !system.is_empty() {
        example.extra.insert("system".into(), system.join("\n"));
    }
    Ok(example)
}

/// The text of a message: a string, or the text pieces of a list of parts.
fn content(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
