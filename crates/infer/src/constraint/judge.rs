//! Whether a finished answer satisfies its constraint.

use super::reach::Reach;
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
    Json(Check, Reach),
    /// Calls of tools: for each its name and what its arguments must satisfy.
    Calls { tools: Vec<(String, Check)>, reach: Reach, free_text: bool },
}

/// A schema to check values against.
pub(super) struct Check {
    pub(super) validator: Validator,
    /// Where it begins in the graph of schemas.
    pub(super) root: usize,
}

impl Judge {
    /// Judges a finished answer.
    pub(super) fn judge(&self, text: &str) -> Result<Validity> {
        let outcome = match self {
            Judge::Grammar => Ok(()),
            Judge::Calls { free_text: true, .. } if !text.starts_with('{') => Ok(()),
            Judge::Json(check, reach) => bounds::on_deep_stack(|| json(check, reach, text))?,
            Judge::Calls { tools, reach, .. } => {
                bounds::on_deep_stack(|| called(tools, reach, text))?
            }
        };
        Ok(match outcome {
            Ok(()) => Validity::Valid,
            Err(why) => Validity::Invalid { why },
        })
    }
}

/// Whether an answer is fine, or why not.
type Outcome = Result<Result<(), String>>;

fn json(check: &Check, reach: &Reach, text: &str) -> Outcome {
    match serde_json::from_str(text) {
        Ok(value) => satisfies(check, reach, value),
        Err(why) => Ok(Err(format!("the answer is not JSON: {why}"))),
    }
}

fn called(tools: &[(String, Check)], reach: &Reach, text: &str) -> Outcome {
    let calls = match tools::calls(text) {
        Ok(calls) => calls,
        Err(why) => return Ok(Err(why.to_string())),
    };
    for call in calls {
        let Some((_, check)) = tools.iter().find(|(name, _)| *name == call.name) else {
            return Ok(Err(format!("there is no tool `{}`", call.name)));
        };
        if let Err(why) = satisfies(check, reach, call.arguments)? {
            return Ok(Err(why));
        }
    }
    Ok(Ok(()))
}

fn satisfies(check: &Check, reach: &Reach, mut value: Value) -> Outcome {
    reach.cost(check.root, &value)?;
    // The validator takes objects that differ in the order of their members for different ones.
    value.sort_all_objects();
    Ok(check.validator.validate(&value).map_err(|why| shown(&why)))
}

/// Checks JSON against a schema in the way in which finished answers are checked, for examples
/// of answers.
pub struct SchemaCheck(Validator);

impl SchemaCheck {
    /// # Errors
    /// [`codes::SCHEMA`] when it is no valid schema.
    pub fn new(schema: &Value) -> Result<Self> {
        validator(schema, "").map(SchemaCheck)
    }

    /// What is wrong with a value, if anything is.
    pub fn fault(&self, value: &Value) -> Option<String> {
        let mut sorted = value.clone();
        sorted.sort_all_objects();
        self.0.validate(&sorted).err().map(|why| shown(&why))
    }
}

/// An error of the validator in a line.
fn shown(why: &jsonschema::ValidationError<'_>) -> String {
    let text: String = why.to_string().chars().take(500).collect();
    match why.instance_path.as_str() {
        "" => text,
        place => format!("at {place}: {text}"),
    }
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
