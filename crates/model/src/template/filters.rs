//! Filters and tests, with what they cost.
//!
//! What is not in the list is not there: the engine has filters beyond Jinja's, and some that take
//! sizes which nothing bounds (`batch`, `slice`, `format`).

use super::budget::{Budget, ENTRY, Exceeded, LONGEST};
use super::functions::failed;
use super::{guards, json, python};
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, State, filters, tests};
use std::sync::{Arc, LazyLock};

/// The filters of the engine that are not offered.
const REMOVED: [&str; 10] =
    ["batch", "slice", "format", "pprint", "split", "lines", "chain", "zip", "bool", "urlencode"];

/// How many bytes an escaped byte may become: a quote in a text in a list is `\&quot;`.
const MOST_ESCAPED: usize = 8;

/// What a filter or a test does with its arguments.
#[derive(Clone, Copy)]
enum Cost {
    /// Looks at them from outside, and gives back what was there before.
    Pick,
    /// Looks at them from outside, and makes something.
    Make,
    /// Goes through everything in them.
    Read,
    /// Goes through the first letter by letter.
    Letters,
    /// Writes the first, where a letter may become several.
    Escape,
    /// Goes through the items of the first and looks at the others for each.
    Each,
    /// Sorts the items of the first, or compares them in pairs.
    Sort,
    /// Compares the first with the second.
    Compare,
}

impl Cost {
    /// Takes the costs of a call, except for what it makes.
    fn take(self, budget: &Budget, arguments: &[Value]) -> Result<(), Error> {
        budget.peek(arguments)?;
        match (self, arguments) {
            (Cost::Pick | Cost::Make, _) => Ok(()),
            (Cost::Read, _) => arguments.iter().try_for_each(|argument| budget.read(argument)),
            (Cost::Letters, [text, ..]) => budget.letters(text.as_str().map_or(0, str::len)),
            (Cost::Escape, [value, ..]) => {
                budget.fits(budget.walk(value)?.saturating_mul(MOST_ESCAPED))
            }
            (Cost::Compare, [one, other, ..]) => budget.compare(one, other),
            (Cost::Each, [list, others @ ..]) => {
                budget.work(items(list).saturating_mul(bytes(others)))
            }
            (Cost::Sort, [list, others @ ..]) => {
                // Twice as many items take one comparison more of each.
                let rounds = items(list).checked_ilog2().unwrap_or(0) as usize + 1;
                (0..rounds).try_for_each(|_| budget.read(list))?;
                budget.work(items(list).saturating_mul(bytes(others) * rounds))
            }
            (_, []) | (Cost::Compare, [_]) => Ok(()),
        }
    }

    /// Whether the result is new.
    fn makes(self) -> bool {
        !matches!(self, Cost::Pick | Cost::Compare)
    }
}

fn items(list: &Value) -> usize {
    list.len().unwrap_or_default()
}

/// The bytes of the texts in arguments, those with a name included.
fn bytes(arguments: &[Value]) -> usize {
    let text = |value: &Value| value.as_str().map_or(0, str::len) + ENTRY;
    let fields = |value: &Value| -> usize {
        let pairs =
            value.as_object().filter(|_| value.is_kwargs()).and_then(|all| all.try_iter_pairs());
        pairs.into_iter().flatten().map(|(name, value)| text(&name) + text(&value)).sum()
    };
    arguments.iter().map(|argument| text(argument) + fields(argument)).sum()
}

/// The filters that need no budget of their own.
static FILTERS: LazyLock<Vec<(&'static str, Value, Cost)>> = LazyLock::new(|| {
    let default = Value::from_function(filters::default);
    let escape = Value::from_function(filters::escape);
    let length = Value::from_function(filters::length);
    vec![
        ("d", default.clone(), Cost::Pick),
        ("default", default, Cost::Pick),
        ("first", Value::from_function(filters::first), Cost::Pick),
        ("last", Value::from_function(filters::last), Cost::Pick),
        ("length", length.clone(), Cost::Pick),
        ("count", length, Cost::Pick),
        ("abs", Value::from_function(filters::abs), Cost::Pick),
        ("int", Value::from_function(filters::int), Cost::Pick),
        ("float", Value::from_function(filters::float), Cost::Pick),
        ("round", Value::from_function(filters::round), Cost::Pick),
        ("items", Value::from_function(filters::items), Cost::Make),
        ("reverse", Value::from_function(filters::reverse), Cost::Make),
        ("attr", Value::from_function(filters::attr), Cost::Read),
        ("safe", Value::from_function(filters::safe), Cost::Read),
        ("e", escape.clone(), Cost::Escape),
        ("escape", escape, Cost::Escape),
        ("title", Value::from_function(filters::title), Cost::Read),
        ("capitalize", Value::from_function(filters::capitalize), Cost::Read),
        ("tojson", Value::from_function(json::filter), Cost::Read),
        ("indent", Value::from_function(indent), Cost::Read),
        // They make a text of whatever they get.
        ("string", Value::from_function(|value: &Value| python::to_string(value)), Cost::Read),
        (
            "upper",
            Value::from_function(|value: &Value| {
                python::to_string(value).map(|text| text.to_uppercase())
            }),
            Cost::Read,
        ),
        (
            "lower",
            Value::from_function(|value: &Value| {
                python::to_string(value).map(|text| text.to_lowercase())
            }),
            Cost::Read,
        ),
        ("map", Value::from_function(filters::map), Cost::Each),
        ("select", Value::from_function(filters::select), Cost::Each),
        ("reject", Value::from_function(filters::reject), Cost::Each),
        ("selectattr", Value::from_function(filters::selectattr), Cost::Each),
        ("rejectattr", Value::from_function(filters::rejectattr), Cost::Each),
        ("sum", Value::from_function(filters::sum), Cost::Sort),
        ("min", Value::from_function(filters::min), Cost::Sort),
        ("max", Value::from_function(filters::max), Cost::Sort),
        ("sort", Value::from_function(sort), Cost::Sort),
        ("dictsort", Value::from_function(filters::dictsort), Cost::Sort),
        ("unique", Value::from_function(filters::unique), Cost::Sort),
        ("groupby", Value::from_function(filters::groupby), Cost::Sort),
    ]
});

/// The tests that look into what they are given; the others look at its kind.
static TESTS: LazyLock<Vec<(&'static str, Value, Cost)>> = LazyLock::new(|| {
    let named = |names: &[&'static str], test: Value, cost: Cost| {
        names.iter().map(|name| (*name, test.clone(), cost)).collect::<Vec<_>>()
    };
    [
        named(&["eq", "equalto", "=="], Value::from_function(tests::is_eq), Cost::Compare),
        named(&["ne", "!="], Value::from_function(tests::is_ne), Cost::Compare),
        named(&["lt", "lessthan", "<"], Value::from_function(tests::is_lt), Cost::Compare),
        named(&["le", "<="], Value::from_function(tests::is_le), Cost::Compare),
        named(&["gt", "greaterthan", ">"], Value::from_function(tests::is_gt), Cost::Compare),
        named(&["ge", ">="], Value::from_function(tests::is_ge), Cost::Compare),
        named(&["sameas"], Value::from_function(tests::is_sameas), Cost::Compare),
        named(&["startingwith"], Value::from_function(tests::is_startingwith), Cost::Read),
        named(&["endingwith"], Value::from_function(tests::is_endingwith), Cost::Read),
        named(&["lower"], Value::from_function(tests::is_lower), Cost::Letters),
        named(&["upper"], Value::from_function(tests::is_upper), Cost::Letters),
        named(&["filter"], Value::from_function(tests::is_filter), Cost::Read),
        named(&["test"], Value::from_function(tests::is_test), Cost::Read),
    ]
    .concat()
});

/// Adds what does not depend on the conversation.
pub(super) fn add_free(environment: &mut Environment<'static>) {
    for name in REMOVED {
        environment.remove_filter(name);
    }
    // Where Python has other answers: what is none cannot be gone through, and texts and
    // dictionaries are sequences.
    environment.add_test("iterable", |value: &Value| {
        use ValueKind::{Iterable, Map, Seq, String, Undefined};
        matches!(value.kind(), String | Seq | Map | Iterable | Undefined)
    });
    environment.add_test("divisibleby", is_divisible);
    environment.add_test("sequence", |value: &Value| {
        use ValueKind::{Map, Seq, String, Undefined};
        matches!(value.kind(), String | Seq | Map | Undefined)
    });
}

/// The engine's `sort`, which takes items without the attribute as equal to all others; that is no
/// order, and sorting may panic over it.
fn sort(state: &State, list: Value, arguments: Kwargs) -> Result<Value, Error> {
    if let Some(attribute) = arguments.get::<Option<&str>>("attribute")?
        && !attribute.contains(',')
    {
        let attribute = Kwargs::from_iter([("attribute", Value::from(attribute))]);
        filters::map(state, list.clone(), Rest(vec![Value::from(attribute)]))?;
    }
    filters::sort(state, list, arguments)
}

/// Whether a number is a multiple of another one; the engine's own test divides by zero.
fn is_divisible(value: &Value, by: &Value) -> bool {
    let fraction = |value: &Value| value.is_number() && !value.is_integer();
    if fraction(value) || fraction(by) {
        let (value, by) = (f64::try_from(value.clone()), f64::try_from(by.clone()));
        return matches!((value, by), (Ok(value), Ok(by)) if value % by == 0.0);
    }
    let (value, by) = (i128::try_from(value.clone()), i128::try_from(by.clone()));
    matches!((value, by), (Ok(value), Ok(by)) if value.checked_rem(by) == Some(0))
}

/// Adds the filters and tests of one run.
pub(super) fn add(environment: &mut Environment<'static>, budget: &Arc<Budget>) {
    for (name, filter, cost) in FILTERS.iter() {
        let own = budget.clone();
        environment.add_filter(*name, move |state: &State, arguments: Rest<Value>| {
            cost.take(&own, &arguments)?;
            let result = filter.call(state, &arguments)?;
            if cost.makes() { own.weigh(result) } else { Ok(result) }
        });
    }
    for (name, test, cost) in TESTS.iter() {
        let own = budget.clone();
        environment.add_test(*name, move |state: &State, arguments: Rest<Value>| {
            cost.take(&own, &arguments)?;
            test.call(state, &arguments).map(|answer| answer.is_true())
        });
    }
    let own = budget.clone();
    environment.add_test("in", move |state: &State, value: &Value, container: &Value| {
        guards::contains(&own, state, value, container)
    });
    let own = budget.clone();
    environment.add_filter("list", move |value: &Value| match own.items(value) {
        Ok(items) => {
            let list = Value::from(items);
            own.read(&list)?;
            Ok(list)
        }
        Err(why) if Exceeded::of(&why).is_some() => Err(why),
        Err(_) => Err(failed("cannot convert value to list")),
    });
    let own = budget.clone();
    environment.add_filter("join", move |value: &Value, between: Option<&str>| {
        python::join(&own, value, between.unwrap_or_default())
    });
    for (name, method) in [("trim", "strip"), ("replace", "replace")] {
        let own = budget.clone();
        environment.add_filter(name, move |state: &State, value: &Value, args: Rest<Value>| {
            own.read(value)?;
            let text = Value::from(python::to_string(value)?);
            python::method(&own, state, &text, method, &args)
        });
    }
}

/// Jinja's `indent`, for widths that a person would write.
fn indent(text: String, width: Option<usize>, arguments: Kwargs) -> Result<String, Error> {
    let width = match width {
        Some(width) => width,
        None => arguments.get::<Option<usize>>("width")?.unwrap_or(4),
    };
    if width > 64 {
        return Err(failed("an indent of more than 64 spaces"));
    }
    let first = arguments.get::<Option<bool>>("first")?.unwrap_or(false);
    let blank = arguments.get::<Option<bool>>("blank")?.unwrap_or(false);
    arguments.assert_all_used()?;
    let margin = " ".repeat(width);
    if text.len() + width * text.split('\n').count() > LONGEST {
        return Err(failed("`indent` makes a text that is too long"));
    }
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
        }
        if (at > 0 || first) && (blank || !line.is_empty()) {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(out)
}
