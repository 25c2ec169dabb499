//! Random templates: those that do what templates do give the text that the engine gives without
//! our bounds, and no others make it panic.

use super::budget::Budget;
use super::{ChatTemplate, Conversation, python};
use crate::text::SpecialTexts;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use proptest::prelude::*;
use serde_json::json;
use sprat_task::Timestamp;
use std::sync::Arc;

fn talk() -> Conversation {
    let variables = json!({
        "n": 3, "f": 1.5, "t": "some text", "e": "", "b": true, "l": [1, 2, 3, 2],
        "w": ["x", "y", "some"], "d": {"k": "v", "a": 1, "n": {"k": [1, 2]}},
    });
    Conversation {
        messages: vec![
            json!({"role": "user", "content": "Hello there"}),
            json!({"role": "assistant", "content": "", "tool_calls": [{"name": "x"}]}),
            json!({"role": "user", "content": " bye\n"}),
        ],
        variables: variables.as_object().cloned().unwrap(),
        ..Default::default()
    }
}

/// Renders with the engine as it comes, but for the notation of what is written.
fn plainly(source: &str) -> Option<String> {
    let talk = talk();
    let mut variables = talk.variables.clone();
    variables.insert("messages".to_owned(), talk.messages.clone().into());
    let variables = Value::from_serialize(&variables);
    let budget = Arc::new(Budget::new(&variables).unwrap());
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(100);
    let own = budget.clone();
    environment.set_formatter(move |out, _, value| python::write(out, value, &own));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    // Texts of lists, as ours do it.
    let text = |value: &Value| python::to_string(value);
    environment.add_filter("string", text);
    environment.add_filter("upper", move |value: &Value| text(value).map(|t| t.to_uppercase()));
    environment.add_filter("lower", move |value: &Value| text(value).map(|t| t.to_lowercase()));
    environment.add_filter("trim", move |value: &Value| text(value).map(|t| t.trim().to_owned()));
    environment.add_filter("replace", move |value: &Value, old: &str, new: &str| {
        text(value).map(|t| t.replace(old, new))
    });
    environment.add_template("plain", source).ok()?;
    environment.get_template("plain").ok()?.render(variables).ok()
}

fn bounded(source: &str) -> Result<String, String> {
    let template = ChatTemplate::new(source, SpecialTexts::default());
    let template = template.map_err(|error| error.to_string())?;
    let rendered = template.render(&talk(), Timestamp(0)).map_err(|error| error.to_string())?;
    Ok(rendered.text().to_owned())
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(texts).prop_map(str::to_owned)
}

/// An expression of the kind that templates have.
fn expression() -> impl Strategy<Value = String> {
    let leaf = one_of(&[
        "n",
        "f",
        "t",
        "e",
        "b",
        "l",
        "w",
        "d",
        "messages",
        "ns.x",
        "ns.y",
        "nothing",
        "1",
        "2",
        "0",
        "-1",
        "1.5",
        "'x'",
        "'some'",
        "''",
        "true",
        "false",
        "none",
        "[]",
        "{}",
        "[1, 2]",
        "['x', 'y']",
        "{'k': 1}",
        "x",
        "y",
        "messages[0]",
        "messages[-1]['role']",
        "d.n.k",
        "messages[0].content",
        "loop.index",
        "loop.first",
        "t[0]",
        "l[1]",
        "d['k']",
    ]);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let binary = one_of(&[
            "+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in",
            "not in", "and", "or",
        ]);
        let filter = one_of(&[
            "length",
            "list",
            "string",
            "trim",
            "first",
            "last",
            "default('z')",
            "join('-')",
            "join",
            "lower",
            "upper",
            "title",
            "capitalize",
            "int",
            "abs",
            "round",
            "items",
            "reverse",
            "sort",
            "unique",
            "min",
            "max",
            "sum",
            "map(attribute='role')",
            "map('length')",
            "selectattr('role', 'equalto', 'user')",
            "select('in', l)",
            "rejectattr('content')",
            "reject('eq', 2)",
            "replace('x', 'yy')",
            "dictsort",
            "attr('k')",
            "safe",
            "e",
            "groupby('role')",
            "count",
            "d(1, true)",
            "batch(2)",
        ]);
        let method = one_of(&[
            "strip()",
            "split()",
            "split('x')",
            "upper()",
            "startswith('s')",
            "endswith('e')",
            "replace('e', 'EE')",
            "get('k')",
            "get('z', 1)",
            "items()",
            "keys()",
            "values()",
            "lstrip('s')",
            "join(w)",
            "count('e')",
            "find('e')",
            "splitlines()",
            "title()",
        ]);
        let test = one_of(&[
            "defined",
            "none",
            "string",
            "mapping",
            "number",
            "undefined",
            "true",
            "integer",
            "eq(1)",
            "in(l)",
            "in(w)",
            "divisibleby(2)",
            "odd",
            "lower",
            "startingwith('s')",
            "ge(2)",
            "sameas(n)",
            "boolean",
            "float",
        ]);
        prop_oneof![
            (two.clone(), binary).prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            (inner.clone(), filter).prop_map(|(a, filter)| format!("({a} | {filter})")),
            (inner.clone(), method).prop_map(|(a, method)| format!("({a}).{method}")),
            (inner.clone(), test).prop_map(|(a, test)| format!("({a} is {test})")),
            two.clone().prop_map(|(a, b)| format!("{a}[{b}]")),
            two.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            two.clone().prop_map(|(a, b)| format!("{{{a}: {b}, 'z': {b}}}")),
            two.clone().prop_map(|(a, b)| format!("({a} < {b} <= n)")),
            two.clone().prop_map(|(a, b)| format!("({a} == {b} in l)")),
            (inner.clone(), two).prop_map(|(a, (b, c))| format!("({a} if {b} else {c})")),
            inner.clone().prop_map(|a| format!("{a}[1:]")),
            inner.clone().prop_map(|a| format!("{a}[:2]")),
            inner.clone().prop_map(|a| format!("{a}[-2:]")),
            inner.clone().prop_map(|a| format!("(not {a})")),
            inner.clone().prop_map(|a| format!("range({a})")),
            inner.clone().prop_map(|a| format!("dict(k={a})")),
            inner.prop_map(|a| format!("m({a})")),
        ]
    })
}

/// Statements of the kind that templates have.
fn statements() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        expression().prop_map(|a| format!("{{{{ {a} }}}}")),
        expression().prop_map(|a| format!("{{% set x = {a} %}}")),
        expression().prop_map(|a| format!("{{% set ns.x = {a} %}}")),
        (expression(), expression()).prop_map(|(a, b)| format!("{{% set x, y = {a}, {b} %}}")),
        one_of(&["text ", "\n", "  {# no #}\n", "{%- if b -%} c {%- endif %}", "{{ ns.y }}"]),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let body = proptest::collection::vec(inner, 1..4).prop_map(|all| all.concat());
        prop_oneof![
            (expression(), body.clone(), body.clone())
                .prop_map(|(a, b, c)| format!("{{% if {a} %}}{b}{{% else %}}{c}{{% endif %}}")),
            (expression(), body.clone(), body.clone()).prop_map(|(a, b, c)| {
                format!("{{% for x in {a} %}}{b}{{% else %}}{c}{{% endfor %}}")
            }),
            (expression(), expression(), body.clone()).prop_map(|(a, b, c)| {
                format!("{{% for x in {a} if {b} %}}{c}{{{{ loop.length }}}}{{% endfor %}}")
            }),
            (expression(), body.clone()).prop_map(|(a, b)| {
                format!("{{% for k, v in {a} %}}{b}{{{{ k }}}}{{% endfor %}}")
            }),
            (expression(), expression(), body.clone()).prop_map(|(a, b, c)| {
                let stop = format!("{{% if {b} %}}{{% break %}}{{% endif %}}");
                format!("{{% for x in {a} %}}{c}{stop}{c}{{% endfor %}}")
            }),
            (expression(), expression(), body.clone()).prop_map(|(a, b, c)| {
                let next = format!("{{% if {b} %}}{{% continue %}}{{% endif %}}");
                format!("{{% for x in {a} %}}{next}{c}{{% endfor %}}")
            }),
            body.clone().prop_map(|a| format!("{{% set x %}}{a}{{% endset %}}{{{{ x }}}}")),
            body.clone().prop_map(|a| format!("{{% filter upper %}}{a}{{% endfilter %}}")),
            (expression(), body.clone())
                .prop_map(|(a, b)| format!("{{% with x = {a} %}}{b}{{% endwith %}}")),
            (body.clone(), body.clone()).prop_map(|(a, b)| {
                format!("{{% macro m(x, y=2) %}}{a}{{% endmacro %}}{b}{{{{ m(1) }}}}")
            }),
            (body.clone(), body.clone()).prop_map(|(a, b)| {
                let outer = format!("{{% macro c() %}}<{a}{{{{ caller(1) }}}}>{{% endmacro %}}");
                format!("{outer}{{% call(x) c() %}}{b}{{% endcall %}}")
            }),
            (expression(), body.clone()).prop_map(|(a, b)| {
                let deeper = "{% if n > 9 %}{{ loop(l) }}{% endif %}";
                format!("{{% for x in {a} recursive %}}{b}{deeper}{{% endfor %}}")
            }),
            body.prop_map(|a| format!("{{% block k %}}{a}{{% endblock %}}")),
        ]
    })
}

/// Where the engine gives another answer than Python, and we do not; or none at all.
fn differs(source: &str) -> bool {
    ["batch", "groupby"].iter().any(|name| source.contains(name))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn benign_templates_give_the_engines_text(body in statements()) {
        let source = format!(
            "{{% set ns = namespace(x=1, y='z') %}}{{% macro m(x) %}}[{{{{ x }}}}]{{% endmacro %}}{body}"
        );
        if let Some(plain) = plainly(&source).filter(|_| !differs(&source)) {
            prop_assert_eq!(bounded(&source), Ok(plain), "{}", source);
        }
    }

    #[test]
    fn no_template_makes_the_engine_panic(
        parts in proptest::collection::vec(prop_oneof![
            one_of(&[
                "{{ ", " }}", "{% ", " %}", "{# ", " #}", "{%- ", " -%}", "if", "else", "elif",
                "endif", "for", "in", "endfor", "set", "endset", "macro", "endmacro", "call",
                "endcall", "filter", "endfilter", "block", "endblock", "with", "endwith", "do",
                "break", "continue", "recursive", "autoescape", "endautoescape", "include",
                "import", "from", "extends", "raw", "endraw", "generation", "endgeneration",
                "super()", "loop", "loop(x)", "loop.cycle()", "caller()", "self.k()", "not",
                "and", "or", "is", "x", "ns", "k", ".", ",", ":", "|", "(", ")", "[", "]", "{",
                "}", "=", "==", "<", "+", "-", "*", "**", "/", "//", "%", "~", " ", "\n", "1",
                "0", "1.5", "'s'", "\"", "'", "9223372036854775807", "__weigh", "é",
            ]),
            expression(),
            statements(),
        ], 0..12),
    ) {
        let source = parts.join(" ");
        if let Err(why) = bounded(&source) {
            prop_assert!(!why.contains("engine failed"), "{}: {}", source, why);
        }
    }
}

#[test]
fn white_space_goes_as_the_engine_takes_it() {
    let source = "a\n  {% if b %}\n  b\n  {%- endif %}\n  {# c #}\n{{ t }}\n";
    assert_eq!(bounded(source).ok(), plainly(source));
}

/// `"abcde"[…]` of Python 3.12.
#[test]
fn slices_are_those_of_python() {
    for (slice, expected) in [
        (":", "abcde"),
        ("1:", "bcde"),
        (":2", "ab"),
        ("-2:", "de"),
        (":-1", "abcd"),
        ("::-1", "edcba"),
        ("::2", "ace"),
        ("3:0:-1", "dcb"),
        ("0:3:-1", ""),
        ("-1:-4:-2", "ec"),
        ("10::-1", "edcba"),
        (":10", "abcde"),
        ("-10:2", "ab"),
        ("2:2", ""),
        ("4::-3", "eb"),
        (":1:-2", "ec"),
        ("-9223372036854775807:9223372036854775807:9223372036854775807", "a"),
        ("9223372036854775807:-9223372036854775807:-9223372036854775807", "e"),
    ] {
        let of_text = format!("{{{{ 'abcde'[{slice}] }}}}");
        assert_eq!(bounded(&of_text).as_deref(), Ok(expected), "{slice}");
        let of_list = format!("{{{{ ('abcde' | list)[{slice}] | join }}}}");
        assert_eq!(bounded(&of_list).as_deref(), Ok(expected), "{slice}");
    }
    assert!(bounded("{{ 'abcde'[::0] }}").is_err());
    assert_eq!(bounded("{{ ''[::-1] }}{{ [][::-1] }}").as_deref(), Ok("[]"));
}

#[test]
fn variables_of_a_conversation_cannot_stand_in_for_the_functions_of_instructions() {
    let mut talk = talk();
    for name in ["__weigh", "__eq", "__answer"] {
        talk.variables.insert(name.to_owned(), json!("mine"));
    }
    let source = "{% generation %}{{ n + 1 }}{{ t == t }}{% endgeneration %}";
    let template = ChatTemplate::new(source, SpecialTexts::default()).unwrap();
    assert_eq!(template.render(&talk, Timestamp(0)).unwrap().text(), "4True");
}
