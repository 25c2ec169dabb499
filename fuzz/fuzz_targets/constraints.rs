//! Any schema or expression: compiles or is refused, and what it allows can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprat_infer::Constraint;
use sprat_infer::constraint::Grammars;
use sprat_model::{GgufVocabulary, TextTokenizer};
use std::sync::{Arc, LazyLock};

/// A vocabulary of the ASCII characters.
static GRAMMARS: LazyLock<Grammars> = LazyLock::new(|| {
    let mut tokens: Vec<String> = (0x21..0x7f_u8).map(|byte| char::from(byte).into()).collect();
    tokens.extend(["Ġ".into(), "<end>".into()]);
    let mut types = vec![1; tokens.len() - 1];
    types.push(3);
    let vocabulary = GgufVocabulary {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        eos: Some(tokens.len() as u32 - 1),
        merges: Some(Vec::new()),
        types: Some(types),
        tokens,
        ..GgufVocabulary::default()
    };
    Grammars::new(&Arc::new(TextTokenizer::from_gguf(&vocabulary).unwrap())).unwrap()
});

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let constraint = match first % 3 {
        0 => Constraint::Regex(text.to_owned()),
        1 => Constraint::Lark(text.to_owned()),
        _ => match serde_json::from_str(text) {
            Ok(schema) => Constraint::JsonSchema(schema),
            Err(_) => return,
        },
    };
    let Ok(mut matcher) = GRAMMARS.compile(&constraint) else { return };
    let mut text = String::new();
    for _ in 0..32 {
        if matcher.must_end() {
            break;
        }
        let Ok(mask) = matcher.mask() else { break };
        let allowed = |id: &u32| mask[*id as usize / 32] >> (id % 32) & 1 == 1;
        let Some(id) = (0..0x5e).find(allowed) else { break };
        matcher.accept(id).unwrap();
        text.push(char::from(0x21 + id as u8));
    }
    let _ = matcher.finish(&text);
});
