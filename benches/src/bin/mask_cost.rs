//! `bench-mask-cost`: what the token masks of constrained answers cost over a vocabulary of
//! 150,000 tokens, on calls of the functions of BFCL: GPT-2's real vocabulary and made-up words
//! up to that size. Each call is written by a fixed random walk.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sprat_bench::{closing_line, shared};
use sprat_infer::constraint::{Grammars, Matcher};
use sprat_infer::{Constraint, Tool, ToolChoice, Tools};
use sprat_model::files::Gguf;
use sprat_model::{GgufVocabulary, TextTokenizer};
use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

const VOCABULARY: usize = 150_000;
/// Longest answer.
const TOKENS: usize = 80;
/// The mean that is aimed at, in microseconds.
const TARGET: f64 = 60.0;

fn main() -> Result<(), Box<dyn Error>> {
    let tokenizer = Arc::new(large_vocabulary()?);
    let start = Instant::now();
    let grammars = Grammars::new(&tokenizer)?;
    let trie_ms = start.elapsed().as_secs_f64() * 1e3;
    println!("vocabulary of {} tokens prepared in {trie_ms:.0} ms", tokenizer.vocabulary());
    let tools = functions()?;
    let mut random = StdRng::seed_from_u64(0);
    let (mut masks, mut compiles) = (Vec::new(), Vec::new());
    for tool in tools {
        let tools = Tools { tools: vec![tool], choice: ToolChoice::Required, parallel: false };
        let start = Instant::now();
        let mut matcher = grammars.compile(&Constraint::Tools(tools))?;
        compiles.push(start.elapsed().as_secs_f64() * 1e6);
        walk(&tokenizer, &mut matcher, &mut random, &mut masks)?;
    }
    masks.sort_by(f64::total_cmp);
    compiles.sort_by(f64::total_cmp);
    let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
    let at = |list: &[f64], part: f64| {
        list.get((list.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
    };
    println!("{} masks of {} calls", masks.len(), compiles.len());
    println!("{:>8}  {:>8}  {:>8}  {:>8}  {:>8}", "µs", "mean", "p50", "p99", "max");
    for (name, list) in [("mask", &masks), ("compile", &compiles)] {
        let most = list.last().copied().unwrap_or(f64::NAN);
        let (half, high) = (at(list, 0.5), at(list, 0.99));
        println!("{name:>8}  {:>8.1}  {half:>8.1}  {high:>8.1}  {most:>8.1}", mean(list));
    }
    let extra = serde_json::json!({
        "p99": at(&masks, 0.99), "masks": masks.len(), "compile_mean": mean(&compiles),
        "compile_p99": at(&compiles, 0.99), "vocabulary": tokenizer.vocabulary(),
        "prepare_ms": trie_ms,
    });
    closing_line("mask-cost", mean(&masks), TARGET, "µs", &extra);
    Ok(())
}

/// Writes one answer and notes the time of each mask in microseconds.
fn walk(
    tokenizer: &TextTokenizer,
    matcher: &mut Matcher,
    random: &mut StdRng,
    masks: &mut Vec<f64>,
) -> Result<(), Box<dyn Error>> {
    for _ in 0..TOKENS {
        if matcher.must_end() {
            break;
        }
        let start = Instant::now();
        let mask = matcher.mask()?.to_vec();
        masks.push(start.elapsed().as_secs_f64() * 1e6);
        let allowed: Vec<u32> = (0..tokenizer.vocabulary() as u32)
            .filter(|&id| mask[id as usize / 32] >> (id % 32) & 1 == 1)
            .filter(|id| !tokenizer.ends().contains(id))
            .collect();
        // Uniform choices would hardly ever close a text: every fourth does where it can.
        let closing = allowed.iter().find(|&&id| tokenizer.token_bytes(id) == b"\"");
        let id = match closing {
            Some(&id) if random.random_bool(0.25) => id,
            _ => allowed[random.random_range(0..allowed.len())],
        };
        matcher.accept(id)?;
    }
    Ok(())
}

/// GPT-2's tokens and made-up words in its alphabet.
fn large_vocabulary() -> Result<TextTokenizer, Box<dyn Error>> {
    let path = shared().join("data/tokenizers/models/ggml-vocab-gpt-2.gguf");
    let mut vocabulary = GgufVocabulary::read(Gguf::open(&path)?.metadata())?;
    let words: Vec<String> =
        vocabulary.tokens.iter().filter(|word| word.len() < 8).cloned().collect();
    let mut known: HashSet<String> = vocabulary.tokens.iter().cloned().collect();
    let mut random = StdRng::seed_from_u64(1);
    while vocabulary.tokens.len() < VOCABULARY {
        let mut pick = || words[random.random_range(0..words.len())].as_str();
        let word = format!("{}{}", pick(), pick());
        if known.insert(word.clone()) {
            vocabulary.tokens.push(word);
            if let Some(types) = &mut vocabulary.types {
                types.push(1);
            }
        }
    }
    Ok(TextTokenizer::from_gguf(&vocabulary)?)
}

/// The functions of BFCL's first part.
fn functions() -> Result<Vec<Tool>, Box<dyn Error>> {
    let path = shared().join("data/bfcl/BFCL_v4_simple_python.json");
    let mut tools = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let question: Value = serde_json::from_str(line)?;
        let function = &question["function"][0];
        let mut parameters = function["parameters"].clone();
        translate(&mut parameters);
        let name = function["name"].as_str().unwrap_or_default().to_owned();
        tools.push(Tool { name, description: None, parameters });
    }
    Ok(tools)
}

/// BFCL names types as Python does.
fn translate(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    members.remove("optional");
    let name = match members.get("type").and_then(Value::as_str) {
        Some("dict") => Some("object"),
        Some("float") => Some("number"),
        Some("tuple") => Some("array"),
        Some("any") => {
            members.remove("type");
            None
        }
        _ => None,
    };
    if let Some(name) = name {
        members.insert("type".into(), name.into());
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(translate);
    }
    for inner in ["items", "additionalProperties"] {
        members.get_mut(inner).into_iter().for_each(translate);
    }
}
