//! What the rewritten instructions call: see [`super::compile`].

use super::budget::{Budget, ENTRY, Exceeded, is_namespace};
use super::functions::failed;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, State, tests};
use std::fmt::Write;
use std::sync::Arc;

/// Names that begin like this are not for templates.
pub(super) const PREFIX: &str = "__";

/// Takes a value's memory and gives it back.
pub(super) const WEIGH: &str = "__weigh";
/// Takes the work of reading a value and gives it back.
pub(super) const READ: &str = "__read";
/// Takes the work of beginning to go through a value and gives it back.
pub(super) const ENTER: &str = "__enter";
/// Takes the work of a comparison, and gives the two values back, for `UnpackList`.
pub(super) const BEFORE_COMPARE: &str = "__before_compare";
/// Refuses repetitions that are too long, and gives the two values back, for `UnpackList`.
pub(super) const BEFORE_REPEAT: &str = "__before_repeat";
/// Refuses to put a namespace into another one, and gives both back, for `UnpackList`.
pub(super) const BEFORE_SET: &str = "__before_set";
/// `~`.
pub(super) const CONCAT: &str = "__concat";
/// `[]`.
pub(super) const ITEM: &str = "__item";
/// `[::]`.
pub(super) const SLICE: &str = "__slice";
/// A dictionary of a list of keys and values.
pub(super) const MAP: &str = "__map";
/// The comparisons.
pub(super) const EQ: &str = "__eq";
pub(super) const NE: &str = "__ne";
pub(super) const LT: &str = "__lt";
pub(super) const LE: &str = "__le";
pub(super) const GT: &str = "__gt";
pub(super) const GE: &str = "__ge";
pub(super) const IN: &str = "__in";

/// Adds the guards of one run.
pub(super) fn add(environment: &mut Environment<'static>, budget: &Arc<Budget>) {
    let with = || budget.clone();
    let own = with();
    environment.add_function(WEIGH, move |value: Value| own.weigh(value));
    let own = with();
    environment.add_function(READ, move |value: Value| own.read(&value).map(|()| value));
    let own = with();
    environment.add_function(ENTER, move |value: Value| enter(&own, &value).map(|()| value));
    let own = with();
    environment.add_function(BEFORE_COMPARE, move |one: Value, other: Value| {
        // The operator may be one that looks for a value.
        own.compare(&one, &other)?;
        own.find(&other, &one)?;
        Ok::<_, Error>(pair(one, other))
    });
    let own = with();
    environment.add_function(BEFORE_REPEAT, move |one: Value, other: Value| {
        repeat(&own, &one, &other)?;
        Ok::<_, Error>(pair(one, other))
    });
    environment.add_function(BEFORE_SET, |value: Value, namespace: Value| {
        match is_namespace(&value) {
            true => Err(failed("a namespace cannot be inside of another one")),
            false => Ok(pair(value, namespace)),
        }
    });
    let own = with();
    environment.add_function(CONCAT, move |one: &Value, other: &Value| {
        let mut text = Bounded { text: String::new(), budget: &own };
        own.read(one)?;
        own.read(other)?;
        text.show(one)?;
        text.show(other)?;
        Ok::<_, Error>(Value::from(text.text))
    });
    let own = with();
    environment.add_function(ITEM, move |value: &Value, key: &Value| {
        own.read(key)?;
        if value.kind() != ValueKind::Map {
            enter(&own, value)?;
        }
        value.get_item(key)
    });
    let own = with();
    environment.add_function(SLICE, move |value: &Value, from: Value, to: Value, step: Value| {
        slice(&own, value, [from, to, step])
    });
    let own = with();
    environment.add_function(MAP, move |entries: &Value| {
        own.read(entries)?;
        let entries: Vec<Value> = entries.try_iter()?.collect();
        let pairs = entries.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        Ok::<_, Error>(pairs.collect::<Value>())
    });
    compare(environment, budget, EQ, |one, other| one == other);
    compare(environment, budget, NE, |one, other| one != other);
    compare(environment, budget, LT, |one, other| one < other);
    compare(environment, budget, LE, |one, other| one <= other);
    compare(environment, budget, GT, |one, other| one > other);
    compare(environment, budget, GE, |one, other| one >= other);
    let own = with();
    environment.add_function(IN, move |state: &State, value: &Value, container: &Value| {
        contains(&own, state, value, container)
    });
}

/// The two operands in the order in which `UnpackList` puts them back on the stack.
fn pair(below: Value, top: Value) -> Value {
    Value::from(vec![top, below])
}

fn compare(
    environment: &mut Environment<'static>,
    budget: &Arc<Budget>,
    name: &'static str,
    holds: fn(&Value, &Value) -> bool,
) {
    let own = budget.clone();
    environment.add_function(name, move |one: &Value, other: &Value| {
        own.compare(one, other)?;
        Ok::<_, Error>(holds(one, other))
    });
}

/// Whether a container holds a value.
pub(super) fn contains(
    budget: &Budget,
    state: &State<'_, '_>,
    value: &Value,
    container: &Value,
) -> Result<bool, Error> {
    budget.find(container, value)?;
    match (container.as_str(), value.as_str()) {
        (Some(text), None) => {
            let mut shown = Bounded { text: String::new(), budget };
            shown.show(value)?;
            Ok(text.contains(&shown.text))
        }
        _ => tests::is_in(state, value, container),
    }
}

/// What it takes to begin to go through a value, or to look for an item by its number: the
/// engine counts the letters of texts, and names the fields of namespaces.
fn enter(budget: &Budget, value: &Value) -> Result<(), Error> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => budget.work(text.len()),
        (None, ValueKind::Iterable | ValueKind::Map) => {
            budget.work(value.len().unwrap_or_default().saturating_mul(ENTRY))
        }
        _ => Ok(()),
    }
}

/// Refuses a text or a list that would be repeated too often.
fn repeat(budget: &Budget, one: &Value, other: &Value) -> Result<(), Error> {
    for (value, times) in [(one, other), (other, one)] {
        let length = match (value.as_str(), value.kind()) {
            (Some(text), _) => Some(text.len()),
            (None, ValueKind::Seq | ValueKind::Iterable) => value.len().map(|len| len * ENTRY),
            _ => None,
        };
        if let (Some(length), Some(times)) = (length, times.as_usize()) {
            return budget.fits(length.saturating_mul(times));
        }
    }
    Ok(())
}

/// Python's slices.
fn slice(budget: &Budget, value: &Value, [from, to, step]: [Value; 3]) -> Result<Value, Error> {
    let number = |value: Value| match value.is_none() {
        true => Ok(None),
        false => i64::try_from(value).map(Some),
    };
    let (from, to, step) = (number(from)?, number(to)?, number(step)?.unwrap_or(1));
    if step == 0 {
        return Err(failed("cannot slice by step size of 0"));
    }
    if let Some(text) = value.as_str() {
        budget.work(text.len())?;
        if step == 1 {
            let letters = text.chars().count();
            let picked = Picked::new(letters, from, to, step);
            let part = text.chars().skip(picked.from).take(picked.count);
            return budget.weigh(Value::from(part.collect::<String>()));
        }
        let letters: Vec<char> = text.chars().collect();
        let picked = Picked::new(letters.len(), from, to, step);
        let part: String = picked.filter_map(|at| letters.get(at)).collect();
        return budget.weigh(Value::from(part));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::Seq | ValueKind::Iterable => {
            let own;
            let items = match value.downcast_object_ref::<Vec<Value>>() {
                Some(items) => items,
                None => {
                    own = budget.items(value)?;
                    &own
                }
            };
            let picked = Picked::new(items.len(), from, to, step);
            budget.work(picked.count)?;
            let part: Vec<Value> = picked.filter_map(|at| items.get(at).cloned()).collect();
            budget.weigh(Value::from(part))
        }
        kind => Err(failed(format!("value of type {kind} cannot be sliced"))),
    }
}

/// The places that a slice picks, as CPython's `PySlice_AdjustIndices` finds them.
struct Picked {
    from: usize,
    count: usize,
    step: i64,
}

impl Picked {
    fn new(length: usize, from: Option<i64>, to: Option<i64>, step: i64) -> Self {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        // Backwards, the place before the first is an end.
        let (lowest, highest) = if step < 0 { (-1, length - 1) } else { (0, length) };
        let place = |at: i64| match at < 0 {
            true => at.saturating_add(length).max(lowest),
            false => at.min(highest),
        };
        let (from, to) = match step < 0 {
            true => (from.map_or(highest, place), to.map_or(lowest, place)),
            false => (from.map_or(lowest, place), to.map_or(highest, place)),
        };
        let way = if step < 0 { from - to } else { to - from };
        let count = if way <= 0 { 0 } else { (way as u64 - 1) / step.unsigned_abs() + 1 };
        Picked { from: from.max(0) as usize, count: count as usize, step }
    }
}

impl Iterator for Picked {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.count = self.count.checked_sub(1)?;
        let at = self.from;
        self.from = (at as i64).saturating_add(self.step).max(0) as usize;
        Some(at)
    }
}

/// A text that takes its memory as it grows.
pub(super) struct Bounded<'a> {
    pub(super) text: String,
    pub(super) budget: &'a Budget,
}

impl Bounded<'_> {
    /// Adds a value in the engine's notation.
    pub(super) fn show(&mut self, value: &Value) -> Result<(), Error> {
        match value.as_str() {
            Some(text) => self.push(text),
            // Nothing else than the memory can fail here.
            None => write!(self, "{value}").map_err(|_| Exceeded::Memory.into()),
        }
    }

    /// Adds a text.
    pub(super) fn push(&mut self, text: &str) -> Result<(), Error> {
        self.budget.fits(self.text.len() + text.len())?;
        self.budget.make(text.len())?;
        self.text.push_str(text);
        Ok(())
    }
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text).map_err(|_| std::fmt::Error)
    }
}
