//! Times training steps of LoRA on a decoder: seconds a step and the highest resident memory.
//!
//!     cargo run --release -p sprat-model --example decoder_training -- \
//!         FOLDER f32|bf16|q8_0|q4_0 EXAMPLES TOKENS [low]
//!
//! Every example has TOKENS random tokens, of which the last quarter carries loss.

use rand::Rng;
use sprat_model::decoder::{
    Decoder, DecoderLearner, DecoderTuning, Memory, Projection, TokenBatch, TokenExample,
};
use sprat_model::{BlockFormat, Format, LoraSettings};
use sprat_nn::{AdamW, AdamWState};
use sprat_task::random::stream;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Tokens that go forward and backward at once, as in runs.
const PART: usize = 2048;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, format, examples, tokens, rest @ ..] = &arguments[..] else {
        return Err("usage: decoder_training FOLDER FORMAT EXAMPLES TOKENS [low]".into());
    };
    let format = match format.as_str() {
        "f32" => Format::F32,
        "bf16" => Format::Bf16,
        "q8_0" => Format::Blocks(BlockFormat::Q8_0),
        _ => Format::Blocks(BlockFormat::Q4_0),
    };
    let (examples, tokens): (usize, usize) = (examples.parse()?, tokens.parse()?);
    let decoder = Decoder::open(Path::new(folder), format, None)?;
    let config = decoder.config().clone();
    let mut random = stream(1, "tokens");
    let mut id = || random.random_range(0..config.vocabulary as u32);
    let examples: Vec<TokenExample> = (0..examples)
        .map(|_| TokenExample {
            ids: (0..tokens).map(|_| id()).collect(),
            answer: tokens * 3 / 4..tokens,
        })
        .collect();
    println!("weights {:.0} MB", decoder.bytes() as f64 / 1e6);
    let targets = Projection::all(&config).to_vec();
    let lora = LoraSettings { rank: 16, alpha: 32.0, dropout: 0.0, targets, first_layer: 0 };
    let mut learner = DecoderLearner::new(decoder, DecoderTuning::Lora(lora), 1)?;
    if !rest.is_empty() {
        learner.set_memory(Memory::Low);
    }
    let mut gradients = learner.zero_gradients();
    let lengths: Vec<usize> = gradients.slices().iter().map(|slice| slice.len()).collect();
    let mut state = AdamWState::new(&lengths);
    let weight = 1.0 / examples.iter().map(TokenExample::counted).sum::<usize>() as f32;
    for step in 0..4 {
        let began = Instant::now();
        gradients.clear();
        let mut loss = 0.0;
        for part in examples.chunks((PART / tokens).max(1)) {
            loss += learner.accumulate(&TokenBatch::new(part), None, weight, &mut gradients).loss;
        }
        let decay = vec![true; lengths.len()];
        let mut values = learner.parameters_mut();
        AdamW::default().step(1e-3, &mut values, &gradients.slices(), &decay, &mut state);
        let seconds = began.elapsed().as_secs_f64();
        println!("step {step}: loss {:.4}, {seconds:.2} s", loss * f64::from(weight));
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
    Ok(())
}
