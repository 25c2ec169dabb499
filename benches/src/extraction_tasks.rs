//! The public extraction tasks: SNIPS (seven intents with their slots) and restaurant8k (the fields
//! of a booking), as texts with JSON under a schema.

use crate::shared;
use crate::sides::BENCH;
use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};
use sprat_model::decoder::TokenExample;
use sprat_model::{Conversation, LanguageModel};
use sprat_task::{Error, Result, Timestamp, random};
use std::collections::BTreeSet;
use std::path::Path;

/// A text, and the JSON that is to be taken out of it, written without white space and in the
/// schema's order.
pub type Row = (String, String);

/// A task with its rows.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name.
    pub name: &'static str,
    /// The system message.
    pub instruction: &'static str,
    /// The JSON Schema of the answers.
    pub schema: Value,
    /// Rows to train and to validate on.
    pub train: Vec<Row>,
    /// Rows that only the last measurement sees.
    pub test: Vec<Row>,
}

impl Task {
    /// A task by its name.
    ///
    /// # Errors
    /// When there is no such task, or its data is not there.
    pub fn read(name: &str) -> Result<Task> {
        match name {
            "snips" => snips(),
            "restaurant8k" => restaurant8k(),
            other => Err(failed("there is no such task", other)),
        }
    }

    /// `count` training rows and `valid` others to validate on, drawn by `seed`.
    pub fn draw(&self, count: usize, valid: usize, seed: u64) -> (Vec<Row>, Vec<Row>) {
        let mut rows = self.train.clone();
        rows.shuffle(&mut random::stream(seed, self.name));
        let valid = rows.split_off(rows.len() - valid.min(rows.len() / 2));
        rows.truncate(count);
        (rows, valid)
    }
}

/// A text and its answer as a conversation, the answer marked for training.
///
/// # Errors
/// Those of the model's template and tokenizer.
pub fn example(
    model: &LanguageModel,
    instruction: &str,
    (text, answer): (&str, &str),
) -> Result<TokenExample> {
    let told = Conversation::of(&[("system", instruction), ("user", text), ("assistant", answer)]);
    let rendered = model.render_for_training(&told, Timestamp(0))?;
    let encoded = model.tokenizer().encode_answers(&rendered)?;
    let first = encoded.answer.iter().position(|own| *own).unwrap_or_default();
    let end = encoded.answer.iter().rposition(|own| *own).map_or(0, |last| last + 1);
    let mut ids = encoded.ids;
    ids.truncate(end);
    Ok(TokenExample { ids, answer: first..end })
}

fn failed(what: &str, why: impl ToString) -> Error {
    Error::new(&BENCH, what).why(why.to_string())
}

fn read(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(|why| failed("the data is missing", why).file(path))?;
    // Some files are in latin-1.
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(other) => other.into_bytes().into_iter().map(char::from).collect(),
    };
    serde_json::from_str(&text).map_err(|why| failed("the data is damaged", why).file(path))
}

/// Fields in the order of the schema; of a field that occurs several times the first.
fn answer(schema: &Value, fields: &[(String, String)]) -> String {
    let properties = schema["properties"].as_object().map(Map::keys).into_iter().flatten();
    let own = properties.filter_map(|name| {
        let (_, value) = fields.iter().find(|(field, _)| field == name)?;
        Some(format!("{}:{}", Value::from(name.as_str()), Value::from(value.as_str())))
    });
    format!("{{{}}}", own.collect::<Vec<_>>().join(","))
}

fn schema(first: Option<(&str, &[&str])>, fields: impl IntoIterator<Item = String>) -> Value {
    let mut properties = Map::new();
    properties.extend(first.map(|(name, values)| (name.to_owned(), json!({ "enum": values }))));
    let required: Vec<String> = properties.keys().cloned().collect();
    let text = json!({ "type": "string", "maxLength": 120 });
    properties.extend(fields.into_iter().map(|name| (name, text.clone())));
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

const INTENTS: [&str; 7] = [
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
];

fn snips() -> Result<Task> {
    let folder = shared().join("data/snips");
    type Told = (String, Vec<(String, String)>);
    let part = |file: &dyn Fn(&str) -> String| -> Result<Vec<Told>> {
        let mut all = Vec::new();
        for intent in INTENTS {
            let rows = read(&folder.join(intent).join(file(intent)))?;
            for row in rows[intent].as_array().into_iter().flatten() {
                let (mut text, mut fields) =
                    (String::new(), vec![("intent".to_owned(), intent.to_owned())]);
                for piece in row["data"].as_array().into_iter().flatten() {
                    let own = piece["text"].as_str().unwrap_or_default();
                    text.push_str(own);
                    if let Some(entity) = piece["entity"].as_str() {
                        fields.push((entity.to_owned(), own.trim().to_owned()));
                    }
                }
                all.push((text.trim().to_owned(), fields));
            }
        }
        Ok(all)
    };
    let train = part(&|intent| format!("train_{intent}_full.json"))?;
    let test = part(&|intent| format!("validate_{intent}.json"))?;
    let slots: BTreeSet<String> = train
        .iter()
        .flat_map(|(_, fields)| fields.iter().skip(1).map(|(field, _)| field.clone()))
        .collect();
    let schema = schema(Some(("intent", &INTENTS)), slots);
    let rows = |told: Vec<Told>| -> Vec<Row> {
        told.into_iter()
            .map(|(text, fields)| {
                let answer = answer(&schema, &fields);
                (text, answer)
            })
            .collect()
    };
    let (train, test) = (rows(train), rows(test));
    let instruction = "The intent of the request and its slots, as JSON.";
    Ok(Task { name: "snips", instruction, schema, train, test })
}

fn restaurant8k() -> Result<Task> {
    let folder = shared().join("data/restaurant8k");
    let slots = ["people", "date", "time", "first_name", "last_name"];
    let schema = schema(None, slots.map(str::to_owned));
    let part = |file: &str| -> Result<Vec<Row>> {
        let rows = read(&folder.join(file))?;
        let mut all = Vec::new();
        for row in rows.as_array().into_iter().flatten() {
            let text = row["userInput"]["text"].as_str().unwrap_or_default();
            let letters: Vec<char> = text.chars().collect();
            let mut fields = Vec::new();
            for label in row["labels"].as_array().into_iter().flatten() {
                // A start of 0 is left out.
                let at = |name: &str| label["valueSpan"][name].as_u64().unwrap_or(0) as usize;
                let span = letters.get(at("startIndex")..at("endIndex").min(letters.len()));
                if let (Some(slot), Some(span)) = (label["slot"].as_str(), span) {
                    fields.push((slot.to_owned(), span.iter().collect::<String>()));
                }
            }
            all.push((text.to_owned(), answer(&schema, &fields)));
        }
        Ok(all)
    };
    let (train, test) = (part("train_0.json")?, part("test.json")?);
    let instruction = "The fields of the booking that the message names, as JSON.";
    Ok(Task { name: "restaurant8k", instruction, schema, train, test })
}
