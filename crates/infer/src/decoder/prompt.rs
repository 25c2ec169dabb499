//! What a request asks, in the model's tokens.

use crate::codes;
use crate::request::{Input, Message, Request, Role};
use serde_json::Value;
use sprat_model::{Conversation, LanguageModel};
use sprat_task::{Error, Result, Timestamp};

/// The tokens that the model reads.
pub(super) fn tokens(
    model: &LanguageModel,
    instruction: Option<&str>,
    request: &Request,
    now: Timestamp,
) -> Result<Vec<u32>> {
    let messages = match &request.input {
        Input::Prompt(text) => return model.encode_text(text),
        Input::Tokens(ids) => {
            let vocabulary = model.decoder().config().vocabulary;
            return match ids.iter().find(|&&id| id as usize >= vocabulary) {
                None => Ok(ids.clone()),
                Some(id) => {
                    let what = format!("there is no token {id}: the model has {vocabulary}");
                    Err(Error::new(&codes::INPUT, what).field("prompt"))
                }
            };
        }
        Input::Text(text) => vec![Message::new(Role::User, text.clone())],
        Input::Messages(messages) => messages.clone(),
    };
    let mut conversation = conversation(instruction, messages)?;
    conversation.tools.clone_from(&request.tools);
    conversation.add_generation_prompt = true;
    model.encode_prompt(&model.render(&conversation, now)?)
}

/// The tokens that the model would write to answer with `answer`, the end included.
pub(super) fn answer_tokens(
    model: &LanguageModel,
    instruction: Option<&str>,
    answer: &str,
    now: Timestamp,
) -> Result<Vec<u32>> {
    let messages = vec![Message::new(Role::User, "?"), Message::new(Role::Assistant, answer)];
    let rendered = model.render_for_training(&conversation(instruction, messages)?, now)?;
    let encoded = model.tokenizer().encode_answers(&rendered)?;
    let own = encoded.ids.iter().zip(&encoded.answer).filter(|(_, own)| **own);
    let tokens: Vec<u32> = own.map(|(id, _)| *id).collect();
    if tokens.is_empty() {
        let what = format!("the chat template does not say where the answer `{answer}` stands");
        return Err(Error::new(&codes::CONSTRAINT, what)
            .help("Tune the model with a template that writes the assistant's turns."));
    }
    Ok(tokens)
}

fn conversation(instruction: Option<&str>, mut messages: Vec<Message>) -> Result<Conversation> {
    if let Some(instruction) = instruction
        && messages.first().is_none_or(|message| message.role != Role::System)
    {
        messages.insert(0, Message::new(Role::System, instruction));
    }
    let message = |message: &Message| {
        serde_json::to_value(message).map_err(|why| {
            Error::new(&codes::INPUT, "a message can't be written").why(why.to_string())
        })
    };
    let messages = messages.iter().map(message).collect::<Result<Vec<Value>>>()?;
    Ok(Conversation { messages, ..Conversation::default() })
}
