//! Block formats against the `gguf` Python package: `golden/blocks.json` says how it was made.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use sprat_nn::BlockFormat;
use std::path::Path;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/blocks.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(hexadecimal: &Value) -> Vec<u8> {
    let text = hexadecimal.as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn numbers(hexadecimal: &Value) -> Vec<f32> {
    let bytes = bytes(hexadecimal);
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn every_format_restores_the_same_bits() {
    let golden = golden();
    for format in BlockFormat::ALL {
        let entry = &golden["read"][format.name()];
        let (stored, theirs) = (bytes(&entry["bytes"]), numbers(&entry["numbers"]));
        assert!(theirs.len() >= 32 && theirs.len().is_multiple_of(format.elements()), "{format}");
        let mut ours = vec![0.0; theirs.len()];
        format.dequantize(&stored, &mut ours);
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours.to_bits(), theirs.to_bits(), "{format}[{at}]: {ours} is not {theirs}");
        }
    }
}

#[test]
fn every_format_that_the_package_writes_is_stored_in_the_same_bytes() {
    let golden = golden();
    let written = &golden["written"];
    let numbers = numbers(&written["numbers"]);
    let formats = written["bytes"].as_object().unwrap();
    assert_eq!(formats.len(), 7);
    for (name, theirs) in formats {
        let format = BlockFormat::by_name(name).unwrap();
        let theirs = bytes(theirs);
        let mut ours = vec![0; theirs.len()];
        format.quantize_rows(32, &numbers, None, &mut ours);
        let blocks = ours.chunks(format.bytes()).zip(theirs.chunks(format.bytes()));
        for (at, (ours, theirs)) in blocks.enumerate() {
            assert_eq!(ours, theirs, "{format}, block {at}");
        }
    }
}
