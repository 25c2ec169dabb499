//! Training of decoders: gradients of every family against differences of the loss, and the same
//! bits whatever the threads and the memory.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the shared modules"
)]

mod formula;
mod shared;
mod tiny_decoder;

use rand::Rng;
use sprat_model::decoder::{
    Decoder, DecoderAdapter, DecoderGradients, DecoderLearner, DecoderTuning, Memory, Projection,
    Step, TokenBatch, TokenExample,
};
use sprat_model::files::Gguf;
use sprat_model::{BaseModel, Format, LoraSettings, Noise};
use sprat_nn::{AdamW, AdamWState, PAGE, Span, threads, token_losses};
use sprat_task::random::stream;
use std::path::Path;
use tiny_decoder::{golden, write, write_random};

fn examples() -> Vec<TokenExample> {
    vec![
        TokenExample { ids: vec![1, 5, 6, 7, 8, 19, 3, 4, 11, 2], answer: 4..10 },
        TokenExample { ids: vec![1, 9, 2], answer: 1..3 },
        TokenExample { ids: vec![12, 13, 14, 15, 2, 7, 7], answer: 3..5 },
    ]
}

fn lora(decoder: &Decoder, targets: Option<&[Projection]>, first_layer: usize) -> DecoderTuning {
    let targets = targets.unwrap_or(Projection::all(decoder.config())).to_vec();
    DecoderTuning::Lora(LoraSettings { rank: 2, alpha: 4.0, dropout: 0.0, targets, first_layer })
}

/// A learner away from its beginning, so that no gradient is zero only because `B` is.
fn away(decoder: Decoder, tuning: DecoderTuning) -> DecoderLearner {
    let mut learner = DecoderLearner::new(decoder, tuning, 5).unwrap();
    let mut random = stream(9, "away");
    for values in learner.parameters_mut() {
        values.iter_mut().for_each(|v| *v += 0.2 * (random.random::<f32>() - 0.5));
    }
    learner.refresh();
    learner
}

fn gradients(learner: &DecoderLearner, noise: Option<&Noise>) -> (f64, DecoderGradients) {
    let mut gradients = learner.zero_gradients();
    let batch = TokenBatch::new(&examples());
    let weight = 1.0 / batch.counted() as f32;
    let sum = learner.accumulate(&batch, noise, weight, &mut gradients);
    (sum.loss / sum.tokens as f64, gradients)
}

/// As the test of the same name for encoders.
fn agrees_with_differences(what: &str, mut learner: DecoderLearner, noise: Option<&Noise>) {
    let (_, analytic) = gradients(&learner, noise);
    let names = learner.parameters();
    assert_eq!(names.len(), analytic.slices().len());
    let mut random = stream(3, "directions");
    let mut seen = 0;
    for (at, named) in names.iter().enumerate() {
        let gradient = analytic.slices()[at].to_vec();
        assert_eq!(gradient.len(), named.shape.iter().product::<usize>(), "{}", named.name);
        let size = gradient.iter().map(|g| g * g).sum::<f32>().sqrt().max(1e-12);
        let spread = 3.0 / (gradient.len() as f32).sqrt();
        let direction: Vec<f32> =
            gradient.iter().map(|g| g / size + spread * (random.random::<f32>() - 0.5)).collect();
        let norm = direction.iter().map(|d| d * d).sum::<f32>().sqrt();
        let expected: f64 =
            gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d / norm)).sum();
        let mut moved = |by: f32| {
            let change = |learner: &mut DecoderLearner, by: f32| {
                let values = &mut learner.parameters_mut()[at];
                values.iter_mut().zip(&direction).for_each(|(v, d)| *v += by * d / norm);
                learner.refresh();
            };
            change(&mut learner, by);
            let loss = gradients(&learner, noise).0;
            change(&mut learner, -by);
            loss
        };
        // Five points, and short steps where it is steep: the tiny models bend sharply.
        let step = (0.008 / expected.abs() as f32).min(1.0 / 64.0);
        let numeric = (8.0 * (moved(step) - moved(-step)) - moved(2.0 * step) + moved(-2.0 * step))
            / f64::from(12.0 * step);
        assert!(
            (numeric - expected).abs() < 5e-4 + 0.01 * expected.abs(),
            "{what}, {}: {numeric} by differences, {expected} by backward",
            named.name
        );
        seen += usize::from(expected.abs() > 2e-3);
    }
    assert!(seen * 2 > names.len(), "{what}: gradients should be above the noise: {seen}");
}

/// Every family with random weights: those from the formula have few directions, along which
/// losses bend too sharply for differences.
fn each_family(check: impl Fn(&str, &Path)) {
    for (name, family) in golden()["families"].as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        write_random(family, folder.path());
        check(name, folder.path());
    }
}

fn open(folder: &Path) -> Decoder {
    Decoder::open(folder, Format::F32, Some(32)).unwrap()
}

#[test]
fn adapters_of_every_family_have_the_gradients_of_their_loss() {
    each_family(|name, folder| {
        let tuning = lora(&open(folder), None, 0);
        agrees_with_differences(name, away(open(folder), tuning), None);
    });
}

#[test]
fn all_weights_of_every_family_have_the_gradients_of_their_loss() {
    each_family(|name, folder| {
        let learner = away(open(folder), DecoderTuning::Full);
        let (trained, all) = learner.trained_of();
        assert_eq!((trained, all), (learner.decoder().config().parameters(), trained), "{name}");
        agrees_with_differences(name, learner, None);
    });
}

#[test]
fn adapters_on_some_products_of_the_upper_layers_under_dropout() {
    let folder = tempfile::tempdir().unwrap();
    write_random(&golden()["families"]["gemma3"], folder.path());
    let noise = Noise { seed: 1, step: 7, hidden: 0.0, attention: 0.0, lora: 0.2 };
    for targets in [&[Projection::Query, Projection::Value][..], &[Projection::Down]] {
        let tuning = lora(&open(folder.path()), Some(targets), 3);
        let learner = away(open(folder.path()), tuning);
        assert_eq!(learner.parameters().len(), 2 * 3 * targets.len());
        assert_ne!(gradients(&learner, None).0, gradients(&learner, Some(&noise)).0);
        agrees_with_differences("gemma3", learner, Some(&noise));
    }
}

#[test]
fn neither_threads_nor_memory_change_a_bit() {
    let noise = Noise { seed: 1, step: 7, hidden: 0.0, attention: 0.0, lora: 0.2 };
    each_family(|name, folder| {
        for tuning in [lora(&open(folder), None, 0), DecoderTuning::Full] {
            let mut learner = away(open(folder), tuning);
            threads::set_threads(1);
            let (loss, want) = gradients(&learner, Some(&noise));
            threads::set_threads(2);
            for memory in [Memory::Normal, Memory::Low] {
                learner.set_memory(memory);
                let (found, got) = gradients(&learner, Some(&noise));
                assert_eq!(found, loss, "{name}");
                assert!(got.slices() == want.slices(), "{name}, {memory:?}");
            }
        }
    });
}

#[test]
fn what_earlier_passes_leave_in_memory_changes_no_bit() {
    each_family(|name, folder| {
        for memory in [Memory::Normal, Memory::Low] {
            let mut learner = away(open(folder), lora(&open(folder), None, 1));
            learner.set_memory(memory);
            let want = gradients(&learner, None);
            let short = TokenBatch::new(&examples()[1..2]);
            learner.accumulate(&short, None, 1.0, &mut learner.zero_gradients());
            learner.measure(&short);
            let again = gradients(&learner, None);
            assert_eq!(again.0, want.0, "{name}");
            assert!(again.1.slices() == want.1.slices(), "{name}, {memory:?}");
        }
    });
}

/// The mean loss as inference computes it, the adapter beside the weights.
fn served(decoder: &Decoder, adapter: Option<&DecoderAdapter>) -> f64 {
    let (mut loss, mut tokens) = (0.0, 0);
    for TokenExample { ids, answer } in examples() {
        let wanted: Vec<usize> = (answer.start - 1..answer.end - 1).collect();
        let spans = [Span { rows: 0..answer.end - 1, position: 0, pages: &[0] }];
        assert!(ids.len() <= PAGE);
        let ids_read = &ids[..answer.end - 1];
        let step = Step {
            ids: ids_read,
            spans: &spans,
            wanted: &wanted,
            adapters: &[adapter],
            ..Step::default()
        };
        let mut logits = decoder.forward(&step, &mut decoder.cache(1));
        for token in token_losses(&mut logits, &ids[answer]) {
            loss += token.loss;
            tokens += 1;
        }
    }
    loss / f64::from(tokens)
}

#[test]
fn what_is_trained_is_what_is_served_and_saved() {
    let base_model = BaseModel { reference: "file:tiny".into(), digest: "d1".into() };
    each_family(|name, folder| {
        let batch = TokenBatch::new(&examples());
        for tuning in [lora(&open(folder), None, 0), DecoderTuning::Full] {
            let learner = away(open(folder), tuning);
            let sum = learner.measure(&batch);
            assert_eq!((sum.tokens, batch.tokens()), (10, 15));
            let measured = sum.loss / 10.0;
            let trained = gradients(&learner, None).0;
            assert!((measured - trained).abs() < 1e-9, "{name}: {measured} and {trained}");
            let out = tempfile::tempdir().unwrap();
            learner.save(out.path(), folder, &base_model).unwrap();
            let loss = match learner.tuning() {
                DecoderTuning::Full => served(&open(out.path()), None),
                DecoderTuning::Lora(_) => {
                    let decoder = open(folder);
                    let adapter = DecoderAdapter::open(out.path(), decoder.config()).unwrap();
                    assert_eq!(adapter.digest(), "d1");
                    served(&decoder, Some(&adapter))
                }
            };
            assert!((loss - measured).abs() < 2e-5, "{name}: {loss} served, {measured} measured");
        }
    });
}

#[test]
fn settings_that_fit_no_adapter_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(&golden()["families"]["phi3"], folder.path());
    let settings = |rank, targets: &[Projection], first_layer| {
        let targets = targets.to_vec();
        let tuning = LoraSettings { rank, alpha: 1.0, dropout: 0.0, targets, first_layer };
        DecoderLearner::new(open(folder.path()), DecoderTuning::Lora(tuning), 1).unwrap_err()
    };
    let fields = [
        (settings(0, &[Projection::Down], 0), "rank"),
        (settings(2, &[], 0), "targets"),
        (settings(2, &[Projection::Query], 0), "targets"),
        (settings(2, &[Projection::Down], 2), "first_layer"),
    ];
    for (error, field) in fields {
        assert_eq!(error.code().id, "SPRAT-MODEL-ADAPTER");
        assert_eq!(error.place().field.as_deref(), Some(field));
    }
    let bf16 = Decoder::open(folder.path(), Format::Bf16, None).unwrap();
    let error = DecoderLearner::new(bf16, DecoderTuning::Full, 1).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-CONFIG");
}

/// Sequences that a small trained model does not expect: runs of rising ids.
fn rising(count: usize) -> Vec<TokenExample> {
    let one = |at: usize| {
        let start = 300 + (at * 37 % 150) as u32;
        TokenExample { ids: (0..24).map(|i| start + i).collect(), answer: 4..24 }
    };
    (0..count).map(one).collect()
}

/// Losses over the steps of AdamW on one batch.
fn train(learner: &mut DecoderLearner, steps: usize) -> Vec<f64> {
    let batch = TokenBatch::new(&rising(16));
    let weight = 1.0 / batch.counted() as f32;
    let mut gradients = learner.zero_gradients();
    let lengths: Vec<usize> = gradients.slices().iter().map(|slice| slice.len()).collect();
    let decay: Vec<bool> = learner.parameters().iter().map(|named| named.decay).collect();
    let mut state = AdamWState::new(&lengths);
    let step = |_| {
        gradients.clear();
        let sum = learner.accumulate(&batch, None, weight, &mut gradients);
        let mut values = learner.parameters_mut();
        AdamW::default().step(0.01, &mut values, &gradients.slices(), &decay, &mut state);
        learner.refresh();
        sum.loss / sum.tokens as f64
    };
    (0..steps).map(step).collect()
}

#[test]
fn the_loss_of_a_small_trained_model_falls_in_every_format() {
    let Some(shared) = shared::data() else { return };
    let folder = shared.join("models/aidreams260K");
    let gguf = |name: &str| {
        let file = Gguf::open(&folder.join(format!("aidreams260K-{name}.gguf"))).unwrap();
        Decoder::open_gguf(&file, None).unwrap()
    };
    let hf = |format| Decoder::open(&folder.join("hf"), format, None).unwrap();
    let mut first = Vec::new();
    for (name, decoder) in [
        ("f32", hf(Format::F32)),
        ("bf16", hf(Format::Bf16)),
        ("q8_0", gguf("q8_0")),
        ("f16", gguf("f16")),
    ] {
        let tuning = lora(&decoder, None, 0);
        let mut learner = DecoderLearner::new(decoder, tuning, 1).unwrap();
        let losses = train(&mut learner, 12);
        println!("{name}: {losses:.3?}");
        assert!(losses[11] < 0.7 * losses[0], "{name}: {losses:?}");
        first.push(losses[0]);
    }
    assert!(first.iter().all(|loss| (loss - first[0]).abs() < 0.05), "{first:?}");
    let mut full = DecoderLearner::new(hf(Format::F32), DecoderTuning::Full, 1).unwrap();
    let losses = train(&mut full, 12);
    assert!(losses[11] < 0.5 * losses[0], "{losses:?}");
}
