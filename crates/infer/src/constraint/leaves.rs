//! The keywords that hold plain values: numbers, names, patterns, constants.

use super::keywords::{FORMATS, is_enforced_format};
use llguidance::derivre::{RegexAst, RegexBuilder};
use llguidance::regex_to_lark;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Whole numbers up to here are exact in double precision.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Work that a check of a pattern may take.
const FUEL: u64 = 10_000;
/// Divisors up to here, in units of their last digit: the matcher has a state for each rest.
const DIVISOR: u32 = 1_000;
/// Characters of a bound that is not whole.
const DIGITS: usize = 20;
/// Patterns whose overlap is looked for.
const PATTERNS: usize = 8;

/// Lowers the value of a keyword. None: it is left out, and recorded if that widens.
pub(super) fn lower(
    keyword: &str,
    value: &Value,
    validated: &mut BTreeSet<String>,
) -> Result<Option<Value>, String> {
    let kept = match keyword {
        "const" => is_exact(value).then(|| value.clone()),
        "enum" => match value.as_array() {
            None => return Err("`enum` is not a list".into()),
            Some(list) if list.is_empty() => return Err("`enum` allows no value at all".into()),
            Some(list) => list.iter().all(is_exact).then(|| value.clone()),
        },
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => match value {
            Value::Bool(_) => Some(value.clone()),
            _ => value.as_f64().filter(is_plain_bound).map(|_| value.clone()),
        },
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            count(value)
        }
        "multipleOf" => {
            let (kept, exact) = multiple(value);
            if !exact {
                validated.insert(keyword.to_owned());
            }
            return Ok(kept);
        }
        "pattern" => match value.as_str() {
            None => return Err("`pattern` is not a text".into()),
            Some(pattern) => {
                if has_space_class(pattern) {
                    validated.insert(keyword.to_owned());
                }
                is_readable(pattern).then(|| value.clone())
            }
        },
        "format" => {
            let Some(format) = value.as_str() else { return Err("`format` is not a text".into()) };
            if !FORMATS.contains(&format) {
                let known = FORMATS.join(", ");
                return Err(format!("the format `{format}` is unknown; known are {known}"));
            }
            validated.insert(keyword.to_owned());
            return Ok(is_enforced_format(format).then(|| value.clone()));
        }
        _ => Some(value.clone()),
    };
    if kept.is_none() {
        validated.insert(keyword.to_owned());
    }
    Ok(kept)
}

/// Decides what depends on several keywords of one schema.
pub(super) fn settle(members: &mut Map<String, Value>, validated: &mut BTreeSet<String>) {
    // Draft 4 writes the exclusive bounds as flags.
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(Value::Bool(exclusive)) = members.get(flag) {
            let exclusive = *exclusive;
            members.shift_remove(flag);
            if let (true, Some(value)) = (exclusive, members.shift_remove(bound)) {
                members.insert(flag.to_owned(), value);
            }
        }
    }
    settle_counts(members, validated);
}

/// The numbers of members can be counted only where each optional name stands for itself. Names
/// may come twice in a text, so that two members may be one: more than one optional member is
/// counted afterwards.
fn settle_counts(members: &mut Map<String, Value>, validated: &mut BTreeSet<String>) {
    let number = |keyword: &str| members.get(keyword).and_then(Value::as_u64);
    let (least, most) = (number("minProperties"), number("maxProperties"));
    if least.is_none() && most.is_none() {
        return;
    }
    let required: BTreeSet<&str> = members
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let optional = members
        .get("properties")
        .and_then(Value::as_object)
        .is_some_and(|names| names.keys().any(|name| !required.contains(name.as_str())));
    let fixed = required.len() as u64;
    let more = least.map_or(0, |least| least.saturating_sub(fixed));
    let room = most.map(|most| most.saturating_sub(fixed));
    let closed = members.get("additionalProperties") == Some(&Value::Bool(false))
        && !members.contains_key("patternProperties");
    let countable = !optional || (closed && more <= 1 && matches!(room, None | Some(1)));
    if !countable || more > 1 {
        if least.is_some() && (more > 0) {
            validated.insert("minProperties".to_owned());
        }
        if most.is_some() && !countable {
            validated.insert("maxProperties".to_owned());
        }
    }
    if !countable {
        members.shift_remove("minProperties");
        members.shift_remove("maxProperties");
    }
}

/// Whether no name can match two of these patterns, and all can be read.
pub(super) fn are_disjoint(patterns: &Value) -> bool {
    let Some(patterns) = patterns.as_object() else { return false };
    if patterns.len() > PATTERNS {
        return false;
    }
    let mut builder = RegexBuilder::new();
    let mut read = Vec::new();
    for pattern in patterns.keys() {
        if has_space_class(pattern) {
            return false;
        }
        match builder.mk_regex_for_serach(&regex_to_lark(pattern, "dw")) {
            Ok(regex) => read.push(regex),
            Err(_) => return false,
        }
    }
    for (at, a) in read.iter().enumerate() {
        for b in read.iter().skip(at + 1) {
            let both = RegexAst::And(vec![RegexAst::ExprRef(*a), RegexAst::ExprRef(*b)]);
            let Ok(both) = builder.mk(&both) else { return false };
            let empty = builder.to_regex_limited(both, FUEL).map(|mut both| both.always_empty());
            if !empty.unwrap_or(false) {
                return false;
            }
        }
    }
    true
}

/// Whether the matcher can read a pattern.
fn is_readable(pattern: &str) -> bool {
    RegexBuilder::new().mk_regex_for_serach(&regex_to_lark(pattern, "dw")).is_ok()
}

/// Whether a pattern speaks of white space, of which the matcher and the validator know
/// different kinds beyond ASCII.
fn has_space_class(pattern: &str) -> bool {
    pattern.contains("\\s") || pattern.contains("\\S")
}

/// Whether a bound has few enough digits to be compared digit by digit.
fn is_plain_bound(bound: &f64) -> bool {
    bound.abs() < EXACT && bound.to_string().len() <= DIGITS
}

/// Whether all numbers in a constant survive double precision.
fn is_exact(value: &Value) -> bool {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Number(number) if number.as_f64().is_none_or(|number| number.abs() >= EXACT) => {
                return false;
            }
            Value::Array(items) => open.extend(items),
            Value::Object(members) => open.extend(members.values()),
            _ => {}
        }
    }
    true
}

/// A count, which may be written as `2.0`. None where it is beyond any text.
fn count(value: &Value) -> Option<Value> {
    let number = value.as_f64().filter(|number| (0.0..1e9).contains(number))?;
    (number.fract() == 0.0).then(|| Value::from(number as u64))
}

/// A divisor that the grammar can take, and whether it is then exact.
fn multiple(value: &Value) -> (Option<Value>, bool) {
    let Some(divisor) = value.as_f64().filter(|divisor| *divisor > 0.0) else {
        return (None, false);
    };
    if divisor > f64::from(DIVISOR) {
        return (None, false);
    }
    if divisor.fract() == 0.0 {
        return (Some(Value::from(divisor as u64)), true);
    }
    // The matcher multiplies by ten until the number is whole, which rounding can spoil.
    let text = divisor.to_string();
    let digits = text.split_once('.').and_then(|(whole, fraction)| {
        format!("{whole}{fraction}").parse::<u32>().ok().map(|digits| (digits, fraction.len()))
    });
    let (mut scaled, mut steps) = (divisor, 0);
    while scaled.fract() != 0.0 && steps < 10 {
        scaled *= 10.0;
        steps += 1;
    }
    let kept = scaled <= f64::from(DIVISOR) && digits == Some((scaled as u32, steps));
    (kept.then(|| value.clone()), false)
}
