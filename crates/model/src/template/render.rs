//! Running a template, within bounds.

use super::marking::Marked;
use super::{ChatTemplate, functions, python, wrong};
use crate::codes;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use sprat_task::{Error, Result, Timestamp};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The name of the one template in its environment.
const NAME: &str = "chat_template";
/// How many instructions a template may run. A message costs about a hundred.
const FUEL: u64 = 1_000_000;
/// How deeply macros may call each other.
const RECURSION: usize = 100;
/// The longest text, in bytes: more than the longest context of any model.
const LONGEST: usize = 8 << 20;
/// The stack on which a template runs. What it builds may be nested as deeply as its fuel
/// allows, and is taken apart recursively.
const STACK: usize = 256 << 20;

/// The environment of a template, as `transformers` sets it up.
pub(super) fn environment(source: String) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    functions::add(&mut environment);
    // Compiling walks the template recursively.
    roomy(|| environment.add_template_owned(NAME, source).map_err(|why| told(&why)))??;
    Ok(environment)
}

/// Runs the template of a model on a conversation.
pub(super) fn run(template: &ChatTemplate, marked: &Marked, now: Timestamp) -> Result<String> {
    let mut environment = template.environment.clone();
    let left = Arc::new(AtomicUsize::new(LONGEST));
    environment.set_formatter({
        let left = left.clone();
        move |out, _, value| python::write(out, value, &left)
    });
    functions::add_for_one(&mut environment, marked.signs, now);
    let variables = variables(template, marked);
    roomy(move || {
        let mut out = Bounded { text: Vec::new() };
        let variables = Value::from_serialize(&variables);
        let compiled = environment.get_template(NAME).map_err(|why| told(&why))?;
        compiled.render_captured_to(variables, &mut out).map_err(|why| told(&why))?;
        String::from_utf8(out.text).map_err(|_| wrong("the template wrote no text"))
    })?
}

/// What the template sees. Tools and documents are none, not undefined, as in `transformers`.
fn variables(template: &ChatTemplate, marked: &Marked) -> BTreeMap<String, serde_json::Value> {
    let texts = &template.texts;
    let mut all: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for (name, text) in [
        ("bos_token", &texts.bos),
        ("eos_token", &texts.eos),
        ("pad_token", &texts.pad),
        ("unk_token", &texts.unknown),
    ] {
        if let Some(text) = text {
            all.insert(name.to_owned(), text.clone().into());
        }
    }
    let no_tools = marked.tools.as_array().is_none_or(Vec::is_empty);
    let tools = if no_tools { serde_json::Value::Null } else { marked.tools.clone() };
    all.insert("documents".to_owned(), serde_json::Value::Null);
    all.extend(marked.variables.clone());
    all.insert("messages".to_owned(), marked.messages.clone());
    all.insert("tools".to_owned(), tools);
    all.insert("add_generation_prompt".to_owned(), marked.add_generation_prompt.into());
    all
}

/// Runs something on a thread with a large stack.
fn roomy<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("chat template".to_owned());
        let thread = builder
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|why| wrong("no thread for the template").why(why.to_string()))?;
        thread.join().map_err(|_| wrong("the template engine failed"))
    })
}

/// Collects text up to a limit.
struct Bounded {
    text: Vec<u8>,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > LONGEST - self.text.len().min(LONGEST) {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes from what may still be written.
pub(super) fn spend(left: &AtomicUsize, bytes: usize) -> Result<(), minijinja::Error> {
    let taken =
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
    match taken {
        Ok(_) => Ok(()),
        Err(_) => Err(minijinja::Error::new(ErrorKind::WriteFailure, "too much text")),
    }
}

/// An error of the engine as one of ours, with the line in the template.
fn told(why: &minijinja::Error) -> Error {
    let refused = functions::Refused::of(why);
    let error = match (why.kind(), refused) {
        (_, Some(message)) => {
            return Error::new(&codes::CONVERSATION, "the chat template refuses these messages")
                .why(message);
        }
        (ErrorKind::OutOfFuel, _) => {
            Error::new(&codes::TEMPLATE_LIMIT, "the chat template did not come to an end")
                .why(format!("it ran {FUEL} instructions"))
        }
        (ErrorKind::WriteFailure, _) => {
            Error::new(&codes::TEMPLATE_LIMIT, "the chat template writes too much")
                .why(format!("more than {LONGEST} bytes"))
        }
        (ErrorKind::SyntaxError, _) => wrong("the chat template does not compile"),
        (
            kind @ (ErrorKind::UnknownFunction
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownMethod),
            _,
        ) => wrong(format!("the chat template uses an {kind}")),
        _ => wrong("the chat template failed"),
    };
    let limit = error.code() == &codes::TEMPLATE_LIMIT;
    let error = match why.detail() {
        Some(detail) if !limit => error.why(detail),
        None if !limit => error.why(why.kind().to_string()),
        _ => error,
    };
    match why.line() {
        Some(line) => error.line(line as u64),
        None => error,
    }
}
