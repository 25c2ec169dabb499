//! `sprat predict`: JSON Lines in, JSON Lines out, in the order of the input.

use crate::codes;
use serde::Deserialize;
use serde_json::{Value, json};
use sprat_infer::{Answer, Generator, Input, Message, Pending, Request};
use sprat_task::{Error, Interrupt, Result};
use std::collections::VecDeque;
use std::io::{BufRead, Read, Write};

/// The longest line that is read, in bytes.
const LONGEST: u64 = 16 << 20;
/// How many requests are on their way at once.
const WINDOW: usize = 64;

/// One line of the input.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Value,
    text: Option<String>,
    messages: Option<Vec<Message>>,
}

/// How many lines were answered and how many failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Predicted {
    /// Lines with an answer.
    pub answered: u64,
    /// Lines with an error.
    pub failed: u64,
}

/// Answers the lines of `input` with `model`, one JSON object a line. A line that fails gets an
/// `{"id", "error"}` object, and the run goes on.
///
/// # Errors
/// When reading or writing fails, or the work is interrupted.
pub fn predict(
    model: &dyn Generator,
    abstain_below: f64,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    interrupt: &Interrupt,
) -> Result<Predicted> {
    let mut counts = Predicted::default();
    let mut window: VecDeque<(Value, Result<Pending>)> = VecDeque::new();
    let mut number = 0;
    let mut raw = Vec::new();
    loop {
        interrupt.check()?;
        raw.clear();
        let read = (&mut *input).take(LONGEST + 1).read_until(b'\n', &mut raw);
        let bytes = read.map_err(|why| {
            Error::new(&codes::READ, "could not read the input").why(why.to_string())
        })?;
        let over = bytes == 0;
        if !over {
            number += 1;
            if raw.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let (id, request) = parse(&raw, number, input)?;
            let submitted = request.and_then(|request| {
                submit(model, request, &mut window, |done| {
                    write_line(model, abstain_below, done, output, &mut counts)
                })
            });
            window.push_back((id, submitted));
        }
        while window.len() > if over { 0 } else { WINDOW } {
            if let Some(done) = window.pop_front() {
                write_line(model, abstain_below, done, output, &mut counts)?;
            }
        }
        if over {
            output.flush().map_err(|why| unwritten(&why))?;
            return Ok(counts);
        }
    }
}

/// Submits a request; while the queue is full, the oldest answers are waited for and written.
fn submit(
    model: &dyn Generator,
    request: Request,
    window: &mut VecDeque<(Value, Result<Pending>)>,
    mut write: impl FnMut((Value, Result<Pending>)) -> Result<()>,
) -> Result<Pending> {
    loop {
        match model.submit(request.clone()) {
            Err(error) if error.code().kind == sprat_task::Kind::Busy => match window.pop_front() {
                Some(done) => write(done)?,
                None => return Err(error),
            },
            other => return other,
        }
    }
}

/// The line's id and request; an error of the line itself is in the request.
fn parse(raw: &[u8], number: u64, rest: &mut dyn BufRead) -> Result<(Value, Result<Request>)> {
    let bad = |what: &str| Error::new(&codes::LINE, what).line(number);
    if raw.len() as u64 > LONGEST {
        if !raw.ends_with(b"\n") {
            skip_line(rest)?;
        }
        let what = format!("the line is longer than {LONGEST} bytes");
        return Ok((json!(number), Err(bad(&what))));
    }
    let line: Line = match serde_json::from_slice(raw) {
        Ok(line) => line,
        Err(why) => {
            // The id may be readable where the rest is not.
            let id = serde_json::from_slice::<Value>(raw).ok().map(|value| value["id"].clone());
            let id = id.filter(|id| !id.is_null()).unwrap_or(json!(number));
            return Ok((id, Err(bad("the line is not a request").why(why.to_string()))));
        }
    };
    let id = if line.id.is_null() { json!(number) } else { line.id };
    let request = match (line.text, line.messages) {
        (Some(text), None) => Ok(Request::text(text)),
        (None, Some(messages)) => Ok(Request::new(Input::Messages(messages))),
        (None, None) => Err(bad("the line has neither `text` nor `messages`")),
        (Some(_), Some(_)) => Err(bad("the line has both `text` and `messages`")),
    };
    Ok((id, request))
}

fn skip_line(rest: &mut dyn BufRead) -> Result<()> {
    loop {
        let buffer = rest.fill_buf().map_err(|why| {
            Error::new(&codes::READ, "could not read the input").why(why.to_string())
        })?;
        let (used, over) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        rest.consume(used);
        if over {
            return Ok(());
        }
    }
}

fn write_line(
    model: &dyn Generator,
    abstain_below: f64,
    (id, pending): (Value, Result<Pending>),
    output: &mut dyn Write,
    counts: &mut Predicted,
) -> Result<()> {
    let line = match pending.and_then(Pending::wait) {
        Ok(answer) => {
            counts.answered += 1;
            object(model.name(), abstain_below, id, &answer)
        }
        Err(error) => {
            counts.failed += 1;
            json!({ "id": id, "error": error.to_json() })
        }
    };
    writeln!(output, "{line}").map_err(|why| unwritten(&why))
}

fn object(model: &str, abstain_below: f64, id: Value, answer: &Answer) -> Value {
    let mut line = json!({ "id": id, "output": answer.output });
    if let Some(label) = &answer.label {
        line["label"] = json!(label);
    }
    if let Some(confidence) = answer.confidence {
        line["confidence"] = json!(confidence);
        if f64::from(confidence) < abstain_below {
            line["abstained"] = json!(true);
        }
    }
    if !answer.scores.is_empty() {
        line["scores"] = answer.scores.iter().map(|(l, p)| (l.clone(), json!(p))).collect();
    }
    if let Some(invalid) = &answer.invalid {
        line["invalid"] = json!(invalid);
    }
    line["model"] = json!(model);
    line["latency_ms"] = json!((answer.latency.as_secs_f64() * 1e6).round() / 1e3);
    line
}

fn unwritten(why: &std::io::Error) -> Error {
    Error::new(&codes::WRITE, "could not write the answers").why(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_infer::{EncoderEngine, Limits, Scored, TextClassifier};
    use std::sync::Arc;

    /// Says `long` for texts of more than five bytes.
    struct Length(Vec<String>);

    impl TextClassifier for Length {
        fn labels(&self) -> &[String] {
            &self.0
        }

        fn classify(&self, texts: &[&str]) -> Result<Vec<Scored>> {
            let score = |text: &&str| {
                let long = if text.len() > 5 { 0.9 } else { 0.2 };
                Scored {
                    probabilities: vec![long, 1.0 - long],
                    tokens: text.len(),
                    cut: 0,
                    embedding: None,
                }
            };
            Ok(texts.iter().map(score).collect())
        }
    }

    fn run(input: &str) -> (Predicted, Vec<Value>) {
        let labels = vec!["long".to_string(), "short".to_string()];
        let limits = Limits { queue: 4, ..Limits::default() };
        let model = EncoderEngine::start("m", Arc::new(Length(labels)), limits).unwrap();
        let mut out = Vec::new();
        let counts =
            predict(&model, 0.85, &mut input.as_bytes(), &mut out, &Interrupt::default()).unwrap();
        let text = String::from_utf8(out).unwrap();
        (counts, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    #[test]
    fn answers_come_in_the_order_of_the_lines_even_when_the_queue_is_small() {
        let input: String = (0..300)
            .map(|at| format!("{{\"id\": {at}, \"text\": \"{}\"}}\n", "x".repeat(at % 11)))
            .collect();
        let (counts, lines) = run(&input);
        assert_eq!(counts, Predicted { answered: 300, failed: 0 });
        for (at, line) in lines.iter().enumerate() {
            assert_eq!(line["id"], at);
            assert_eq!(line["label"], if at % 11 > 5 { "long" } else { "short" });
            assert_eq!(line["abstained"] == true, at % 11 <= 5);
        }
    }

    #[test]
    fn bad_lines_have_their_own_errors_and_the_run_goes_on() {
        let input = concat!(
            "{\"text\": \"good one\"}\n",
            "not json\n",
            "{\"id\": \"x\", \"text\": 3}\n",
            "\n",
            "{\"id\": 4}\n",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n",
        );
        let (counts, lines) = run(input);
        assert_eq!(counts, Predicted { answered: 2, failed: 3 });
        assert_eq!(lines[1]["error"]["code"], "SPRAT-PREDICT-LINE");
        assert_eq!(lines[1]["error"]["line"], 2);
        assert_eq!(lines[2]["id"], "x");
        assert_eq!(lines[4]["label"], "short");
    }

    #[test]
    fn a_line_without_end_is_refused_and_the_next_one_answered() {
        let long = "y".repeat(LONGEST as usize + 10);
        let (counts, lines) = run(&format!("{{\"text\": \"{long}\"}}\n{{\"text\": \"ok\"}}\n"));
        assert_eq!(counts, Predicted { answered: 1, failed: 1 });
        assert_eq!(lines[1]["label"], "short");
    }
}
