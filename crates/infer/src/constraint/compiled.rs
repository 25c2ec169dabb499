//! A constraint turned into a grammar over tokens.

use super::document::Document;
use super::judge::{self, Check, Judge, Validity};
use super::lower::{Lowered, Lowering, Without, address};
use super::reach::Reach;
use super::{bounds, tools};
use crate::codes;
use crate::request::{Constraint, ToolChoice, Tools};
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory, regex_to_lark};
use serde_json::{Value, json};
use sprat_task::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A compiled constraint: where every answer begins.
pub(super) struct Compiled {
    start: Matcher,
    judge: Judge,
    validated: Vec<String>,
    vocabulary: usize,
    ends: Vec<u32>,
}

impl Compiled {
    /// Compiles a constraint for a vocabulary of so many tokens with these ends. It descends into
    /// the constraint: [`super::compilers`] give it the stack.
    pub(super) fn new(
        factory: &ParserFactory,
        constraint: &Constraint,
        vocabulary: usize,
        ends: &[u32],
    ) -> Result<Self> {
        let (start, judge, validated) = match constraint {
            Constraint::Labels(labels) => (choice(factory, labels)?, Judge::Grammar, vec![]),
            Constraint::Regex(pattern) => (regex(factory, pattern)?, Judge::Grammar, vec![]),
            Constraint::Lark(grammar) => (lark(factory, grammar)?, Judge::Grammar, vec![]),
            Constraint::JsonObject => json(factory, &json!({ "type": "object" }))?,
            Constraint::JsonSchema(schema) => json(factory, schema)?,
            Constraint::Tools(tools) => calls(factory, tools)?,
        };
        Ok(Compiled { start, judge, validated, vocabulary, ends: ends.to_vec() })
    }

    /// The beginning of an answer.
    pub(super) fn start(&self) -> Matcher {
        self.start.deep_clone()
    }

    pub(super) fn judge(&self, text: &str) -> Result<Validity> {
        self.judge.judge(text)
    }

    pub(super) fn validated(&self) -> &[String] {
        &self.validated
    }

    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    pub(super) fn ends(&self) -> &[u32] {
        &self.ends
    }
}

/// A grammar becomes the beginning of an answer; the reason why not.
fn parser(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<(Matcher, bool), String> {
    let made = catch_unwind(AssertUnwindSafe(|| {
        let mut parser = factory.create_parser(grammar).map_err(|why| format!("{why:#}"))?;
        let warned = !parser.grammar_warnings().is_empty();
        let mut matcher = Matcher::new(Ok(parser));
        matcher.is_accepting().map_err(|why| why.to_string())?;
        Ok((matcher, warned))
    }));
    made.unwrap_or_else(|_| Err("the grammar is beyond what can be compiled".to_owned()))
}

/// The error that a reason stands for.
fn refused(why: String) -> Error {
    const TOO_MUCH: [&str; 8] =
        ["fuel", "too large", "too big", "too complex", "exceeded", "too many", "limit", "beyond"];
    let why: String = why.chars().take(500).collect();
    match TOO_MUCH.iter().any(|words| why.contains(words)) {
        true => bounds::too_complex("the constraint is too complex").why(why),
        false => Error::new(&codes::GRAMMAR, "the grammar cannot be read").why(why),
    }
}

fn choice(factory: &ParserFactory, labels: &[String]) -> Result<Matcher> {
    if labels.is_empty() || labels.iter().any(String::is_empty) {
        let what = "the constraint allows no label at all, or an empty one";
        return Err(Error::new(&codes::CONSTRAINT, what));
    }
    if labels.iter().map(String::len).sum::<usize>() > bounds::BYTES {
        return Err(bounds::too_complex("the labels are too long"));
    }
    let escaped: Vec<String> = labels.iter().map(|label| escape(label)).collect();
    let grammar = TopLevelGrammar::from_regex(&escaped.join("|"));
    Ok(parser(factory, grammar).map_err(refused)?.0)
}

/// A regular expression that matches a text and nothing else.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() && !letter.is_ascii_alphanumeric() {
            out += &format!("\\x{:02x}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out
}

fn regex(factory: &ParserFactory, pattern: &str) -> Result<Matcher> {
    bounds::check_text("regular expression", pattern)?;
    // The whole answer is matched in any case.
    let bare = match pattern.contains('|') {
        true => pattern,
        false => {
            let bare = pattern.strip_prefix('^').unwrap_or(pattern);
            let end = bare.strip_suffix('$').filter(|bare| !bare.ends_with('\\'));
            end.unwrap_or(bare)
        }
    };
    let grammar = TopLevelGrammar::from_lark(format!("start: /{}/", regex_to_lark(bare, "")));
    Ok(parser(factory, grammar).map_err(refused)?.0)
}

fn lark(factory: &ParserFactory, grammar: &str) -> Result<Matcher> {
    bounds::check_text("grammar", grammar)?;
    let grammar = TopLevelGrammar::from_lark(grammar.to_owned());
    Ok(parser(factory, grammar).map_err(refused)?.0)
}

type Made = (Matcher, Judge, Vec<String>);

fn json(factory: &ParserFactory, schema: &Value) -> Result<Made> {
    bounds::check_schema(schema)?;
    let document = Document::new(schema)?;
    let validator = judge::validator(schema, "")?;
    let check = Check { validator, root: address(document.root()?.contents()) };
    let lower = |without| {
        let mut lowering = Lowering::new(without);
        let root = lowering.document(&document, "")?;
        lowering.finish(root)
    };
    let (matcher, validated, reach) =
        widen(factory, lower, |schema| TopLevelGrammar::from_json_schema(compact(schema)))?;
    Ok((matcher, Judge::Json(check, reach), validated))
}

fn calls(factory: &ParserFactory, tools: &Tools) -> Result<Made> {
    let allowed = match &tools.choice {
        ToolChoice::Named(name) => {
            let named = tools.tools.iter().filter(|tool| tool.name == *name).collect::<Vec<_>>();
            if named.is_empty() {
                let what = format!("there is no tool `{name}` to be called");
                return Err(Error::new(&codes::CONSTRAINT, what).field("tool_choice"));
            }
            named
        }
        ToolChoice::Auto | ToolChoice::Required => tools.tools.iter().collect(),
    };
    if allowed.is_empty() {
        return Err(Error::new(&codes::CONSTRAINT, "there is no tool to be called").field("tools"));
    }
    let whole = Value::Array(allowed.iter().map(|tool| tool.parameters.clone()).collect());
    bounds::check_schema(&whole)?;
    let free_text = tools.choice == ToolChoice::Auto;
    let mut documents = Vec::new();
    let mut checks: Vec<(String, Check)> = Vec::new();
    for (at, tool) in allowed.iter().enumerate() {
        if checks.iter().any(|(name, _)| *name == tool.name) {
            let what = format!("two tools have the name `{}`", tool.name);
            return Err(Error::new(&codes::CONSTRAINT, what).field(format!("tools[{at}]")));
        }
        let place = format!("/tools/{at}/parameters");
        let document = Document::new(&tool.parameters)?;
        let validator = judge::validator(&tool.parameters, &place)?;
        let root = address(document.root()?.contents());
        checks.push((tool.name.clone(), Check { validator, root }));
        documents.push((&tool.name, document, place));
    }
    let lower = |without| {
        let mut lowering = Lowering::new(without);
        let mut options = Vec::new();
        for (name, document, place) in &documents {
            let parameters = lowering.document(document, place)?;
            // A call's arguments are an object, whatever its schema says.
            let parameters = json!({ "type": "object", "allOf": [parameters] });
            options.push(tools::schema(name, &parameters));
        }
        lowering.finish(json!({ "anyOf": options }))
    };
    let (matcher, validated, reach) =
        widen(factory, lower, |schema| around(schema, free_text, tools.parallel))?;
    Ok((matcher, Judge::Calls { tools: checks, reach, free_text }, validated))
}

/// The grammar of an answer with calls.
fn around(call: &Value, free_text: bool, parallel: bool) -> TopLevelGrammar {
    let calls = if parallel { "calls: @call (\"\\n\" @call)*" } else { "calls: @call" };
    let start = if free_text { "start: calls | TEXT |" } else { "start: calls" };
    let lark = format!("{start}\n{calls}\nTEXT: /(?s:[^{{].*)/\n");
    let call = GrammarWithLexer {
        name: Some("call".to_owned()),
        ..GrammarWithLexer::from_json_schema(compact(call))
    };
    TopLevelGrammar { grammars: vec![GrammarWithLexer::from_lark(lark), call], max_tokens: None }
}

/// Asks for compact JSON in which each value has one spelling: with `\u` escapes a name could be
/// written so that it is not recognised.
fn compact(schema: &Value) -> Value {
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        other => json!({ "allOf": [other] }),
    };
    let options = JsonCompileOptions {
        whitespace_flexible: false,
        coerce_one_of: true,
        json_allowed_escapes: Some("nrbtf\\\"".to_owned()),
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    schema
}

/// Compiles a lowered schema, and where the grammar cannot take it, one that is wider.
fn widen(
    factory: &ParserFactory,
    lower: impl Fn(Without) -> Result<Lowered>,
    grammar: impl Fn(&Value) -> TopLevelGrammar,
) -> Result<(Matcher, Vec<String>, Reach)> {
    let begun = Instant::now();
    let mut first = None;
    for without in attempts() {
        let lowered = lower(without)?;
        match parser(factory, grammar(&lowered.schema)) {
            Ok((matcher, warned)) => {
                let mut validated = lowered.validated;
                if warned {
                    validated.insert("oneOf".to_owned());
                }
                return Ok((matcher, validated.into_iter().collect(), lowered.reach));
            }
            Err(why) if why.contains("Unsatisfiable") || why.contains("unsatisfiable") => {
                return Err(Error::new(&codes::SCHEMA, "the schema allows no value at all")
                    .why(why.chars().take(500).collect::<String>()));
            }
            Err(why) => first.get_or_insert(why),
        };
        if begun.elapsed() > bounds::PATIENCE {
            break;
        }
    }
    let why: String = first.unwrap_or_default().chars().take(500).collect();
    Err(bounds::too_complex("the schema is too complex to be enforced").why(why))
}

/// What may be left out, from little to much.
fn attempts() -> impl Iterator<Item = Without> {
    let none = Without::default();
    let all = Without {
        counts: true,
        patterns: true,
        lengths: true,
        numbers: true,
        siblings: true,
        literals: false,
        unions: false,
    };
    [
        none,
        Without { counts: true, ..none },
        Without { siblings: true, ..none },
        Without { numbers: true, ..none },
        Without { patterns: true, ..none },
        Without { patterns: true, lengths: true, ..none },
        all,
        Without { literals: true, ..all },
        Without { literals: true, unions: true, ..all },
    ]
    .into_iter()
}
