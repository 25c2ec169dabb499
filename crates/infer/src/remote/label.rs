//! Classification by a model that writes text: how it is asked, and how its answer is read.

use serde::Serialize;
use serde_json::Value;

/// What the model is told.
pub(super) fn instruction(labels: &[String], structured: bool) -> String {
    let mut text = String::from("Classify the message of the user. ");
    text += if structured {
        "Answer with a JSON object whose only key is \"label\" and whose value is exactly one of \
         these labels:\n"
    } else {
        "Answer with exactly one of these labels, spelled as here, and nothing else:\n"
    };
    for label in labels {
        text += "- ";
        text += label;
        text.push('\n');
    }
    text
}

/// The schema of a label in JSON, written without being built: it goes out with every request.
#[derive(Serialize)]
pub(super) struct Schema<'a> {
    r#type: &'static str,
    properties: Properties<'a>,
    required: [&'static str; 1],
    #[serde(rename = "additionalProperties")]
    additional: bool,
}

#[derive(Serialize)]
struct Properties<'a> {
    label: Label<'a>,
}

#[derive(Serialize)]
struct Label<'a> {
    r#type: &'static str,
    r#enum: &'a [String],
}

/// The schema of one of these labels.
pub(super) fn schema(labels: &[String]) -> Schema<'_> {
    Schema {
        r#type: "object",
        properties: Properties { label: Label { r#type: "string", r#enum: labels } },
        required: ["label"],
        additional: false,
    }
}

/// Reads a label strictly: the label itself or `{"label": …}`, with white space, one pair of
/// quotes or a Markdown code fence around it, and nothing else. Whoever is lenient here measures
/// a better model than the one that is served.
///
/// # Errors
/// Why it is none.
pub(super) fn parse(text: &str, labels: &[String]) -> Result<String, String> {
    let inner = unfence(text.trim());
    let known = |name: &str| labels.iter().find(|label| *label == name).cloned();
    if let Some(label) = known(inner) {
        return Ok(label);
    }
    match serde_json::from_str::<Value>(inner) {
        Ok(Value::String(name)) => known(&name).ok_or_else(|| unknown(&name)),
        Ok(Value::Object(fields)) => match fields.get("label") {
            Some(Value::String(name)) if fields.len() == 1 => {
                known(name).ok_or_else(|| unknown(name))
            }
            _ => Err("the answer is a JSON object without a single field `label`".to_owned()),
        },
        _ => {
            let bare = inner.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            let bare = bare
                .or_else(|| inner.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')))
                .unwrap_or(inner);
            known(bare).ok_or_else(|| unknown(inner))
        }
    }
}

fn unknown(name: &str) -> String {
    let mut shown: String = name.chars().take(80).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("the answer is not one of the labels: {shown:?}")
}

/// The content of a Markdown code fence, or the text itself.
fn unfence(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return text;
    };
    match rest.split_once('\n') {
        Some((language, content)) if language.chars().all(char::is_alphanumeric) => content.trim(),
        _ => rest.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels() -> Vec<String> {
        ["card", "lost card", "\"odd\""].map(String::from).to_vec()
    }

    #[test]
    fn a_label_is_read_in_the_forms_that_models_write() {
        for text in [
            "card",
            " card\n",
            "\"card\"",
            "'card'",
            "`card`",
            "{\"label\":\"card\"}",
            "```json\n{\"label\": \"card\"}\n```",
            "```\ncard\n```",
        ] {
            assert_eq!(parse(text, &labels()), Ok("card".to_owned()), "{text}");
        }
        assert_eq!(parse("\"odd\"", &labels()), Ok("\"odd\"".to_owned()));
        assert_eq!(parse("lost card", &labels()), Ok("lost card".to_owned()));
    }

    #[test]
    fn whatever_else_is_invalid() {
        for text in [
            "",
            "Card",
            "card.",
            "The label is card",
            "card, lost card",
            "{\"label\":\"mortgage\"}",
            "{\"label\":\"card\",\"why\":\"it says so\"}",
            "{\"label\":1}",
            "[\"card\"]",
            "'",
            "`",
            "```",
            "``````",
        ] {
            assert!(parse(text, &labels()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn only_known_labels_come_out(text in "\\PC{0,40}") {
            if let Ok(label) = parse(&text, &labels()) {
                prop_assert!(labels().contains(&label));
            }
        }
    }
}
