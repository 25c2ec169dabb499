use super::*;
use crate::request::{Tool, ToolChoice, Tools};
use serde_json::json;
use sprat_model::GgufVocabulary;

/// The byte-level alphabet, some words and two ends.
fn tokenizer() -> Arc<TextTokenizer> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..256).filter(|&byte| !printable(byte)).zip(0x100..);
    let letters = (0..256).filter(|&byte| printable(byte)).chain(others.map(|(_, code)| code));
    let mut tokens: Vec<String> = letters.filter_map(char::from_u32).map(String::from).collect();
    let merges = ["{ \"", "\" :", "n a", "m e", "na me", "{\" name", "a r", "ar g", "t r", "u e"];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut types = vec![1; tokens.len()];
    for text in ["<|im_start|>", "<|im_end|>", "<|endoftext|>"] {
        tokens.push(text.to_owned());
        types.push(3);
    }
    let id = |text: &str| tokens.iter().position(|token| token == text).map(|at| at as u32);
    let vocabulary = GgufVocabulary {
        model: "gpt2".to_owned(),
        pre: Some("qwen2".to_owned()),
        bos: id("<|endoftext|>"),
        eos: id("<|im_end|>"),
        merges: Some(merges.iter().map(|merge| (*merge).to_owned()).collect()),
        types: Some(types),
        tokens,
        ..GgufVocabulary::default()
    };
    Arc::new(TextTokenizer::from_gguf(&vocabulary).unwrap())
}

fn compile(constraint: &Constraint) -> Result<Matcher> {
    Grammars::new(&tokenizer())?.compile(constraint)
}

fn schema(schema: serde_json::Value) -> Constraint {
    Constraint::JsonSchema(schema)
}

/// Whether a text is an answer under a constraint.
fn allows(constraint: &Constraint, text: &str) -> bool {
    let tokenizer = tokenizer();
    let mut matcher = Grammars::new(&tokenizer).unwrap().compile(constraint).unwrap();
    let ids = tokenizer.encode_continuing(text).unwrap();
    ids.iter().all(|&id| matcher.accept(id).is_ok())
        && matcher.may_end()
        && matcher.finish(text).unwrap() == Validity::Valid
}

fn has(mask: &[u32], id: u32) -> bool {
    mask[id as usize / 32] >> (id % 32) & 1 == 1
}

#[test]
fn an_object_is_written_token_by_token() {
    let tokenizer = tokenizer();
    let grammars = Grammars::new(&tokenizer).unwrap();
    let constraint = schema(json!({
        "type": "object",
        "properties": { "name": { "enum": ["true", "arg"] }, "n": { "type": "integer" } },
        "required": ["name"],
        "additionalProperties": false,
    }));
    let mut matcher = grammars.compile(&constraint).unwrap();
    let forced = matcher.forced();
    assert_eq!(tokenizer.decode(&forced, false), r#"{"name":""#);
    for id in forced {
        assert!(has(matcher.mask().unwrap(), id));
        matcher.accept(id).unwrap();
    }
    assert!(!matcher.may_end());
    for id in tokenizer.encode_continuing(r#"arg"}"#).unwrap() {
        assert!(has(matcher.mask().unwrap(), id));
        matcher.accept(id).unwrap();
    }
    assert!(matcher.may_end() && matcher.must_end());
    let mask = matcher.mask().unwrap().to_vec();
    assert_eq!(
        mask.iter().map(|word| word.count_ones()).sum::<u32>() as usize,
        tokenizer.ends().len()
    );
    matcher.accept(tokenizer.ends()[0]).unwrap();
    assert_eq!(matcher.finish(r#"{"name":"arg"}"#).unwrap(), Validity::Valid);
    assert_eq!(matcher.enforced(0), Enforced::Exact);
}

#[test]
fn a_token_that_is_not_allowed_changes_nothing() {
    let tokenizer = tokenizer();
    let mut matcher = compile(&Constraint::JsonObject).unwrap();
    let wrong = tokenizer.encode_continuing("x").unwrap()[0];
    assert_eq!(matcher.accept(wrong).unwrap_err().code(), &codes::MASK);
    assert!(matcher.accept(tokenizer.ends()[0]).is_err());
    assert!(matcher.accept(u32::MAX).is_err());
    for id in tokenizer.encode_continuing("{}").unwrap() {
        matcher.accept(id).unwrap();
    }
    assert!(matcher.must_end());
}

#[test]
fn labels_expressions_and_grammars() {
    let labels = Constraint::Labels(vec!["card".into(), "card lost".into(), "a|b.*é".into()]);
    assert!(allows(&labels, "card") && allows(&labels, "card lost") && allows(&labels, "a|b.*é"));
    assert!(!allows(&labels, "car") && !allows(&labels, "a") && !allows(&labels, "card lo"));
    let regex = Constraint::Regex("^[a-c]{2}\\d$".into());
    assert!(allows(&regex, "ab1") && !allows(&regex, "ab") && !allows(&regex, "abd"));
    let lark = Constraint::Lark("start: \"a\" start \"b\" | \"c\"".into());
    assert!(allows(&lark, "aacbb") && !allows(&lark, "aacb"));
}

#[test]
fn tools_are_called_by_name() {
    let tool = |name: &str, argument: &str| Tool {
        name: name.into(),
        description: None,
        parameters: json!({
            "type": "object",
            "properties": { argument: { "$ref": "#/$defs/n" } },
            "required": [argument],
            "additionalProperties": false,
            "$defs": { "n": { "type": "integer" } },
        }),
    };
    let tools = |choice, parallel| {
        Constraint::Tools(Tools { tools: vec![tool("a", "x"), tool("b", "y")], choice, parallel })
    };
    let (a, b) = (r#"{"name":"a","arguments":{"x":1}}"#, r#"{"name":"b","arguments":{"y":2}}"#);
    let required = tools(ToolChoice::Required, false);
    assert!(allows(&required, a) && allows(&required, b));
    assert!(!allows(&required, r#"{"name":"a","arguments":{"y":1}}"#));
    assert!(!allows(&required, "hello"));
    let named = tools(ToolChoice::Named("b".into()), false);
    assert!(!allows(&named, a) && allows(&named, b));
    let auto = tools(ToolChoice::Auto, true);
    assert!(allows(&auto, "hello {") && allows(&auto, ""));
    assert!(!allows(&auto, "{hello"));
    let both = format!("{a}\n{b}");
    assert!(allows(&auto, &both) && !allows(&required, &both));
    let read = calls(&both).unwrap();
    assert_eq!(read[1], Call { name: "b".into(), arguments: json!({ "y": 2 }) });
    assert!(calls("hello").unwrap().is_empty());
    assert_eq!(calls(&a[..9]).unwrap_err().code(), &codes::CONSTRAINT);
    assert!(compile(&tools(ToolChoice::Named("c".into()), false)).is_err());
}

#[test]
fn what_cannot_be_enforced_is_validated() {
    let constraint = schema(json!({
        "type": "array", "items": { "type": "integer", "not": { "const": 3 } }, "uniqueItems": true,
    }));
    let matcher = compile(&constraint).unwrap();
    let Enforced::Validated { keywords, retries: 2 } = matcher.enforced(2) else { panic!() };
    assert_eq!(keywords, ["not", "uniqueItems"]);
    assert!(allows(&constraint, "[1,2]"));
    assert!(!allows(&constraint, "[1,1]") && !allows(&constraint, "[3]"));
    assert!(!allows(&constraint, "[1, 2]"), "white space");
}

#[test]
fn a_schema_that_cannot_be_used_is_an_error_that_names_the_place() {
    let field = |value| {
        let error = compile(&schema(value)).err().unwrap();
        assert_eq!(error.code(), &codes::SCHEMA, "{error:?}");
        error.place().field.clone().unwrap_or_default()
    };
    let unknown = json!({ "properties": { "a/b": { "nullable": true } } });
    assert_eq!(field(unknown), "/properties/a~1b/nullable");
    assert_eq!(field(json!({ "properties": { "a": { "type": 5 } } })), "/properties/a/type");
    assert_eq!(field(json!({ "items": { "format": "shoe" } })), "/items/format");
    assert_eq!(field(json!({ "$schema": "http://example.com" })), "/$schema");
    field(json!({ "$ref": "https://example.com/schema" }));
    field(json!({ "items": { "$ref": "#/$defs/none" } }));
    field(json!({ "$ref": "#" }));
    field(json!({ "not": { "$ref": "#" } }));
    field(
        json!({ "anyOf": [{ "$ref": "#/$defs/a" }], "$defs": { "a": { "allOf": [{ "$ref": "#" }] } } }),
    );
    field(json!(false));
    field(json!({ "type": "string", "minLength": 2, "maxLength": 1 }));
}

#[test]
fn names_cannot_be_disguised() {
    let constraint = schema(json!({ "properties": { "a": { "type": "integer" } } }));
    assert!(allows(&constraint, r#"{"a":1,"b":"x"}"#));
    assert!(!allows(&constraint, r#"{"\u0061":"x"}"#));
}
