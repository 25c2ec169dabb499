//! Answers as server-sent events, in OpenAI's chunks.

use crate::codes as serve_codes;
use crate::error::{ApiError, ApiResult};
use crate::exchange::{Exchange, Form, Protocol, Used, by_side};
use crate::state::until;
use crate::tools;
use crate::wire::StreamOptions;
use axum::response::sse::{Event as Sse, KeepAlive, Sse as Stream};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, SelectAll, StreamExt};
use serde_json::{Value, json};
use sprat_infer::{Answer, Delta, Event, Pending, Route, codes};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;

/// Events of one of the answers, with its number.
type Numbered = (usize, Event);
type Events = SelectAll<Pin<Box<dyn stream::Stream<Item = Numbered> + Send>>>;

/// Whether a stream is wanted, and whether it counts its tokens.
pub(crate) fn asked(
    stream: Option<bool>,
    options: Option<StreamOptions>,
) -> ApiResult<(bool, bool)> {
    let stream = stream.unwrap_or(false);
    if options.is_some() && !stream {
        let what = "`stream_options` has a meaning only with `stream`";
        return Err(ApiError::field(&serve_codes::PARAMETER, "stream_options", what));
    }
    Ok((stream, options.is_some_and(|options| options.include_usage)))
}

struct Streaming {
    exchange: Exchange,
    events: Events,
    /// Events that are ready to go.
    ready: VecDeque<Sse>,
    /// Of each answer.
    answers: Vec<Progress>,
    used: Used,
    ended: bool,
}

#[derive(Clone, Default)]
struct Progress {
    /// What was sent of the text so far, in bytes and in characters.
    sent: usize,
    characters: usize,
    done: bool,
}

/// Waits for the first event, so that a failure still has its status and a header can say which side
/// of a route answers, then streams.
pub(crate) async fn stream(exchange: Exchange, pending: Vec<Pending>) -> ApiResult<Response> {
    let answers = vec![Progress::default(); pending.len()];
    let mut events = Events::new();
    for (index, pending) in pending.into_iter().enumerate() {
        let one = stream::unfold(pending, move |mut pending| async move {
            pending.next().await.map(|event| ((index, event), pending))
        });
        events.push(Box::pin(one));
    }
    let first = next(&exchange, &mut events).await.inspect_err(|error| exchange.failed(error))?;
    // An answer that is there already is checked before the head of the response goes out.
    if let (_, Event::Done(answer)) = &first {
        exchange.outgoing(answer).inspect_err(|error| exchange.failed(error))?;
    }
    let side = match &first {
        (_, Event::Delta(delta)) => delta.side,
        (_, Event::Done(answer)) => answer.route.as_ref().map(Route::side),
        (_, Event::Failed(_)) => None,
    };
    let (ready, used) = (VecDeque::new(), Used::default());
    let mut streaming = Streaming { exchange, events, ready, answers, used, ended: false };
    if matches!(streaming.exchange.protocol, Protocol::Chat(_)) {
        for index in 0..streaming.answers.len() {
            streaming.chunk(
                index,
                json!({ "role": "assistant", "content": "" }),
                Value::Null,
                None,
            );
        }
    }
    streaming.take(first);
    let events = stream::unfold(streaming, |mut streaming| async move {
        loop {
            if let Some(event) = streaming.ready.pop_front() {
                return Some((Ok::<_, Infallible>(event), streaming));
            }
            if streaming.ended {
                return None;
            }
            match next(&streaming.exchange, &mut streaming.events).await {
                Ok(event) => streaming.take(event),
                Err(error) => streaming.fail(&error),
            }
        }
    });
    Ok(by_side(Stream::new(events).keep_alive(KeepAlive::default()).into_response(), side))
}

async fn next(exchange: &Exchange, events: &mut Events) -> ApiResult<Numbered> {
    until(exchange.admission.deadline, async {
        match events.next().await {
            Some((_, Event::Failed(error))) => Err(error),
            Some(event) => Ok(event),
            None => Err(sprat_task::Error::new(&codes::PANIC, "the engine ended early")),
        }
    })
    .await
}

impl Streaming {
    fn take(&mut self, (index, event): Numbered) {
        match event {
            Event::Delta(delta) => self.delta(index, &delta),
            Event::Done(answer) => self.done(index, *answer),
            Event::Failed(error) => self.fail(&error.into()),
        }
    }

    fn delta(&mut self, index: usize, delta: &Delta) {
        let sent = &mut self.answers[index];
        match self.exchange.protocol {
            // JSON is proven as a whole before any of it is sent.
            Protocol::Chat(Form::Json(_)) => return,
            // A call begins with a brace, and goes out whole.
            Protocol::Chat(Form::Tools) if sent.sent == 0 && delta.text.starts_with('{') => return,
            Protocol::Chat(Form::Tools) if sent.sent == 0 && delta.text.is_empty() => return,
            _ => {}
        }
        let scores = self.exchange.piece_scores(&delta.tokens, sent.characters);
        sent.sent += delta.text.len();
        sent.characters += delta.text.chars().count();
        self.piece(index, &delta.text, scores);
    }

    fn done(&mut self, index: usize, answer: Answer) {
        let outgoing = match self.exchange.outgoing(&answer) {
            Ok(outgoing) => outgoing,
            Err(error) => return self.fail(&error),
        };
        if outgoing.calls.is_empty() {
            let rest = outgoing.text.get(self.answers[index].sent..).unwrap_or_default().to_owned();
            if !rest.is_empty() {
                self.piece(index, &rest, Value::Null);
            }
        } else {
            let calls = tools::written(&outgoing.calls, &self.exchange.admission.id);
            self.chunk(index, json!({ "tool_calls": calls }), Value::Null, None);
        }
        let finish = self.exchange.finish_reason(&answer, &outgoing);
        match self.exchange.protocol {
            Protocol::Chat(_) => self.chunk(index, json!({}), Value::Null, Some(finish)),
            Protocol::Completion { .. } => self.text(index, "", Value::Null, Some(finish)),
        }
        self.used.add(&answer);
        self.exchange.answered(answer, outgoing.text);
        self.answers[index].done = true;
        if self.answers.iter().all(|answer| answer.done) {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.exchange.include_usage || self.used.sprat().is_some() {
            let mut chunk = self.exchange.head(true);
            chunk["choices"] = json!([]);
            if self.exchange.include_usage {
                chunk["usage"] = self.used.usage();
            }
            if let Some(sprat) = self.used.sprat() {
                chunk["sprat"] = sprat;
            }
            self.push(&chunk);
        }
        self.ready.push_back(Sse::default().data("[DONE]"));
        self.ended = true;
    }

    fn fail(&mut self, error: &ApiError) {
        self.exchange.failed(error);
        self.push(&error.body());
        self.ended = true;
    }

    fn piece(&mut self, index: usize, text: &str, scores: Value) {
        match self.exchange.protocol {
            Protocol::Chat(_) => self.chunk(index, json!({ "content": text }), scores, None),
            Protocol::Completion { .. } => self.text(index, text, scores, None),
        }
    }

    fn chunk(&mut self, index: usize, delta: Value, scores: Value, finish: Option<&str>) {
        let choice = json!({
            "index": index, "delta": delta, "logprobs": scores, "finish_reason": finish,
        });
        self.choice(choice);
    }

    fn text(&mut self, index: usize, text: &str, scores: Value, finish: Option<&str>) {
        let choice = json!({
            "index": index, "text": text, "logprobs": scores, "finish_reason": finish,
        });
        self.choice(choice);
    }

    fn choice(&mut self, choice: Value) {
        let mut chunk = self.exchange.head(true);
        chunk["choices"] = json!([choice]);
        if self.exchange.include_usage {
            chunk["usage"] = Value::Null;
        }
        self.push(&chunk);
    }

    fn push(&mut self, value: &Value) {
        self.ready.push_back(Sse::default().data(value.to_string()));
    }
}
