//! Decoders as learners: `sprat-model` goes forward and backward, this file brings the data.

use crate::batches;
use crate::codes::RECIPE;
use crate::decoder_run::DecoderJob;
use crate::learner::{Learner, Measure, Parameter};
use crate::recipe::Recipe;
use serde::{Deserialize, Serialize};
use sprat_model::decoder::{
    Decoder, DecoderAdapter, DecoderConfig, DecoderGradients, DecoderLearner, DecoderTuning,
    Projection, TokenBatch, TokenExample, TokenSum,
};
use sprat_model::files::Gguf;
use sprat_model::{Format, LoraSettings, Named, Noise};
use sprat_task::settings::{Method, Precision};
use sprat_task::{Error, Result};
use std::path::Path;

/// Tokens that go forward and backward at once: beyond it a batch is taken in parts. The cut
/// decides in which order sums are taken, so it does not depend on how much memory there is.
const PART_TOKENS: usize = 2048;

/// What validation measures on the tokens of answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenMetrics {
    /// Mean of `−ln p` over all tokens of the answers, in nats. By it checkpoints and trials are
    /// compared.
    pub loss: f64,
    /// Share of the tokens that had the highest probability, given the right ones before them.
    pub accuracy: f64,
    /// How many tokens that was.
    pub tokens: usize,
}

impl TokenMetrics {
    fn of(sum: TokenSum) -> Self {
        let tokens = sum.tokens.max(1) as f64;
        let accuracy = sum.hits as f64 / tokens;
        TokenMetrics { loss: sum.loss / tokens, accuracy, tokens: sum.tokens }
    }
}

impl Measure for TokenMetrics {
    fn score(&self) -> f64 {
        self.loss
    }

    fn loss(&self) -> f64 {
        self.loss
    }

    fn shown(&self) -> (&'static str, f64) {
        ("loss", self.loss)
    }
}

/// A decoder in training with its data.
pub(crate) struct TunedDecoder<'a> {
    model: DecoderLearner,
    gradients: DecoderGradients,
    names: Vec<Named>,
    train: &'a [TokenExample],
    valid: &'a [TokenExample],
    lengths: Vec<usize>,
    noise: Noise,
}

/// Opens the base of a job: a folder in the recipe's precision, or a GGUF file in its own formats.
pub(crate) fn open(job: &DecoderJob<'_>, recipe: &Recipe) -> Result<Decoder> {
    if job.base.is_dir() {
        let frozen = recipe.method == Method::Lora && recipe.precision == Precision::Bf16;
        let format = if frozen { Format::Bf16 } else { Format::F32 };
        return Decoder::open(job.base, format, job.context);
    }
    if recipe.method == Method::Full {
        let what =
            "all weights of a GGUF file can't be trained: there is no layout to write them in";
        return Err(Error::new(&RECIPE, what)
            .file(job.base)
            .field("tune.method")
            .help("Set it to `lora`, or start from a folder of safetensors."));
    }
    Decoder::open_gguf(&Gguf::open(job.base)?, job.context)
}

impl<'a> TunedDecoder<'a> {
    /// The model that the recipe asks for.
    pub(crate) fn new(job: &DecoderJob<'a>, recipe: &Recipe, decoder: Decoder) -> Result<Self> {
        let tuning = tuning(recipe, decoder.config())?;
        let lora = if recipe.method == Method::Lora { recipe.dropout as f32 } else { 0.0 };
        let noise = Noise { seed: recipe.seed, step: 0, hidden: 0.0, attention: 0.0, lora };
        let mut model = DecoderLearner::new(decoder, tuning, recipe.seed)?;
        model.set_memory(job.memory);
        Ok(TunedDecoder {
            gradients: model.zero_gradients(),
            names: model.parameters(),
            model,
            train: job.train,
            valid: job.valid,
            lengths: job.train.iter().map(TokenExample::read).collect(),
            noise,
        })
    }

    /// The training examples' lengths in tokens.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.lengths.clone()
    }

    /// How many numbers are trained, and how many there are.
    pub(crate) fn parameters_count(&self) -> (u64, u64) {
        let (trained, all) = self.model.trained_of();
        (trained as u64, all as u64)
    }

    /// Writes what was trained, then opens it as serving does and measures it on the validation
    /// part: what is measured is what will be served.
    pub(crate) fn finish(
        self,
        job: &DecoderJob<'_>,
        recipe: &Recipe,
        folder: &Path,
    ) -> Result<TokenMetrics> {
        self.model.save(folder, job.base, job.base_model)?;
        let TunedDecoder { model, gradients, .. } = self;
        drop((model, gradients));
        let (decoder, adapter) = match recipe.method {
            Method::Lora => {
                let decoder = open(job, recipe)?;
                let adapter = DecoderAdapter::open(folder, decoder.config())?;
                (decoder, Some(adapter))
            }
            _ => (Decoder::open(folder, Format::F32, job.context)?, None),
        };
        Ok(TokenMetrics::of(decoder.measure(job.valid, adapter.as_ref(), PART_TOKENS)))
    }
}

/// Refuses what is set for classifiers: it would change nothing here, silently.
fn only_for_classifiers(recipe: &Recipe) -> Result<()> {
    let usual = Recipe::default();
    let smoothed = recipe.label_smoothing != 0.0 && recipe.label_smoothing != usual.label_smoothing;
    for (set, field) in [
        (recipe.head_rate != usual.head_rate, "tune.head_rate"),
        (recipe.class_weights != usual.class_weights, "tune.class_weights"),
        (smoothed, "tune.label_smoothing"),
    ] {
        if set {
            let what =
                "a decoder is trained on its answers' tokens: it has neither classes nor a head";
            return Err(Error::new(&RECIPE, what).field(field).help("Take the setting away."));
        }
    }
    Ok(())
}

fn tuning(recipe: &Recipe, config: &DecoderConfig) -> Result<DecoderTuning> {
    only_for_classifiers(recipe)?;
    match recipe.method {
        Method::Head => Err(Error::new(&RECIPE, "a decoder has no head to be trained alone")
            .field("tune.method")
            .help("Set it to `lora` or `full`.")),
        Method::Full => Ok(DecoderTuning::Full),
        Method::Lora => Ok(DecoderTuning::Lora(LoraSettings {
            rank: recipe.rank,
            alpha: recipe.alpha as f32,
            dropout: recipe.dropout as f32,
            targets: targets(&recipe.targets, config)?,
            first_layer: 0,
        })),
    }
}

fn targets(names: &[String], config: &DecoderConfig) -> Result<Vec<Projection>> {
    let all = Projection::all(config);
    if names.iter().any(|name| name == "all") {
        return Ok(all.to_vec());
    }
    let part = |name: &String| {
        Projection::by_name(name, config).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|part| part.name()).collect();
            Error::new(&RECIPE, format!("`{name}` is no layer that can get an adapter"))
                .field("tune.targets")
                .help(format!("Name some of {}, or `all`.", known.join(", ")))
        })
    };
    names.iter().map(part).collect()
}

impl Learner for TunedDecoder<'_> {
    type Measure = TokenMetrics;

    fn gradients(&mut self, rows: &[usize], step: u64) -> Result<f64> {
        let counted: usize = rows.iter().map(|&row| self.train[row].counted()).sum();
        let weight = 1.0 / counted.max(1) as f32;
        let mut sum = TokenSum::default();
        for (at, part) in batches::parts(rows, &self.lengths, PART_TOKENS).into_iter().enumerate() {
            let batch = TokenBatch::new(part.iter().map(|&row| &self.train[row]));
            let noise = Noise { step: step << 16 | at as u64, ..self.noise };
            let found = self.model.accumulate(&batch, Some(&noise), weight, &mut self.gradients);
            sum.add(found);
        }
        Ok(TokenMetrics::of(sum).loss)
    }

    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter<'_>)) {
        let values = self.model.parameters_mut().into_iter();
        let gradients = self.gradients.slices_mut();
        for ((named, value), gradient) in self.names.iter().zip(values).zip(gradients) {
            let Named { name, decay, .. } = named;
            visit(Parameter { name, value, gradient, decays: *decay, rate: 1.0 });
        }
    }

    fn updated(&mut self) {
        self.model.refresh();
    }

    fn validate(&mut self) -> Result<TokenMetrics> {
        let lengths: Vec<usize> = self.valid.iter().map(TokenExample::read).collect();
        let mut sum = TokenSum::default();
        for group in sprat_model::by_length(&lengths, PART_TOKENS) {
            let batch = TokenBatch::new(group.iter().map(|&row| &self.valid[row]));
            sum.add(self.model.measure(&batch));
        }
        Ok(TokenMetrics::of(sum))
    }
}
