//! Limits that keep hostile constraints bounded in time and memory.

use crate::codes;
use llguidance::api::ParserLimits;
use serde_json::Value;
use sprat_task::{Error, Result};
use std::time::Duration;

/// Bytes of all texts in a schema, or of a regular expression or grammar.
pub(super) const BYTES: usize = 512 * 1024;
/// JSON values in a schema.
pub(super) const VALUES: usize = 50_000;
/// Nesting of a schema, a regular expression or a grammar.
pub(super) const DEPTH: usize = 64;
/// Places of a schema that references point to.
pub(super) const TARGETS: usize = 1_000;
/// Subschemas visited, those behind references once each.
pub(super) const VISITS: usize = 100_000;
/// How many subschemas may apply to one and the same value.
pub(super) const APPLIED: u64 = 10_000;
/// Steps of a validator on one answer.
pub(super) const STEPS: u64 = 5_000_000;
/// Pairs of a schema and a value that are told apart to count those steps.
pub(super) const PAIRS: usize = 500_000;
/// Tries to widen a schema until it compiles end after this time.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Whoever asks for a constraint is answered within this time.
pub(super) const COMPILING: Duration = Duration::from_secs(10);
/// Constraints that are compiled at the same time for one model, those included whose askers have
/// given up.
pub(super) const COMPILERS: usize = 4;
/// Compiled constraints that are kept.
pub(super) const KEPT: usize = 64;
/// Stack for work that descends into a schema; memory is used only as deep as it goes.
pub(super) const STACK: usize = 256 << 20;

/// The matcher's limits.
pub(super) fn parser() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: 50_000,
        max_grammar_size: 200_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// An error of a constraint that is too much.
pub(super) fn too_complex(what: impl Into<String>) -> Error {
    Error::new(&codes::COMPLEX, what)
}

/// Checks the size and depth of a schema, without recursion.
pub(super) fn check_schema(schema: &Value) -> Result<()> {
    let (mut values, mut bytes) = (0usize, 0usize);
    let mut open = vec![(schema, 1usize)];
    while let Some((value, depth)) = open.pop() {
        values += 1;
        if depth > DEPTH {
            return Err(too_complex(format!("the schema is nested deeper than {DEPTH} levels")));
        }
        match value {
            Value::String(text) => bytes += text.len(),
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => {
                for (key, member) in members {
                    bytes += key.len();
                    open.push((member, depth + 1));
                }
            }
            _ => {}
        }
        // What is still to be visited counts, so that the list itself stays bounded.
        if values + open.len() > VALUES || bytes > BYTES {
            return Err(too_complex("the schema is too large")
                .why(format!("at most {VALUES} values and {BYTES} bytes of text are allowed")));
        }
    }
    Ok(())
}

/// Checks the size and nesting of a regular expression or a grammar.
pub(super) fn check_text(what: &str, text: &str) -> Result<()> {
    if text.len() > BYTES {
        return Err(too_complex(format!("the {what} is longer than {BYTES} bytes")));
    }
    let (mut depth, mut escaped) = (0usize, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return Err(too_complex(format!("the {what} is nested deeper than {DEPTH} levels")));
        }
    }
    Ok(())
}

/// Runs something that descends into schemas on a stack that is deep enough for it.
pub(super) fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("constraint".into()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, work).map_err(|why| {
            Error::new(&codes::THREAD, "no thread for a constraint").why(why.to_string())
        })?;
        thread.join().unwrap_or_else(|_| {
            Err(Error::new(&codes::PANIC, "a constraint could not be processed"))
        })
    })
}
