//! Answers as a series of server-sent events, as OpenAI's `stream` option defines them.

use crate::chat::{Chat, Form, finish_reason, usage};
use crate::codes;
use crate::error::{ApiError, ApiResult};
use crate::state::until;
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response, Sse as Stream};
use futures_util::stream;
use serde_json::{Value, json};
use sprat_infer::{Answer, Event, Pending};
use std::collections::VecDeque;
use std::convert::Infallible;

struct Streaming {
    chat: Chat,
    pending: Pending,
    /// Events that are ready to go.
    ready: VecDeque<Sse>,
    /// What was sent of a text so far, in bytes.
    sent: usize,
    ended: bool,
}

/// Waits for the first event, so that a failure still has its status, then streams.
pub(crate) async fn stream(chat: Chat, mut pending: Pending) -> ApiResult<Response> {
    let first = next(&chat, &mut pending).await.inspect_err(|error| chat.failed(error))?;
    // An answer that is there already is checked before the head of the response goes out.
    if let Event::Done(answer) = &first {
        chat.text(answer).inspect_err(|error| chat.failed(error))?;
    }
    let mut streaming = Streaming { chat, pending, ready: VecDeque::new(), sent: 0, ended: false };
    streaming.chunk(json!({ "role": "assistant", "content": "" }), None);
    streaming.take(first);
    let events = stream::unfold(streaming, |mut streaming| async move {
        loop {
            if let Some(event) = streaming.ready.pop_front() {
                return Some((Ok::<_, Infallible>(event), streaming));
            }
            if streaming.ended {
                return None;
            }
            match next(&streaming.chat, &mut streaming.pending).await {
                Ok(event) => streaming.take(event),
                Err(error) => streaming.fail(&error),
            }
        }
    });
    Ok(Stream::new(events).keep_alive(KeepAlive::default()).into_response())
}

async fn next(chat: &Chat, pending: &mut Pending) -> ApiResult<Event> {
    until(chat.admission.deadline, async {
        match pending.next().await {
            Some(Event::Failed(error)) => Err(error),
            Some(event) => Ok(event),
            None => Err(sprat_task::Error::new(&codes::PANIC, "the engine ended early")),
        }
    })
    .await
}

impl Streaming {
    fn take(&mut self, event: Event) {
        match event {
            Event::Delta(text) => {
                // JSON is proven as a whole before any of it is sent.
                if matches!(self.chat.form, Form::Text) {
                    self.sent += text.len();
                    self.chunk(json!({ "content": text }), None);
                }
            }
            Event::Done(answer) => match self.chat.text(&answer) {
                Ok(text) => self.done(*answer, text),
                Err(error) => self.fail(&error),
            },
            Event::Failed(error) => self.fail(&error.into()),
        }
    }

    fn done(&mut self, answer: Answer, text: String) {
        if let Some(rest) = text.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.chunk(json!({ "content": rest }), None);
        }
        self.chunk(json!({}), Some(finish_reason(answer.finish)));
        if self.chat.include_usage {
            let mut chunk = self.head();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage(&answer);
            self.push(chunk);
        }
        self.ready.push_back(Sse::default().data("[DONE]"));
        self.chat.answered(answer, text);
        self.ended = true;
    }

    fn fail(&mut self, error: &ApiError) {
        self.chat.failed(error);
        self.push(error.body());
        self.ended = true;
    }

    fn chunk(&mut self, delta: Value, finish: Option<&str>) {
        let mut chunk = self.head();
        chunk["choices"] = json!([{
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish,
        }]);
        if self.chat.include_usage {
            chunk["usage"] = Value::Null;
        }
        self.push(chunk);
    }

    fn head(&self) -> Value {
        json!({
            "id": self.chat.id(),
            "object": "chat.completion.chunk",
            "created": self.chat.created,
            "model": self.chat.served.id,
            "system_fingerprint": self.chat.served.version,
        })
    }

    fn push(&mut self, value: Value) {
        self.ready.push_back(Sse::default().data(value.to_string()));
    }
}
