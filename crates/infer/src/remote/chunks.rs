//! An answer that comes in chunks: OpenAI's "chat completion chunk" objects.

use super::body::{Tokens, count};
use super::fault::{Fault, Faults};
use super::settings::Settings;
use crate::answer::{Answer, Finish};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Tokens>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: usize,
    #[serde(default)]
    delta: Piece,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Piece {
    content: Option<String>,
    refusal: Option<String>,
}

/// What has come of an answer.
#[derive(Default)]
pub(super) struct Chunks {
    text: String,
    refusal: String,
    finish: Option<Finish>,
    usage: Option<Tokens>,
}

impl Chunks {
    /// Takes the data of an event; gives the piece of text that came with it.
    pub(super) fn take(&mut self, data: &str, faults: &Faults) -> Result<String, Fault> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|why| {
            faults.garbage(&format!("a chunk of it is none: {why}"), data.as_bytes())
        })?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(faults.stated(200, None, Some(&error), data.as_bytes()));
        }
        self.usage = chunk.usage.or(self.usage.take());
        let mut piece = String::new();
        // One answer was asked for.
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            if let Some(reason) = &choice.finish_reason {
                self.finish = Some(Finish::named(reason));
            }
            self.refusal += choice.delta.refusal.as_deref().unwrap_or_default();
            piece += choice.delta.content.as_deref().unwrap_or_default();
        }
        self.text += &piece;
        Ok(piece)
    }

    /// Whether the endpoint has said that the answer is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.finish.is_some()
    }

    /// The complete answer.
    pub(super) fn answer(self, settings: &Settings) -> Answer {
        let finish = self.finish.unwrap_or_default();
        let mut answer = Answer { output: self.text, finish, ..Answer::default() };
        count(settings, self.usage, &mut answer);
        if !self.refusal.is_empty() {
            answer.invalid = Some(format!("the model refused: {}", self.refusal));
        }
        answer
    }
}
