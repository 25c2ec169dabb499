//! Templates of strangers that would take all memory, all time or the stack: each ends soon, with
//! a coded error.

#![allow(clippy::expect_used, reason = "tests fail by panicking")]

use sprat_model::{ChatTemplate, Conversation, SpecialTexts};
use sprat_task::{Error, Timestamp};
use std::time::{Duration, Instant};

/// Renders each template, which must fail soon, with a code, and with little memory.
fn all_end(sources: &[String]) {
    for source in sources {
        let letters: Vec<char> = source.chars().collect();
        let start: String = letters.iter().take(160).collect();
        let end: String = letters[letters.len().saturating_sub(80)..].iter().collect();
        let begin = Instant::now();
        let outcome = render(source);
        let took = begin.elapsed();
        let error = outcome.expect_err(&format!("{start} … {end}"));
        assert!(error.code().id.starts_with("SPRAT-MODEL-"), "{start} … {end}: {error}");
        assert!(!error.to_string().contains("engine failed"), "{start} … {end}: {error}");
        // About one second where nothing else runs.
        assert!(took < Duration::from_secs(10), "{start} … {end}: {took:?}");
        let memory = most_memory();
        assert!(memory < 768, "{start} … {end}: {memory} MiB");
    }
}

fn render(source: &str) -> Result<String, Error> {
    let talk = Conversation::of(&[("user", "hello"), ("assistant", "you")]);
    let template = ChatTemplate::new(source, SpecialTexts::default())?;
    Ok(template.render(&talk, Timestamp(0))?.text().to_owned())
}

/// The most memory that this process ever had, in MiB.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib =
        line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<usize>().ok());
    kib.unwrap_or_default() / 1024
}

/// A loop that does something many times.
fn many(body: &str) -> String {
    format!(
        "{{% for a in range(99999) %}}{{% for b in range(99999) %}}{body}{{% endfor %}}{{% endfor %}}"
    )
}

/// A long text `x`, a long list `l`, a namespace `ns`, and then something many times.
fn with_long(body: &str) -> String {
    let long = "{% set x = messages[0].content * 3000000 %}{% set y = x ~ 'y' %}\
                {% set l = range(100000) | list %}{% set ns = namespace(x='', l=[]) %}\
                {% set d = dict(k=x) %}";
    format!("{long}{}", many(body))
}

/// A text `x`, a list `y` and a dictionary `z` in a namespace, of which one is doubled 60 times.
fn doubled(double: &str, end: &str) -> String {
    format!(
        "{{% set ns = namespace(x='hello', y=[1, 'a'], z={{'k': 1}}) %}}{{% for a in range(60) %}}\
         {double}{{% endfor %}}{end}"
    )
}

#[test]
fn texts_cannot_double() {
    all_end(&[
        doubled("{% set ns.x = ns.x ~ ns.x %}", ""),
        doubled("{% set ns.x = ns.x + ns.x %}", ""),
        doubled("{% set ns.x = ns.x * 2 %}", ""),
        doubled("{% set ns.x = 2 * ns.x %}", ""),
        doubled("{% set ns.x = [ns.x, ns.x] | join %}", ""),
        doubled("{% set ns.x = ''.join([ns.x, ns.x]) %}", ""),
        doubled("{% set ns.x = ns.x.replace('hello', 'hellohello') %}", ""),
        doubled("{% set ns.x = ns.x | replace('l', 'll') %}", ""),
        doubled("{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}", ""),
        doubled("{% set ns.x = [ns.x, ns.x] | string %}", ""),
        doubled("{% set ns.x = [ns.x, ns.x] | tojson %}", ""),
        doubled("{% set ns.x = [ns.x, ns.x] ~ '' %}", ""),
        doubled("{% set ns.x = ns.x | tojson(indent=8) %}", ""),
        doubled(
            "{% set ns.x = ns.x | e | e | e %}{% set ns.x = ns.x ~ '<' %}",
            many("{{ ns.x | e }}").as_str(),
        ),
        doubled("{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns.x = m(ns.x) %}", ""),
    ]);
}

#[test]
fn lists_and_dictionaries_cannot_double() {
    let lists = |end: &str| doubled("{% set ns.y = [ns.y, ns.y] %}", end);
    all_end(&[
        doubled("{% set ns.y = ns.y + ns.y %}", ""),
        doubled("{% set ns.y = ns.y * 2 %}", ""),
        doubled("{% set ns.y = (ns.y + ns.y) | list %}", ""),
        doubled("{% set ns.y = ns.y[:] + ns.y[::-1] %}", ""),
        doubled(
            "{% set ns.y = (ns.y | reverse) + (ns.y | map('string')) %}",
            "{{ ns.y | length }}",
        ),
        lists("{{ ns.y }}"),
        lists("{{ ns.y == ns.y }}"),
        lists("{{ ns.y | tojson }}"),
        doubled("{% set ns.z = {'a': ns.z, 'b': ns.z} %}", "{{ ns.z }}"),
        doubled("{% set ns.z = dict(a=ns.z, b=ns.z) %}", "{{ ns.z }}"),
        doubled("{% set ns.z = {ns.z: ns.z} %}", "{{ ns.z }}"),
        doubled("{% set ns.y = [ns.y, ns.y] | map('default', 1) %}", "{{ ns.y }}"),
        doubled("{% set ns.y = {'a': [ns.y, ns.y]} | items %}", "{{ ns.y }}"),
    ]);
}

#[test]
fn no_size_is_too_large() {
    all_end(&[
        "{{ [messages[0].content.replace('hello', '\"\"\"\"') * 3000000] | e | e }}".into(),
        "{{ (messages + [1, 'x', {'a': {'b': 1}}, {'a': 2}]) * 99 | sort(attribute='a.b') }}"
            .into(),
        "{{ ((messages + [1, 'x', {'a': {'b': 1}}, {'a': 2}]) * 99) | sort(attribute='a.b') }}"
            .into(),
        "{{ [1] * 10 ** 12 }}".into(),
        "{{ [messages] * 10 ** 12 }}".into(),
        "{{ ([messages] * 10 ** 12) | length }}{{ ([messages] * 10 ** 12)[5] }}".into(),
        "{{ 'x' * 10 ** 12 }}".into(),
        "{{ messages[0].content * 10 ** 12 }}".into(),
        "{{ messages[0].content * 99999999 }}".into(),
        "{{ 10 ** 12 * messages[0].content }}".into(),
        "{{ 'x' * 90000000 ~ 'x' * 90000000 }}".into(),
        "{{ ('x' * 90000) * 90000 }}".into(),
        "{{ [[1] * 60000] * 60000 }}".into(),
        format!("{{{{ [{}] }}}}", vec!["'x' * 99999999"; 1000].join(",")),
        "{{ 9 ** 9 ** 9 }}".into(),
        "{{ range(10 ** 12) }}".into(),
        "{{ messages | tojson(indent='x' * 1000000) }}".into(),
        "{{ 'x' | indent(10 ** 9) }}".into(),
        "{{ ('\n' * 900000) | indent(64, blank=true) | indent(64, blank=true) }}".into(),
        "{{ 'x'.center(10 ** 12) }}".into(),
        "{{ 'x'.ljust(10 ** 12) }}".into(),
        "{{ '%1000000000s' | format('x') }}".into(),
        "{{ '{:1000000000}'.format('x') }}".into(),
        "{{ messages | batch(10 ** 12, 1) }}".into(),
        "{{ messages | slice(10 ** 12) }}".into(),
        "{{ (messages[0].content * 1000000) | list | list | tojson | list }}".into(),
        many("{% set ns = namespace() %}"),
        many("{{ 'x' * 1024 }}"),
        many("x"),
        format!("{{% set x %}}{}{{% endset %}}", many(&"x".repeat(1000))),
    ]);
}

#[test]
fn what_is_long_is_not_gone_through_again_and_again() {
    all_end(&[
        with_long("{{ x == y }}"),
        with_long("{{ x < y }}"),
        with_long("{{ 1 if 'z' in x }}"),
        with_long("{{ 1 if x in y }}"),
        with_long("{{ 1 if x in l }}"),
        with_long("{{ 1 if l in [l, l] }}"),
        with_long("{{ 1 if -1 in l }}"),
        with_long("{{ 1 if -1 not in l }}"),
        with_long("{{ 1 if 0 < -1 in l }}"),
        with_long("{{ 1 if l == l[:] < 1 }}"),
        with_long("{{ d[x] }}"),
        with_long("{{ d.get(x) }}"),
        with_long("{{ d | attr(x) }}"),
        with_long("{% set z = {x: 1, x: 2, x: 3, x: 4} %}"),
        with_long("{% set z = x[5:6] %}"),
        with_long("{% set z = x[-1] %}"),
        with_long("{% set z = l[5:6] %}{% set z = l[:] %}"),
        with_long("{% set z = l[::-1] | first %}"),
        with_long("{% set z = x | length %}"),
        with_long("{% set z = x | list | first %}"),
        with_long("{% set z = x | first %}{% set z = x | reverse | last %}"),
        with_long("{% set z = x.strip(x) %}"),
        with_long("{% set z = x.count('z') + x.find('z') %}"),
        with_long("{% set z = x.split('z') | length %}"),
        with_long("{% set z = x.split('l') | length %}"),
        with_long("{% set z = x.upper() %}"),
        with_long("{% set z = x.isalpha() %}"),
        with_long("{% set z = x.startswith(y) or x.endswith(y) %}"),
        with_long("{% set z = x.startswith([y] * 1000) %}"),
        with_long("{% set z = l.count(1) %}"),
        with_long("{% set z = [x].count(y) %}"),
        with_long("{% set z = x is eq(y) or x is lower or x is in(y) or x is sameas(y) %}"),
        with_long("{% set z = x is startingwith(y) %}"),
        with_long("{% set z = l | sort | min %}"),
        with_long("{% set z = l | sum %}"),
        with_long("{% set z = l | unique | list %}"),
        with_long("{% set z = [x, y] | sort %}{% set z = [x, y] | max %}"),
        with_long("{% set z = messages * 1000 | sort(attribute=x) %}"),
        with_long("{% set z = l | map(attribute=x) | list %}"),
        with_long("{% set z = [d] * 1000 | map(attribute='k.' ~ x) | list %}"),
        with_long("{% set z = l | map('default', x) | map('upper') | list %}"),
        with_long("{% set z = [x] * 1000 | map('length') | list %}"),
        with_long("{% set z = l | select('in', l) | list %}"),
        with_long("{% set z = l | select('eq', x) | list %}"),
        with_long("{% set z = [x] * 100 | select('eq', y) | list %}"),
        with_long("{% set z = l | groupby('k') | list %}"),
        with_long("{% set z = l | join(x) %}"),
        with_long("{% set z = x.join(l) %}"),
        with_long("{% set z = x | int %}"),
        with_long("{% set z = d | tojson %}"),
        with_long("{% set z = d | items | list %}{% set z = d.items() %}"),
        with_long("{% for c in x %}{% break %}{% endfor %}"),
        with_long("{% for c in l %}{% break %}{% endfor %}"),
        with_long("{% set p, q = l %}"),
        with_long("{% include [x, y] ignore missing %}"),
        with_long("{% include l ignore missing %}"),
        with_long("{% set ns.l = ns.l + [x] %}"),
        with_long("{% set ns.x = ns.x ~ x %}"),
        with_long("{% set ns.l = [ns.l] %}"),
        with_long("{% set ns.x = ns.x + 'x' %}"),
        with_long("{% set z = strftime_now(x) %}"),
        with_long("{% set z = x ~ l %}"),
        with_long("{% set z = l ~ '' %}"),
        with_long("{% set z = dict(d) %}{% set z = namespace(d) %}"),
        with_long("{% set z = ns == ns %}{% set z = ns | length %}"),
        with_long("{% set z = ns | tojson %}{% set ns.x = x %}"),
        with_long("{% if ns %}{% endif %}"),
        with_long(
            "{% macro f(a,b,c,d,e,f,g,h) %}{% endmacro %}{% set ns.l = [ns.l, f.arguments] %}",
        ),
        many("{% set ns = namespace() %}{% set z = [ns] %}"),
        "{{ raise_exception(messages[0].content * 3000000) }}".into(),
        "{{ raise_exception([messages[0].content * 3000000]) }}".into(),
    ]);
}

#[test]
fn nothing_holds_itself() {
    all_end(&[
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}".into(),
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}".into(),
        "{% set ns = namespace() %}{% set ns.x = {'a': ns} %}{{ ns }}".into(),
        "{% set ns = namespace() %}{% set ns.x = dict(a=ns) %}{{ ns }}".into(),
        "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{{ a == b }}".into(),
        "{% set a = namespace() %}{% set b = namespace({'a': a}) %}{% set a.b = b %}{{ a }}".into(),
        "{% set a = namespace() %}{% set a.b = [nothing] | map('default', a) | list %}{{ a }}".into(),
        "{% set a = namespace() %}{% set a.b = [1] | map(attribute='x', default=a) | list %}{{ a }}".into(),
    ]);
}

#[test]
fn recursion_ends() {
    all_end(&[
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into(),
        "{% macro f(x) %}{{ caller(x) }}{% endmacro %}{% macro g(x) %}{% call(y) f(x) %}{{ g(y) }}\
         {% endcall %}{% endmacro %}{{ g(1) }}".into(),
        "{% for a in [messages] recursive %}{{ loop(a) }}{% endfor %}".into(),
        "{% for a in 'ab' recursive %}{{ loop('ab') }}{% endfor %}".into(),
        "{% for a in 'ab' recursive %}{% set x = loop('ab') ~ loop('ab') %}{% endfor %}".into(),
        "{% block a %}{{ self.a() }}{% endblock %}".into(),
        "{% include 'chat_template' %}".into(),
        "{% extends 'chat_template' %}".into(),
        many("{% if nothing %}{% else %}{% endif %}"),
        "{% for a in [] %}{% else %}{% break %}{% endfor %}".into(),
        "{% for a in [1] %}{% with %}{% break %}{% endwith %}{% endfor %}".into(),
        "{% for a in [1] %}{% set x %}{% continue %}{% endset %}{% endfor %}".into(),
        "{% for a in [1] %}{{ loop.cycle() }}{% endfor %}".into(),
        "{{ super() }}".into(),
        "{{ range(-9223372036854775807, 9223372036854775807, 1) }}".into(),
        "{{ 9223372036854775807 + 170141183460469231731687303715884105727 }}".into(),
        "{{ 1 // 0 }}".into(),
        "{{ 1 % 0 }}".into(),
        // A macro that holds a macro that holds a macro.
        "{% set ns = namespace(f=1) %}{% for a in range(99999) %}{% with %}{% set g = ns.f %}\
         {% macro f() %}{{ g }}{% endmacro %}{% set ns.f = f %}{% endwith %}{% endfor %}{{ nothing.x }}"
            .into(),
    ]);
}

#[test]
fn the_functions_of_instructions_are_out_of_reach() {
    all_end(&[
        "{{ __weigh(1) }}".into(),
        "{% set __weigh = 1 %}".into(),
        "{% macro __weigh(x) %}{% endmacro %}{{ 1 + 1 }}".into(),
        "{% for __weigh in [1] %}{% endfor %}".into(),
        "{% macro f(__eq) %}{% endmacro %}".into(),
        "{{ messages | map('__weigh') }}".into(),
        "{{ f(*messages) }}".into(),
        "{{ f(**messages[0]) }}".into(),
    ]);
}

#[test]
fn the_compiler_does_not_go_down_too_far() {
    let deep = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    all_end(&[
        format!("{{{{ {} }}}}", deep("\n(", "1", "\n)", 60_000)),
        format!("{{{{ {} }}}}", deep("\n[", "1", "\n]", 60_000)),
        format!("{{{{ {} }}}}", deep("\n{1:", "1", "\n}", 40_000)),
        format!("{{{{ {} 1 }}}}", "\nnot ".repeat(60_000)),
        format!("{{{{ {} 1 }}}}", "\n-".repeat(100_000)),
        format!("{{{{ {} 1 }}}}", "\n1 if 1 else ".repeat(20_000)),
        format!("{{{{ 1 {} }}}}", "\nif 1".repeat(50_000)),
        format!("{{{{ x{} }}}}", "\n+1".repeat(80_000)),
        format!("{{{{ 'x'{} }}}}", "\n~'y'".repeat(50_000)),
        format!("{{{{ x{} }}}}", "\n.x".repeat(80_000)),
        format!("{{{{ x{} }}}}", "\n[0]".repeat(50_000)),
        format!("{{{{ x{} }}}}", "\n()".repeat(80_000)),
        format!("{{{{ x{} }}}}", "\n|e".repeat(80_000)),
        format!("{{{{ x{} }}}}", "\n is x".repeat(40_000)),
        format!("{{{{ x{} }}}}", "\n and x".repeat(30_000)),
        format!("{{{{ 1{} }}}}", "\n and 1".repeat(30_000)),
        format!("{{{{ {}{} }}}}", "\nx if ".repeat(20_000), "x"),
        format!("{{% set {} = 1 %}}", deep("\n(", "x", "\n)", 60_000)),
        format!("{{% set {} = 1 %}}", "\nx, ".repeat(60_000)),
        format!("{{% set x{} = 1 %}}", "\n.x".repeat(60_000)),
        format!("{{% if x %}}{}{{% endif %}}", "\n{% elif x %}".repeat(20_000)),
        "\n{% if x %}".repeat(20_000),
        deep("\n{% if x %}", "1", "\n{% endif %}", 10_000),
        deep("\n{% for x in [1] %}", "1", "\n{% endfor %}", 140),
        deep("\n{% filter e %}", "1", "\n{% endfilter %}", 5_000),
        format!("{{{{ [{}] | random }}}}", "\n1,".repeat(80_000)),
        format!("{{{{ f({}) }}}}", "\n1,".repeat(80_000)),
        format!("{{% macro f({}) %}}{{% endmacro %}}", "\nx,".repeat(60_000)),
        format!("{{{{ x {} }}}}", "\n~ ('aaaaaaaa' * 1000)".repeat(10_000)),
        format!("{{{{ x {} }}}}", "\n~ ('a' ~ 'b' ~ 'c' ~ 'd' ~ 'e')".repeat(7_000)),
        format!("{{{{ 'x' * 1000 {} }}}}", "\n* 1".repeat(60_000)),
        "x".repeat(300_000),
        "{{ 1 ".into(),
        "\n{{".repeat(80_000),
        "\n{%".repeat(80_000),
        "\n{#".repeat(80_000),
        "{{{{".repeat(30_000),
    ]);
}
