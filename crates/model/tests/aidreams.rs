//! A small trained model against its golden file: float64 logits, losses and greedy tokens.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the shared module"
)]

mod shared;

use serde_json::Value;
use sprat_model::Format;
use sprat_model::decoder::{Decoder, Step};
use sprat_model::files::Gguf;
use sprat_nn::{Mat, Span};

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The logits after each token of a fresh sequence, and `more` tokens chosen greedily.
fn run(decoder: &Decoder, ids: &[u32], more: usize) -> (Mat, Vec<u32>) {
    let mut cache = decoder.cache(4);
    let pages = [3, 1, 0, 2];
    let wanted: Vec<usize> = (0..ids.len()).collect();
    let spans = [Span { rows: 0..ids.len(), position: 0, pages: &pages }];
    let logits = decoder
        .forward(&Step { ids, spans: &spans, wanted: &wanted, ..Step::default() }, &mut cache);
    let greedy =
        |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32;
    let mut chosen = vec![greedy(logits.row(ids.len() - 1))];
    while chosen.len() < more {
        let position = ids.len() + chosen.len() - 1;
        let spans = [Span { rows: 0..1, position, pages: &pages }];
        let last = [chosen[chosen.len() - 1]];
        let step = Step { ids: &last, spans: &spans, wanted: &[0], ..Step::default() };
        chosen.push(greedy(decoder.forward(&step, &mut cache).row(0)));
    }
    (logits, chosen)
}

/// The mean loss of the tokens after the first.
fn loss(logits: &Mat, ids: &[u32]) -> f64 {
    let losses = ids[1..].iter().enumerate().map(|(at, id)| {
        let row = logits.row(at);
        let total: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        total.ln() - f64::from(row[*id as usize])
    });
    losses.sum::<f64>() / (ids.len() - 1) as f64
}

#[test]
fn every_file_of_the_model_agrees_with_float64() {
    let Some(folder) = shared::data().map(|data| data.join("models/aidreams260K")) else { return };
    let golden = std::fs::read_to_string(folder.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let gguf = |name: &str| {
        let file = Gguf::open(&folder.join(format!("aidreams260K-{name}.gguf"))).unwrap();
        Decoder::open_gguf(&file, None).unwrap()
    };
    let from_folder = Decoder::open(&folder.join("hf"), Format::F32, None).unwrap();
    // Of the difference, as far as the number formats allow.
    for (name, decoder, tolerance, exact) in [
        ("safetensors", from_folder, 2e-5, true),
        ("f32", gguf("f32"), 2e-5, true),
        ("f16", gguf("f16"), 0.06, false),
        ("q8_0", gguf("q8_0"), 0.2, false),
    ] {
        // Its makers count 2,048 sines and cosines of a table too; the GGUF files keep the output,
        // which is the token table, a second time.
        let again = if decoder.config().tied { 0 } else { 512 * 64 };
        assert_eq!(decoder.config().parameters(), 233_024 - 2_048 + again, "{name}");
        for case in golden["cases"].as_array().unwrap() {
            let ids = ids(&case["ids"]);
            let (logits, greedy) = run(&decoder, &ids, 32);
            let want = case["last_logits"].as_array().unwrap();
            let last = logits.row(ids.len() - 1);
            for (ours, theirs) in last.iter().zip(want) {
                let error = (f64::from(*ours) - theirs.as_f64().unwrap()).abs();
                assert!(error < tolerance, "{name}, {}: off by {error}", case["text"]);
            }
            if exact {
                assert_eq!(greedy, self::ids(&case["greedy32_ids"]), "{name}, {}", case["text"]);
                if let Some(want) = case["mean_nll"].as_f64() {
                    assert!((loss(&logits, &ids) - want).abs() < 1e-5, "{name}");
                }
            }
        }
    }
}
