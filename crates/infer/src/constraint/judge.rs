//! Whether a finished answer satisfies its constraint.

use super::{bounds, formats, pointer, tools};
use crate::codes;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use sprat_task::{Error, Result};

/// Whether a finished answer satisfies its constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It does.
    Valid,
    /// It does not; another try may.
    Invalid {
        /// What is wrong with it.
        why: String,
    },
}

/// Steps back that a pattern with look-around may take on one text.
const BACKTRACK: usize = 100_000;
/// Bytes of a compiled pattern.
const PATTERN: usize = 4 << 20;

/// What checks a finished answer.
pub(super) enum Judge {
    /// The grammar says everything.
    Grammar,
    /// A JSON text.
    Json(Box<Validator>),
    /// Calls of tools: for each its name and what its arguments must satisfy.
    Calls { tools: Vec<(String, Validator)>, free_text: bool },
}

impl Judge {
    /// Judges a finished answer.
    pub(super) fn judge(&self, text: &str) -> Result<Validity> {
        let outcome = match self {
            Judge::Grammar => Ok(()),
            Judge::Json(validator) => bounds::on_deep_stack(|| Ok(json(validator, text)))?,
            Judge::Calls { free_text: true, .. } if !text.starts_with('{') => Ok(()),
            Judge::Calls { tools, .. } => bounds::on_deep_stack(|| Ok(called(tools, text)))?,
        };
        Ok(match outcome {
            Ok(()) => Validity::Valid,
            Err(why) => Validity::Invalid { why },
        })
    }
}

fn json(validator: &Validator, text: &str) -> Result<(), String> {
    let value: Value =
        serde_json::from_str(text).map_err(|why| format!("the answer is not JSON: {why}"))?;
    satisfies(validator, value)
}

fn called(tools: &[(String, Validator)], text: &str) -> Result<(), String> {
    let calls = tools::calls(text).map_err(|why| why.to_string())?;
    for call in calls {
        let Some((_, validator)) = tools.iter().find(|(name, _)| *name == call.name) else {
            return Err(format!("there is no tool `{}`", call.name));
        };
        satisfies(validator, call.arguments)?;
    }
    Ok(())
}

fn satisfies(validator: &Validator, mut value: Value) -> Result<(), String> {
    // The validator takes objects that differ in the order of their members for different ones.
    value.sort_all_objects();
    validator.validate(&value).map_err(|why| {
        let mut text = why.to_string();
        if text.len() > 500 {
            text = text.chars().take(500).collect();
        }
        match why.instance_path.as_str() {
            "" => text,
            place => format!("at {place}: {text}"),
        }
    })
}

/// What checks JSON against a schema; formats are checked.
///
/// # Errors
/// [`codes::SCHEMA`] when it is no valid schema.
pub(super) fn validator(schema: &Value, at: &str) -> Result<Validator> {
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(BACKTRACK)
        .size_limit(PATTERN)
        .dfa_size_limit(PATTERN);
    let mut sorted = schema.clone();
    sorted.sort_all_objects();
    formats::stricter(jsonschema::options())
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .with_pattern_options(patterns)
        .build(&sorted)
        .map_err(|why| {
            let place = format!("{at}{}", why.instance_path.as_str());
            let reason: String = why.to_string().chars().take(500).collect();
            Error::new(&codes::SCHEMA, "the JSON schema is not valid")
                .field(pointer::shown(&place))
                .why(reason)
        })
}
