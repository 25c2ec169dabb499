//! An adapter merged into a GGUF file computes what it computes beside the file.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the shared modules"
)]

mod formula;
mod shared;
mod tiny_decoder;

use sprat_model::decoder::{Decoder, DecoderAdapter, TokenExample, merge_gguf};
use sprat_model::files::Gguf;
use sprat_nn::BlockFormat;
use std::path::Path;

fn open(path: &Path) -> Decoder {
    Decoder::open_gguf(&Gguf::open(path).unwrap(), None).unwrap()
}

#[test]
fn merged_and_beside_have_the_same_losses() {
    let Some(folder) = shared::data().map(|data| data.join("models/aidreams260K")) else { return };
    let base = folder.join("aidreams260K-f32.gguf");
    let plain = open(&base);
    let made = tiny_decoder::adapter(plain.config(), 3, "x");
    let files = tempfile::tempdir().unwrap();
    made.write(files.path(), plain.config()).unwrap();
    let packed = DecoderAdapter::new(&made, plain.config());
    let ids: Vec<u32> = (1..60).map(|at| at * 7 % 500 + 3).collect();
    let text = [TokenExample { answer: 1..ids.len(), ids }];
    let loss = |decoder: &Decoder, adapter: Option<&DecoderAdapter>| {
        let sum = decoder.measure(&text, adapter, 512);
        sum.loss / sum.tokens as f64
    };
    let (alone, beside) = (loss(&plain, None), loss(&plain, Some(&packed)));
    assert!((alone - beside).abs() > 1e-2, "the adapter does something: {alone}, {beside}");
    let merged = |format, name: &str| {
        let path = files.path().join(name);
        let bytes = merge_gguf(&base, Some(files.path()), format, &path).unwrap();
        assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        (loss(&open(&path), None), bytes)
    };
    let (same, whole) = merged(None, "same.gguf");
    assert!((same - beside).abs() < 1e-4, "{same} merged, {beside} beside");
    let (smaller, bytes) = merged(Some(BlockFormat::Q8_0), "q8_0.gguf");
    assert!((smaller - beside).abs() < 5e-2, "{smaller} in blocks, {beside} beside");
    assert!(bytes * 2 < whole, "{bytes} of {whole} bytes");
}
