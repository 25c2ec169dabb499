//! Functions that templates call.

use super::budget::Budget;
use super::check::{ANSWER, ATTRIBUTES};
use super::marking::Signs;
use super::{python, time};
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, State, functions};
use sprat_task::Timestamp;
use std::error::Error as _;
use std::sync::Arc;

/// The most numbers of a `range`.
const LONGEST_RANGE: i128 = 100_000;

/// A template's own objection to a conversation.
#[derive(Debug)]
pub(super) struct Refused(String);

impl Refused {
    /// The objection, if that is what an error is.
    pub(super) fn of(error: &Error) -> Option<&str> {
        Some(error.source()?.downcast_ref::<Refused>()?.0.as_str())
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// An objection of ours to what a template does.
pub(super) fn failed(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

/// Adds the functions of one run.
pub(super) fn add(
    environment: &mut Environment<'static>,
    budget: &Arc<Budget>,
    signs: Signs,
    now: Timestamp,
) {
    environment.remove_global("debug");
    let own = budget.clone();
    environment.add_function("raise_exception", move |message: &Value| -> Result<Value, Error> {
        own.read(message)?;
        let message = python::to_string(message)?;
        Err(failed("raise_exception").with_source(Refused(message)))
    });
    let own = budget.clone();
    environment.add_function("range", move |from: i64, to: Option<i64>, step: Option<i64>| {
        own.weigh(range(from, to, step)?)
    });
    let own = budget.clone();
    environment.add_function("dict", move |value: Option<Value>, fields: Kwargs| {
        value.iter().try_for_each(|value| own.read(value))?;
        own.weigh(functions::dict(value, fields)?)
    });
    let own = budget.clone();
    environment.add_function("namespace", move |fields: Option<Value>| {
        if fields.as_ref().and_then(Value::len).is_some_and(|fields| fields > ATTRIBUTES) {
            return Err(failed("a namespace of too many attributes"));
        }
        own.weigh(functions::namespace(fields)?)
    });
    let own = budget.clone();
    environment.add_function("strftime_now", move |format: String| {
        own.scan(format.len())?;
        own.weigh(Value::from(time::format(now, &format)?))
    });
    let [from, to] = signs.answer;
    environment.add_function(ANSWER, move |state: &State, arguments: Kwargs| {
        let body: Value = arguments.get("caller")?;
        let text = body.call(state, &[])?;
        Ok::<_, Error>(Value::from(format!("{from}{text}{to}")))
    });
}

/// Python's `range`, of as many numbers as the engine's.
fn range(from: i64, to: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (from, to) = match to {
        Some(to) => (from, to),
        None => (0, from),
    };
    let step = step.unwrap_or(1);
    let way = if step < 0 {
        i128::from(from) - i128::from(to)
    } else {
        i128::from(to) - i128::from(from)
    };
    let count = match step {
        0 => return Err(failed("cannot create range with step of 0")),
        _ if way <= 0 => 0,
        _ => (way - 1) / i128::from(step.unsigned_abs()) + 1,
    };
    if count > LONGEST_RANGE {
        return Err(failed("range has too many elements"));
    }
    let numbers =
        (0..count).map(|at| Value::from((i128::from(from) + at * i128::from(step)) as i64));
    Ok(numbers.collect())
}
