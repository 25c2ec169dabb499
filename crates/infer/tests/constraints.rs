//! Constrained answers against the JSON Schema test suite, the functions of BFCL and hostile
//! schemas, over a real vocabulary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod shared;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use sprat_infer::constraint::{Enforced, Grammars, Matcher, Validity};
use sprat_infer::{Constraint, Tool, ToolChoice, Tools, codes};
use sprat_model::TextTokenizer;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Whether a text is an answer.
fn allows(tokenizer: &TextTokenizer, mut matcher: Matcher, text: &str) -> bool {
    let ids = tokenizer.encode_continuing(text).unwrap();
    ids.iter().all(|&id| matcher.accept(id).is_ok())
        && matcher.may_end()
        && matcher.finish(text).unwrap() == Validity::Valid
}

/// The compact texts of a value, with the members of objects in every order, up to a bound.
fn texts(value: &Value) -> Vec<String> {
    const MOST: usize = 200;
    let mut texts = Vec::new();
    match value {
        Value::Array(items) => {
            texts.push(String::new());
            for item in items {
                let tails = self::texts(item);
                let longer = texts.iter().flat_map(|text| {
                    let comma = if text.is_empty() { "" } else { "," };
                    tails.iter().map(move |tail| format!("{text}{comma}{tail}"))
                });
                texts = longer.take(MOST).collect();
            }
            texts.iter().map(|text| format!("[{text}]")).collect()
        }
        Value::Object(members) if members.is_empty() => vec!["{}".to_owned()],
        Value::Object(members) => {
            for (name, member) in members {
                let mut rest: Map<String, Value> = members.clone();
                rest.shift_remove(name);
                for head in self::texts(member) {
                    for tail in self::texts(&Value::Object(rest.clone())) {
                        let tail = tail.strip_prefix('{').unwrap();
                        let comma = if tail == "}" { "" } else { "," };
                        texts.push(format!("{{{}:{head}{comma}{tail}", json!(name)));
                    }
                }
                if texts.len() > MOST {
                    break;
                }
            }
            texts
        }
        other => vec![other.to_string()],
    }
}

#[test]
fn the_test_suite_of_json_schema_finds_no_false_accept() {
    let (Some(tokenizer), Some(groups)) = (shared::tokenizer("gpt-2"), shared::suite()) else {
        return;
    };
    let grammars = Grammars::new(&tokenizer).unwrap();
    let (mut exact, mut widened, mut valid, mut invalid) = (0, 0, 0, 0);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut missed = Vec::new();
    let mut falsely = Vec::new();
    let mut surprising = Vec::new();
    let mut slowest = (Duration::ZERO, String::new());
    for group in &groups {
        let begun = Instant::now();
        let compiled = grammars.compile(&Constraint::JsonSchema(group.schema.clone()));
        slowest = slowest.max((begun.elapsed(), group.name.clone()));
        let is_exact = match compiled {
            Ok(matcher) => matcher.enforced(0) == Enforced::Exact,
            Err(error) => {
                let code = error.code().id;
                let what: String = error.what().chars().take(60).collect();
                if code == codes::COMPLEX.id || what.contains("no value") {
                    surprising.push(format!("{}: {error:?}", group.name));
                }
                *refused.entry(format!("{code} {what}")).or_default() += 1;
                continue;
            }
        };
        if is_exact {
            exact += 1
        } else {
            widened += 1
        }
        for (data, is_valid) in &group.cases {
            let constraint = Constraint::JsonSchema(group.schema.clone());
            let texts = texts(data);
            let allowed = texts.iter().any(|text| {
                let matcher = grammars.compile(&constraint).unwrap();
                allows(&tokenizer, matcher, text)
            });
            match (is_valid, allowed) {
                (true, false) => missed.push(format!("{}: {}", group.name, texts[0])),
                (true, true) => valid += 1,
                (false, true) => falsely.push(format!("{}: {}", group.name, texts[0])),
                (false, false) => invalid += 1,
            }
        }
    }
    let count: usize = refused.values().sum();
    println!("schemas: {exact} exact, {widened} validated, {count} refused");
    println!(
        "valid instances: {valid} accepted, {} not; invalid: {invalid} rejected",
        missed.len()
    );
    println!("slowest: {slowest:?}");
    refused.iter().for_each(|(why, count)| println!("refused {count}: {why}"));
    // Other spellings of the same value, and formats that say nothing by the letter of the draft.
    missed.iter().for_each(|text| println!("missed {text}"));
    assert!(missed.len() < 130, "{} valid instances are refused", missed.len());
    surprising.iter().for_each(|text| println!("surprising {text}"));
    assert!(falsely.is_empty(), "false accepts: {falsely:#?}");
}

#[test]
fn random_answers_satisfy_their_schemas() {
    let (Some(tokenizer), Some(groups)) = (shared::tokenizer("gpt-2"), shared::suite()) else {
        return;
    };
    let grammars = Grammars::new(&tokenizer).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let (mut exact, mut checked, mut thrown, mut cut) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for group in &groups {
        let constraint = Constraint::JsonSchema(group.schema.clone());
        // The order of members is no part of a value, but some validators think so.
        let mut schema = group.schema.clone();
        schema.sort_all_objects();
        let judge = jsonschema::options().should_validate_formats(true).build(&schema);
        let (Ok(_), Ok(judge)) = (grammars.compile(&constraint), judge) else { continue };
        for _ in 0..4 {
            let mut matcher = grammars.compile(&constraint).unwrap();
            let Some(text) = walk(&tokenizer, &mut matcher, &mut random) else {
                cut += 1;
                continue;
            };
            let verdict = matcher.finish(&text).unwrap();
            let truth = serde_json::from_str(&text).is_ok_and(|mut value: Value| {
                value.sort_all_objects();
                judge.is_valid(&value)
            });
            let accepted = verdict == Validity::Valid;
            assert!(truth || !accepted, "{}: {text}: {verdict:?}", group.name);
            assert!(accepted || !truth || group.name.contains("format"), "{text}: {verdict:?}");
            let is_exact = matcher.enforced(0) == Enforced::Exact;
            match (is_exact, truth) {
                (true, true) => exact += 1,
                (false, true) => checked += 1,
                (false, false) => thrown += 1,
                (true, false) if has_huge_number(&text) => thrown += 1,
                (true, false) => wrong.push(format!("{}: {text}: {verdict:?}", group.name)),
            }
        }
    }
    println!("{exact} exact, {checked} valid after a check, {thrown} thrown away, {cut} cut");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// JSON allows numbers that no double holds; the validator does not.
fn has_huge_number(text: &str) -> bool {
    let number = |text: &str| text.len() > 15 || text.contains(['e', 'E']);
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).any(number)
}

/// A random answer of a bounded length, with what is forced now and then taken as it comes.
fn walk(tokenizer: &TextTokenizer, matcher: &mut Matcher, random: &mut StdRng) -> Option<String> {
    let mut ids: Vec<u32> = Vec::new();
    while ids.len() < 60 {
        if matcher.must_end() || (matcher.may_end() && random.random_bool(0.3)) {
            return Some(tokenizer.decode(&ids, false));
        }
        let forced = if random.random_bool(0.5) { matcher.forced() } else { Vec::new() };
        let mask = matcher.mask().unwrap().to_vec();
        let allowed: Vec<u32> = (0..tokenizer.vocabulary() as u32)
            .filter(|&id| mask[id as usize / 32] >> (id % 32) & 1 == 1)
            .filter(|id| !tokenizer.ends().contains(id))
            .collect();
        if let Some(first) = forced.first() {
            assert!(allowed.contains(first), "what is forced is allowed");
            if allowed.len() == 1 {
                assert_eq!(allowed[0], *first);
            }
        }
        for &id in &forced {
            let mask = matcher.mask().unwrap();
            assert_eq!(mask[id as usize / 32] >> (id % 32) & 1, 1);
            matcher.accept(id).unwrap();
            ids.push(id);
        }
        if !forced.is_empty() {
            continue;
        }
        // Otherwise texts would hardly ever end.
        let closing = |id: &&u32| {
            let bytes = tokenizer.token_bytes(**id);
            bytes.len() <= 2 && bytes.iter().any(|byte| b"\"}],".contains(byte))
        };
        let short: Vec<u32> = allowed.iter().filter(closing).copied().collect();
        let from = if short.is_empty() || random.random_bool(0.5) { &allowed } else { &short };
        let id = from[random.random_range(0..from.len())];
        matcher.accept(id).unwrap();
        ids.push(id);
    }
    None
}

#[test]
fn the_functions_of_bfcl_compile_and_can_be_called() {
    let (Some(tokenizer), Some(functions)) = (shared::tokenizer("phi-3"), shared::functions())
    else {
        return;
    };
    let grammars = Grammars::new(&tokenizer).unwrap();
    let mut random = StdRng::seed_from_u64(2);
    let (mut exact, mut whole) = (0, 0);
    for (name, parameters) in &functions {
        let tool = Tool { name: name.clone(), description: None, parameters: parameters.clone() };
        let tools = Tools { tools: vec![tool], choice: ToolChoice::Required, parallel: false };
        let compiled = grammars.compile(&Constraint::Tools(tools));
        let mut matcher = compiled.unwrap_or_else(|error| panic!("{parameters}: {error:?}"));
        exact += usize::from(matcher.enforced(0) == Enforced::Exact);
        if random.random_bool(0.9) {
            continue;
        }
        if let Some(text) = walk(&tokenizer, &mut matcher, &mut random) {
            whole += 1;
            let verdict = matcher.finish(&text).unwrap();
            assert!(verdict == Validity::Valid || has_huge_number(&text), "{text}: {verdict:?}");
        }
    }
    println!("{} functions, {exact} exact, {whole} random calls", functions.len());
}

#[test]
fn hostile_constraints_are_refused_or_bounded() {
    let Some(tokenizer) = shared::tokenizer("gpt-2") else { return };
    let grammars = Grammars::new(&tokenizer).unwrap();
    let deep = |levels: usize| {
        (0..levels).fold(json!({}), |inner, _| json!({ "properties": { "a": inner } }))
    };
    let chain = |each: fn(String) -> Value| {
        let mut schemas = Map::new();
        for at in 0..60 {
            schemas.insert(format!("a{at}"), each(format!("#/$defs/a{}", at + 1)));
        }
        schemas.insert("a60".into(), json!({ "type": "integer" }));
        json!({ "$ref": "#/$defs/a0", "$defs": schemas })
    };
    let long: Vec<String> = (0..100_000).map(|at| format!("name number {at}")).collect();
    let many: Map<String, Value> =
        (0..3_000).map(|at| (format!("p{at}"), json!({ "type": "string" }))).collect();
    let cases = [
        ("regex", Constraint::Regex("(a{1,1000}){1,1000}".into())),
        ("regex", Constraint::Regex("((a{0,1000}b?){0,1000}c?){0,1000}".into())),
        ("regex", Constraint::Regex("(a|aa|aaa)*(b|[^c]{500})*".into())),
        ("regex", Constraint::Regex(format!("{}a{}", "(".repeat(9000), ")".repeat(9000)))),
        ("regex", Constraint::Regex(format!(".*a.{{{}}}", 20_000))),
        ("lark", Constraint::Lark(format!("start: {}\"a\"{}", "(".repeat(9000), ")".repeat(9000)))),
        ("lark", Constraint::Lark("start: start | start start | \"a\"".into())),
        ("lark", Constraint::Lark("start: a\na: b\nb: a".into())),
        ("pattern", Constraint::JsonSchema(json!({ "pattern": "(a{1,1000}){1,1000}" }))),
        ("pattern", Constraint::JsonSchema(json!({ "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$" }))),
        ("pattern", Constraint::JsonSchema(json!({ "pattern": "^(?=a)(a+)+$" }))),
        ("large", Constraint::JsonSchema(json!({ "enum": long }))),
        ("large", Constraint::JsonSchema(json!({ "const": "x".repeat(10 << 20) }))),
        ("wide", Constraint::JsonSchema(json!({ "properties": many }))),
        ("deep", Constraint::JsonSchema(deep(30))),
        ("deep", Constraint::JsonSchema(deep(60))),
        (
            "doubling",
            Constraint::JsonSchema(chain(
                |next| json!({ "allOf": [{ "$ref": next }, { "$ref": next }] }),
            )),
        ),
        (
            "doubling",
            Constraint::JsonSchema(chain(
                |next| json!({ "properties": { "x": { "$ref": next }, "y": { "$ref": next } } }),
            )),
        ),
        (
            "doubling",
            Constraint::JsonSchema(chain(|next| {
                json!({ "allOf": [{ "properties": { "x": { "$ref": next } } },
                              { "properties": { "x": { "$ref": next } } }] })
            })),
        ),
        ("counts", Constraint::JsonSchema(json!({ "minLength": 1_000_000, "type": "string" }))),
        ("counts", Constraint::JsonSchema(json!({ "minItems": 100_000_000 }))),
        ("counts", Constraint::JsonSchema(json!({ "minProperties": 100_000_000 }))),
        ("numbers", Constraint::JsonSchema(json!({ "multipleOf": 99_999_989 }))),
        ("numbers", Constraint::JsonSchema(json!({ "multipleOf": 1e-300 }))),
        ("numbers", Constraint::JsonSchema(json!({ "minimum": 1e-300, "maximum": 1e300 }))),
        ("remote", Constraint::JsonSchema(json!({ "$ref": "http://127.0.0.1:9/schema" }))),
        ("remote", Constraint::JsonSchema(json!({ "$ref": "file:///etc/passwd" }))),
        ("recursive", Constraint::JsonSchema(json!({ "items": { "$ref": "#" } }))),
        (
            "unions",
            Constraint::JsonSchema(json!({ "allOf": (0..12).map(|at| {
            json!({ "anyOf": (0..12).map(|to| json!({ "required": [format!("{at} {to}")] }))
                .collect::<Vec<_>>() })
        }).collect::<Vec<_>>() })),
        ),
    ];
    let mut random = StdRng::seed_from_u64(3);
    for (name, constraint) in cases {
        let begun = Instant::now();
        let outcome = grammars.compile(&constraint);
        let compiling = begun.elapsed();
        let begun = Instant::now();
        let said = match outcome {
            Ok(mut matcher) => {
                // The masks are bounded too, be it by an error.
                let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    walk(&tokenizer, &mut matcher, &mut random).map(|text| text.len())
                }));
                format!("{:?}, walk {:?}", matcher.enforced(0), walked.ok())
            }
            Err(error) => format!("{error:?}").chars().take(150).collect(),
        };
        println!("{name}: {compiling:?} + {:?}: {said}", begun.elapsed());
        assert!(compiling < Duration::from_secs(20), "{name} took {compiling:?}");
    }
}

#[test]
fn an_answer_that_would_be_checked_for_ever_is_refused() {
    let Some(tokenizer) = shared::tokenizer("gpt-2") else { return };
    let again = json!({ "properties": { "x": { "$ref": "#" } } });
    let schema = json!({ "allOf": [again, again], "not": { "required": ["y"] } });
    let grammars = Grammars::new(&tokenizer).unwrap();
    let outcome = |levels: usize| {
        let mut matcher = grammars.compile(&Constraint::JsonSchema(schema.clone())).unwrap();
        let text = format!("{}{{}}{}", "{\"x\":".repeat(levels), "}".repeat(levels));
        for id in tokenizer.encode_continuing(&text).unwrap() {
            matcher.accept(id).unwrap();
        }
        matcher.finish(&text)
    };
    assert_eq!(outcome(8).unwrap(), Validity::Valid);
    assert_eq!(outcome(60).unwrap_err().code(), &codes::COMPLEX);
}
