//! Embeddings against sentence-transformers: `golden/minilm_embeddings.json` says how it was made.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use half::f16;
use serde_json::Value;
use sprat_model::{Encoder, Format};
use std::path::{Path, PathBuf};

fn minilm() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("SPRAT_MINILM")
        .map_or_else(|| root.join(".cache/models/minilm"), PathBuf::from);
    if folder.join("model.safetensors").exists() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no MiniLM at {}; set SPRAT_MINILM to its folder", folder.display());
    None
}

/// Base64 (RFC 4648) of half-precision numbers.
fn decode(text: &str) -> Vec<f32> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().fold(0u32, |bits, &c| bits << 6 | u32::from(digit(c)));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The worst cosine over one text in `every`, with its text.
fn worst(format: Format, every: usize) -> Option<(f64, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/minilm_embeddings.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let encoder = Encoder::open(&minilm()?, format).unwrap();
    let items: Vec<&Value> = golden["items"].as_array().unwrap().iter().step_by(every).collect();
    let texts: Vec<&str> = items.iter().map(|item| item["text"].as_str().unwrap()).collect();
    assert!(texts.len() * every >= 200);
    let tokens = encoder.tokenizer().encode_all(&texts).unwrap();
    for (item, tokens) in items.iter().zip(&tokens) {
        assert_eq!(item["tokens"], tokens.ids.len(), "{}", item["text"]);
    }
    let ours = encoder.embed(&texts).unwrap();
    let cosines = items.iter().enumerate().map(|(at, item)| {
        let theirs = decode(item["embedding"].as_str().unwrap());
        assert_eq!(theirs.len(), 384);
        (cosine(ours.row(at), &theirs), item["text"].as_str().unwrap().to_owned())
    });
    cosines.min_by(|a, b| a.0.total_cmp(&b.0))
}

#[test]
fn embeddings_agree_with_sentence_transformers() {
    let Some((cosine, text)) = worst(Format::F32, 1) else { return };
    eprintln!("worst cosine, F32: {cosine:.7} for {text:?}");
    assert!(cosine >= 0.9999, "{cosine} for {text:?}");
}

#[test]
fn smaller_formats_stay_near() {
    for (format, least) in [(Format::Bf16, 0.999), (Format::Int8, 0.97)] {
        let Some((cosine, text)) = worst(format, 4) else { return };
        eprintln!("worst cosine, {format:?}: {cosine:.7} for {text:?}");
        assert!(cosine >= least, "{format:?}: {cosine} for {text:?}");
    }
}

#[test]
fn an_embedding_does_not_depend_on_its_company_or_the_threads() {
    let Some(folder) = minilm() else { return };
    let encoder = Encoder::open(&folder, Format::F32).unwrap();
    let long = "red bus tree north milk ".repeat(30);
    let texts = ["refund", "Where is my parcel?", &long, "Hello", ""];
    sprat_nn::threads::set_threads(1);
    let alone: Vec<_> = texts.iter().map(|text| encoder.embed(&[text]).unwrap().data).collect();
    sprat_nn::threads::set_threads(3);
    let many: Vec<&str> = texts.iter().copied().cycle().take(200).collect();
    let together = encoder.embed(&many).unwrap();
    for at in 0..many.len() {
        assert_eq!(together.row(at), alone[at % texts.len()], "text {at}");
    }
}
