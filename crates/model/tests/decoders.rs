//! Every decoder family against transformers, on tiny decoders whose weights come from a formula:
//! `golden/decoders.json` says how it was made.

#![allow(clippy::unwrap_used, dead_code, reason = "helpers of tests, shared by several")]

mod formula;
mod tiny_decoder;

use serde_json::Value;
use sprat_model::Format;
use sprat_model::decoder::{Decoder, Step, StepMemory};
use sprat_nn::{Mat, PAGE, Span, threads};
use tiny_decoder::{golden, write};

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn ids(golden: &Value) -> Vec<u32> {
    numbers(&golden["ids"]).into_iter().map(|id| id as u32).collect()
}

fn open(family: &Value, format: Format) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    write(family, folder.path());
    Decoder::open(folder.path(), format, Some(32)).unwrap()
}

/// The logits after every token of a sequence, read in chunks.
fn logits(decoder: &Decoder, ids: &[u32], chunks: &[usize]) -> Mat {
    let mut cache = decoder.cache(3);
    let pages = [2, 0, 1];
    let (mut data, mut from) = (Vec::new(), 0);
    for &chunk in chunks {
        let spans = [Span { rows: 0..chunk, position: from, pages: &pages }];
        let wanted: Vec<usize> = (0..chunk).collect();
        let step = Step {
            ids: &ids[from..from + chunk],
            spans: &spans,
            wanted: &wanted,
            ..Step::default()
        };
        data.extend_from_slice(&decoder.forward(&step, &mut cache).data);
        from += chunk;
    }
    Mat::new(from, data.len() / from, data)
}

#[test]
fn logits_agree_with_transformers() {
    let golden = golden();
    let ids = ids(&golden);
    for (name, family) in golden["families"].as_object().unwrap() {
        let decoder = open(family, Format::F32);
        let tensors = family["tensors"].as_object().unwrap().values();
        let size = |shape: &Value| numbers(shape).iter().product::<f32>() as usize;
        assert_eq!(decoder.config().parameters(), tensors.map(size).sum::<usize>(), "{name}");
        let got = logits(&decoder, &ids, &[ids.len()]);
        for (at, want) in family["logits"].as_object().unwrap() {
            let row = got.row(at.parse().unwrap());
            for (ours, theirs) in row.iter().zip(numbers(want)) {
                assert!((ours - theirs).abs() < 5e-5, "{name}, token {at}: {ours} and {theirs}");
            }
        }
    }
}

#[test]
fn neither_chunks_nor_company_nor_threads_change_a_bit() {
    let golden = golden();
    let ids = ids(&golden);
    for (name, family) in golden["families"].as_object().unwrap() {
        let decoder = open(family, Format::F32);
        threads::set_threads(1);
        let whole = logits(&decoder, &ids, &[ids.len()]);
        threads::set_threads(3);
        assert_eq!(logits(&decoder, &ids, &[5, 1, 1, 6]), whole, "{name}");
        // Beside another sequence, which is further on.
        let mut cache = decoder.cache(3);
        let other: Vec<u32> = (0..10).map(|i| i % 20).collect();
        let first = [Span { rows: 0..10, position: 0, pages: &[1] }];
        let step = Step { ids: &other, spans: &first, wanted: &[], ..Step::default() };
        decoder.forward(&step, &mut cache);
        let together: Vec<u32> = [3].into_iter().chain(ids.iter().copied()).collect();
        let spans = [
            Span { rows: 0..1, position: 10, pages: &[1] },
            Span { rows: 1..1 + ids.len(), position: 0, pages: &[0] },
        ];
        let wanted: Vec<usize> = (1..1 + ids.len()).collect();
        let step = Step { ids: &together, spans: &spans, wanted: &wanted, ..Step::default() };
        assert_eq!(decoder.forward(&step, &mut cache), whole, "{name}");
    }
}

/// `[a b] [c d | e f [g | h]]`: what stands before a fork is read once, and each way on from it
/// gets the logits, bit for bit, that it would get as a text of its own.
#[test]
fn a_text_that_forks_is_read_once() {
    let ids = [7, 3, 11, 5, 2, 13, 1, 17];
    let ways: [&[usize]; 3] = [&[0, 1, 2, 3], &[0, 1, 4, 5, 6], &[0, 1, 4, 5, 7]];
    let golden = golden();
    for (name, family) in golden["families"].as_object().unwrap() {
        let decoder = open(family, Format::F32);
        let mut cache = decoder.cache(3);
        let span = |rows, position, pages| Span { rows, position, pages };
        let spans = [span(0..4, 0, &[0]), span(4..7, 2, &[1]), span(7..8, 4, &[2])];
        let kept = [
            span(0..4, 0, &[0]),
            span(0..2, 0, &[1]),
            span(4..7, 2, &[1]),
            span(0..2, 0, &[2]),
            span(4..6, 2, &[2]),
            span(7..8, 4, &[2]),
        ];
        let wanted: Vec<usize> = (0..ids.len()).collect();
        let step = Step { ids: &ids, spans: &spans, kept: &kept, wanted: &wanted, adapters: &[] };
        let tree = decoder.forward(&step, &mut cache);
        for way in ways {
            let text: Vec<u32> = way.iter().map(|&at| ids[at]).collect();
            let alone = logits(&decoder, &text, &[text.len()]);
            for (row, &at) in way.iter().enumerate() {
                assert_eq!(tree.row(at), alone.row(row), "{name}: {way:?}, token {row}");
            }
        }
    }
}

#[test]
fn what_earlier_steps_leave_in_memory_changes_no_bit() {
    let golden = golden();
    let ids = ids(&golden);
    for (name, family) in golden["families"].as_object().unwrap() {
        let decoder = open(family, Format::F32);
        let whole = logits(&decoder, &ids, &[ids.len()]);
        let (mut memory, mut cache) = (StepMemory::default(), decoder.cache(1));
        for count in [ids.len(), 2, ids.len(), 1] {
            let spans = [Span { rows: 0..count, position: 0, pages: &[0] }];
            let wanted: Vec<usize> = (0..count).collect();
            let ids = &ids[..count];
            let step = Step { ids, spans: &spans, wanted: &wanted, ..Step::default() };
            let got = decoder.forward_in(&step, &mut cache, &mut memory);
            assert_eq!(got.data, whole.data[..count * whole.cols], "{name}, {count} tokens");
        }
    }
}

#[test]
fn bf16_stays_near_f32() {
    let golden = golden();
    let ids = ids(&golden);
    let family = &golden["families"]["llama"];
    let exact = logits(&open(family, Format::F32), &ids, &[ids.len()]);
    let near = logits(&open(family, Format::Bf16), &ids, &[ids.len()]);
    let rms = |data: &[f32]| data.iter().map(|x| x * x).sum::<f32>().sqrt();
    let change: Vec<f32> = exact.data.iter().zip(&near.data).map(|(a, b)| a - b).collect();
    let share = rms(&change) / rms(&exact.data);
    assert!(share > 0.0 && share < 0.03, "{share}");
}

#[test]
fn a_page_holds_what_its_bytes_say() {
    let decoder = open(&golden()["families"]["llama"], Format::F32);
    assert_eq!(decoder.cache(3).bytes(), decoder.cache_bytes(3 * PAGE));
    assert_eq!(decoder.cache_bytes(1), decoder.cache_bytes(PAGE));
    assert_eq!(decoder.context(), 32);
}
