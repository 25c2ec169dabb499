//! Reads the metadata of a GGUF file, as far as tests of tokenizers need it.

use sprat_model::GgufVocabulary;
use std::collections::HashMap;
use std::path::Path;

/// A metadata value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(f64),
    Text(String),
    List(Vec<Value>),
}

/// All metadata of a file.
pub(crate) fn metadata(path: &Path) -> HashMap<String, Value> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[8..];
    let _tensors = take::<8>(&mut rest);
    let pairs = u64::from_le_bytes(take(&mut rest));
    let mut pair = || {
        let key = text(&mut rest);
        let kind = u32::from_le_bytes(take(&mut rest));
        (key, value(&mut rest, kind))
    };
    (0..pairs).map(|_| pair()).collect()
}

/// The tokenizer of a file.
pub(crate) fn vocabulary(path: &Path) -> GgufVocabulary {
    let all = metadata(path);
    let get = |name: &str| all.get(&format!("tokenizer.ggml.{name}"));
    let number = |name| match get(name) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let one_text = |name| match get(name) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let texts = |name| match get(name) {
        Some(Value::List(list)) => Some(list.iter().map(Value::text).collect::<Vec<_>>()),
        _ => None,
    };
    let numbers = |name| match get(name) {
        Some(Value::List(list)) => Some(list.iter().map(Value::number).collect::<Vec<_>>()),
        _ => None,
    };
    let id = |name| number(name).map(|number| number as u32);
    let flag = |name| number(name).map(|number| number != 0.0);
    GgufVocabulary {
        model: one_text("model").unwrap_or_default(),
        pre: one_text("pre"),
        tokens: texts("tokens").unwrap_or_default(),
        scores: numbers("scores").map(|all| all.iter().map(|&n| n as f32).collect()),
        types: numbers("token_type").map(|all| all.iter().map(|&n| n as i32).collect()),
        merges: texts("merges"),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        unknown: id("unknown_token_id"),
        pad: id("padding_token_id"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
    }
}

impl Value {
    pub(crate) fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            other => panic!("no text: {other:?}"),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Value::Number(number) => *number,
            other => panic!("no number: {other:?}"),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_at(N);
    *rest = tail;
    head.try_into().unwrap()
}

fn text(rest: &mut &[u8]) -> String {
    let length = u64::from_le_bytes(take(rest)) as usize;
    let (head, tail) = rest.split_at(length);
    *rest = tail;
    String::from_utf8(head.to_vec()).unwrap()
}

fn value(rest: &mut &[u8], kind: u32) -> Value {
    Value::Number(match kind {
        0 | 7 => f64::from(take::<1>(rest)[0]),
        1 => f64::from(take::<1>(rest)[0].cast_signed()),
        2 => f64::from(u16::from_le_bytes(take(rest))),
        3 => f64::from(i16::from_le_bytes(take(rest))),
        4 => f64::from(u32::from_le_bytes(take(rest))),
        5 => f64::from(i32::from_le_bytes(take(rest))),
        6 => f64::from(f32::from_le_bytes(take(rest))),
        8 => return Value::Text(text(rest)),
        9 => {
            let kind = u32::from_le_bytes(take(rest));
            let length = u64::from_le_bytes(take(rest));
            return Value::List((0..length).map(|_| value(rest, kind)).collect());
        }
        10 => u64::from_le_bytes(take(rest)) as f64,
        11 => i64::from_le_bytes(take(rest)) as f64,
        12 => f64::from_le_bytes(take(rest)),
        other => panic!("unknown kind {other}"),
    })
}
