//! Trains or applies a decoder's adapter, for comparison with PEFT (`dev/check_peft_decoder.py`).
//!
//!     cargo run -p sprat-model --example decoder_adapter -- train BASE FOLDER < job
//!     cargo run -p sprat-model --example decoder_adapter -- logits BASE ADAPTER < job
//!
//! The job is JSON: `{"examples": [{"ids": […], "answer": {"start": 4, "end": 9}}, …], "steps": 5,
//! "rate": 0.01}`. `train` writes an adapter away from zero to FOLDER/start, makes so many steps
//! of AdamW on all examples, writes FOLDER/end and FOLDER/end.gguf, and prints the losses as a JSON array. `logits`
//! prints those after every token of every example, one JSON array a token.

use serde::Deserialize;
use sprat_model::decoder::{
    Decoder, DecoderAdapter, DecoderLearner, DecoderTuning, Projection, Step, TokenBatch,
    TokenExample, write_gguf_adapter,
};
use sprat_model::{BaseModel, Format, LoraSettings};
use sprat_nn::{AdamW, AdamWState, PAGE, Span};
use std::error::Error;
use std::path::Path;

#[derive(Deserialize)]
struct Job {
    examples: Vec<TokenExample>,
    steps: usize,
    rate: f32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, base, folder] = &arguments[..] else {
        return Err("usage: decoder_adapter train|logits BASE FOLDER < job".into());
    };
    let job: Job = serde_json::from_reader(std::io::stdin())?;
    // Where rotary factors depend on the length, transformers takes those of short sequences.
    let decoder = Decoder::open(Path::new(base), Format::F32, Some(32))?;
    match what.as_str() {
        "train" => train(decoder, base, Path::new(folder), &job),
        _ => logits(&decoder, Path::new(folder), &job),
    }
}

fn train(decoder: Decoder, base: &str, folder: &Path, job: &Job) -> Result<(), Box<dyn Error>> {
    let targets = Projection::all(decoder.config()).to_vec();
    let lora = LoraSettings { rank: 4, alpha: 8.0, dropout: 0.0, targets, first_layer: 0 };
    let mut learner = DecoderLearner::new(decoder, DecoderTuning::Lora(lora), 1)?;
    for (at, values) in learner.parameters_mut().into_iter().enumerate() {
        for (i, value) in values.iter_mut().enumerate() {
            // Away from zero, where half of the gradients are.
            *value += 0.05 * ((i * 7 + at * 3) as f32).sin();
        }
    }
    let base_model = BaseModel { reference: base.to_owned(), digest: "checked".to_owned() };
    learner.save(&folder.join("start"), Path::new(base), &base_model)?;
    let batch = TokenBatch::new(&job.examples);
    let mut gradients = learner.zero_gradients();
    let lengths: Vec<usize> = gradients.slices().iter().map(|slice| slice.len()).collect();
    let mut state = AdamWState::new(&lengths);
    let mut losses = Vec::new();
    for _ in 0..job.steps {
        gradients.clear();
        let weight = 1.0 / batch.counted() as f32;
        let sum = learner.accumulate(&batch, None, weight, &mut gradients);
        losses.push(sum.loss / sum.tokens as f64);
        let decay = vec![true; lengths.len()];
        let mut values = learner.parameters_mut();
        AdamW::default().step(job.rate, &mut values, &gradients.slices(), &decay, &mut state);
        learner.refresh();
    }
    learner.save(&folder.join("end"), Path::new(base), &base_model)?;
    if let Some(adapter) = learner.adapter(&base_model) {
        let config = learner.decoder().config();
        write_gguf_adapter(&adapter, config, &folder.join("end.gguf"))?;
    }
    println!("{}", serde_json::to_string(&losses)?);
    Ok(())
}

fn logits(decoder: &Decoder, folder: &Path, job: &Job) -> Result<(), Box<dyn Error>> {
    let adapter = DecoderAdapter::open(folder, decoder.config())?;
    for TokenExample { ids, .. } in &job.examples {
        let pages: Vec<u32> = (0..ids.len().div_ceil(PAGE) as u32).collect();
        let spans = [Span { rows: 0..ids.len(), position: 0, pages: &pages }];
        let wanted: Vec<usize> = (0..ids.len()).collect();
        let step = Step {
            ids,
            spans: &spans,
            wanted: &wanted,
            adapters: &[Some(&adapter)],
            ..Step::default()
        };
        let logits = decoder.forward(&step, &mut decoder.cache(pages.len()));
        for row in 0..logits.rows {
            println!("{}", serde_json::to_string(logits.row(row))?);
        }
    }
    Ok(())
}
