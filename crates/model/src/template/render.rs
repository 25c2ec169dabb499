//! Running a template, within bounds.

use super::budget::{Budget, Exceeded, LONGEST};
use super::compile::{Compiled, is_reserved};
use super::marking::Marked;
use super::{ChatTemplate, compile, filters, functions, guards, python, wrong};
use crate::codes;
use minijinja::machinery::{Vm, make_string_output};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use sprat_task::{Error, Result, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many instructions a template may run. A message costs about two hundred.
const FUEL: u64 = 2_000_000;
/// How deeply macros may call each other.
const RECURSION: usize = 100;
/// The stack on which a template is compiled and runs: both go down into it recursively.
const STACK: usize = 256 << 20;
/// The longest objection of a template that is passed on, in letters.
const LONGEST_OBJECTION: usize = 4_096;

/// The environment of a template, as `transformers` sets it up.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    // Otherwise errors would take copies of variables with them.
    environment.set_debug(false);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    filters::add_free(&mut environment);
    environment
}

/// Compiles a template.
pub(super) fn compile(source: String) -> Result<Compiled> {
    roomy(|| compile::compile(source))?
}

/// Runs the template of a model on a conversation.
pub(super) fn run(template: &ChatTemplate, marked: &Marked, now: Timestamp) -> Result<String> {
    let variables = Value::from_serialize(variables(template, marked));
    let budget = Arc::new(Budget::new(&variables).map_err(|why| told(&why))?);
    let mut environment = template.environment.clone();
    let own = budget.clone();
    environment.set_formatter(move |out, _, value| python::write(out, value, &own));
    let own = budget.clone();
    environment.set_unknown_method_callback(move |state, value, name, args| {
        python::method(&own, state, value, name, args)
    });
    filters::add(&mut environment, &budget);
    functions::add(&mut environment, &budget, marked.signs, now);
    guards::add(&mut environment, &budget);
    roomy(move || {
        let mut text = String::new();
        template.compiled.with_dependent(|_, program| {
            let mut out = make_string_output(&mut text);
            let vm = Vm::new(&environment);
            vm.eval(&program.root, variables, &program.blocks, &mut out, AutoEscape::None)
                .map(drop)
                .map_err(|why| told(&why))
        })?;
        Ok(text)
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
    // The functions that instructions call are looked up like variables.
    let given = marked.variables.iter().filter(|(name, _)| !is_reserved(name));
    all.extend(given.map(|(name, value)| (name.clone(), value.clone())));
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

/// An error of the engine as one of ours, with the line in the template.
pub(super) fn told(why: &minijinja::Error) -> Error {
    let cut = |text: &str| text.chars().take(LONGEST_OBJECTION).collect::<String>();
    let limit = |what: &str, bound: String| Error::new(&codes::TEMPLATE_LIMIT, what).why(bound);
    if let Some(message) = functions::Refused::of(why) {
        return Error::new(&codes::CONVERSATION, "the chat template refuses these messages")
            .why(cut(message));
    }
    let error = match (Exceeded::of(why), why.kind()) {
        (Some(Exceeded::Text), _) => {
            limit("the chat template writes too much", format!("more than {LONGEST} bytes"))
        }
        (Some(Exceeded::Memory), _) => {
            let bound = "what it makes grows far beyond the conversation".to_owned();
            limit("the chat template takes too much memory", bound)
        }
        (Some(Exceeded::Work), _) => {
            let bound = "it goes through what it made again and again".to_owned();
            limit("the chat template did not come to an end", bound)
        }
        (None, ErrorKind::OutOfFuel) => {
            let bound = format!("it ran {FUEL} instructions");
            limit("the chat template did not come to an end", bound)
        }
        (None, kind) => {
            let what = match kind {
                ErrorKind::SyntaxError => "the chat template does not compile".to_owned(),
                ErrorKind::UnknownFunction
                | ErrorKind::UnknownFilter
                | ErrorKind::UnknownTest
                | ErrorKind::UnknownMethod => format!("the chat template uses an {kind}"),
                _ => "the chat template failed".to_owned(),
            };
            match why.detail() {
                Some(detail) => wrong(what).why(cut(detail)),
                None => wrong(what).why(kind.to_string()),
            }
        }
    };
    match why.line() {
        Some(line) => error.line(line as u64),
        None => error,
    }
}
