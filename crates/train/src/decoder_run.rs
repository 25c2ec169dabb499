//! A run from a decoder and examples of tokens to an adapter, or a whole decoder, in a folder.

use crate::codes::DATA;
use crate::decoder::{self, TokenMetrics, TunedDecoder};
use crate::history::Point;
use crate::recipe::{self, Recipe};
use crate::record::record;
use crate::search::Found;
use crate::work::{self, Frame, Prepared, Work};
use crate::{examples, fit, memory};
use serde::{Deserialize, Serialize};
use sprat_model::BaseModel;
use sprat_model::decoder::{Memory, TokenExample};
use sprat_task::settings::Method;
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::path::Path;

/// The version of the record's format.
pub const SCHEMA: &str = "sprat.decoder-run/1";

/// The learning rates where the recipe names none.
fn default_rate(method: Method) -> f64 {
    match method {
        Method::Head | Method::Lora => 2e-4,
        Method::Full => 2e-5,
    }
}

/// What is to be trained, on what, and where.
///
/// Of the recipe's settings `head_rate`, `label_smoothing` and `class_weights` are about
/// classifiers: only their defaults are taken here.
#[derive(Clone, Copy)]
pub struct DecoderJob<'a> {
    /// The base model: a folder in Hugging Face's layout, or a GGUF file, whose blocks LoRA is
    /// trained over.
    pub base: &'a Path,
    /// The base model's reference, and the digest of its files, by which runs tell bases apart.
    pub base_model: &'a BaseModel,
    /// The training part.
    pub train: &'a [TokenExample],
    /// The validation part, which decides when to stop and what to keep.
    pub valid: &'a [TokenExample],
    /// The tokens that end an answer; where none are given, answers may end with any.
    pub ends: &'a [u32],
    /// The longest sequence the model is opened for, in tokens; by default the model's own.
    pub context: Option<usize>,
    /// What is kept between forward and backward; no matter for the result.
    pub memory: Memory,
    /// How to train.
    pub recipe: &'a Recipe,
    /// The run folder; it is made if missing.
    pub folder: &'a Path,
    /// Told how far the work is.
    pub progress: &'a dyn Progress,
    /// Looked at in every step.
    pub interrupt: &'a Interrupt,
}

impl std::fmt::Debug for DecoderJob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("DecoderJob");
        shown.field("base", &self.base).field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What a finished run was, and what came out of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecoderOutcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// The digest of everything that decides the result: recipe, data, base model.
    pub run: Digest,
    /// The recipe with all gaps filled; training it again on the same data gives the same bits.
    pub recipe: Recipe,
    /// The base model, by reference and digest.
    pub base: BaseModel,
    /// The digest of the training examples.
    pub train_data: Digest,
    /// The digest of the validation examples.
    pub valid_data: Digest,
    /// Examples in the training part.
    pub train_examples: usize,
    /// Tokens of the training part that carry loss.
    pub train_tokens: usize,
    /// Examples in the validation part.
    pub valid_examples: usize,
    /// Weights that training changed.
    pub trainable_parameters: u64,
    /// All weights, the adapters' included.
    pub total_parameters: u64,
    /// Optimizer steps done.
    pub steps: u64,
    /// Steps that the recipe foresaw; more than `steps` when patience ran out.
    pub planned_steps: u64,
    /// The step whose weights were kept: the best on the validation part.
    pub best_step: u64,
    /// The validation of what was kept, as it is served.
    pub validation: TokenMetrics,
    /// The validation of the base model, from which the run began.
    pub untuned: TokenMetrics,
    /// The course of the run.
    pub history: Vec<Point<TokenMetrics>>,
    /// Seconds of training, interruptions not counted.
    pub seconds: f64,
    /// The process's highest resident memory at the end of the run, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// The search before the run, if there was one.
    pub search: Option<Found<TokenMetrics>>,
    /// A limit of time ended the run: a trial of a search, which can't be reproduced.
    pub cut: bool,
    /// Things worth knowing, such as a damaged checkpoint that was passed over.
    pub notes: Vec<String>,
}

record!(DecoderOutcome, TokenMetrics, SCHEMA);

impl DecoderOutcome {
    /// The record of the run in a folder, if one has finished there.
    pub fn read(folder: &Path) -> Option<Self> {
        crate::record::read(folder)
    }
}

/// Trains a decoder with the recipe as it is.
///
/// What was trained is left in [`crate::MODEL_FOLDER`] of the run folder, the record beside it: an
/// adapter in the PEFT layout, or after full training a whole model folder. A run that has
/// finished in this folder is not repeated; one that was stopped or killed goes on.
///
/// # Errors
/// `SPRAT-TRAIN-EXAMPLES` for examples that can't be learned from, before anything is computed;
/// otherwise those of [`crate::train`].
pub fn train_decoder(job: &DecoderJob<'_>) -> Result<DecoderOutcome> {
    let recipe = filled(job.recipe);
    let job = DecoderJob { recipe: &recipe, ..*job };
    work::train(&job, &job.frame())
}

/// Trains a decoder; where the recipe has a budget, a search for the learning rate and the rank
/// comes first.
///
/// # Errors
/// Those of [`train_decoder`] and of the search.
pub fn tune_decoder(job: &DecoderJob<'_>) -> Result<DecoderOutcome> {
    let recipe = filled(job.recipe);
    let job = DecoderJob { recipe: &recipe, ..*job };
    work::tune(&job, &job.frame())
}

fn filled(recipe: &Recipe) -> Recipe {
    let rate = recipe.learning_rate.unwrap_or_else(|| default_rate(recipe.method));
    Recipe { learning_rate: Some(rate), ..recipe.clone() }
}

impl DecoderJob<'_> {
    fn frame(&self) -> Frame<'_> {
        let DecoderJob { recipe, folder, progress, .. } = *self;
        Frame { recipe, folder, cache: folder, progress }
    }
}

fn data_digest(examples: &[TokenExample]) -> Digest {
    Digest::of_json(&serde_json::json!({ "examples": examples }))
}

impl Work for DecoderJob<'_> {
    type Measure = TokenMetrics;
    type Record = DecoderOutcome;

    fn check(&self) -> Result<()> {
        for (name, part) in [("training", self.train), ("validation", self.valid)] {
            if part.is_empty() {
                return Err(Error::new(&DATA, format!("the {name} part is empty")));
            }
        }
        Ok(())
    }

    fn digest(&self, recipe: &Recipe) -> Digest {
        Digest::of_json(&serde_json::json!({
            "version": 1,
            "base": self.base_model.digest,
            "train": data_digest(self.train),
            "valid": data_digest(self.valid),
            "context": self.context,
            "recipe": recipe::digest(recipe),
        }))
    }

    fn is_model(&self, folder: &Path) -> bool {
        [sprat_model::ADAPTER_CONFIG, "config.json"].iter().any(|name| folder.join(name).exists())
    }

    fn run(&self, frame: &Frame<'_>, prepared: &Prepared<'_>) -> Result<DecoderOutcome> {
        let recipe = recipe::resolve(frame.recipe);
        let decoder = decoder::open(self, &recipe)?;
        let context = recipe.max_tokens.unwrap_or(usize::MAX).min(decoder.context());
        let vocabulary = decoder.config().vocabulary;
        for (name, part) in [("training", self.train), ("validation", self.valid)] {
            examples::lint(name, part, context, vocabulary, self.ends)?;
        }
        let mut notes = Vec::new();
        let mut tuned = TunedDecoder::new(self, &recipe, decoder)?;
        let lengths = tuned.lengths();
        let plan = fit::Plan {
            recipe: &recipe,
            rate: recipe.learning_rate.unwrap_or_default(),
            lengths: &lengths,
            validated: self.valid.len(),
            checkpoints: prepared.checkpoints,
            progress: self.progress,
            interrupt: self.interrupt,
            seconds: prepared.limits.seconds,
        };
        let fitted = fit::fit(&mut tuned, &plan, &mut notes)?;
        let (trainable_parameters, total_parameters) = tuned.parameters_count();
        let validation = tuned.finish(self, &recipe, prepared.model)?;
        let untuned = fitted.history.first().and_then(|point| point.validation);
        Ok(DecoderOutcome {
            schema: SCHEMA.to_owned(),
            run: prepared.run,
            base: self.base_model.clone(),
            train_data: data_digest(self.train),
            valid_data: data_digest(self.valid),
            train_examples: self.train.len(),
            train_tokens: self.train.iter().map(TokenExample::counted).sum(),
            valid_examples: self.valid.len(),
            trainable_parameters,
            total_parameters,
            steps: fitted.steps,
            planned_steps: fitted.planned,
            best_step: fitted.best.step,
            validation,
            untuned: untuned.unwrap_or(validation),
            history: fitted.history,
            seconds: fitted.seconds,
            peak_memory_bytes: memory::peak(),
            search: None,
            cut: fitted.cut,
            notes,
            recipe,
        })
    }
}
