//! Text encoders as learners: `sprat-model` goes forward and backward, this file brings the data.

use crate::batches;
use crate::codes::RECIPE;
use crate::embeddings;
use crate::learner::{Learner, Parameter};
use crate::logistic::{self, Labelled};
use crate::metrics::Metrics;
use crate::recipe::Recipe;
use crate::run::Job;
use crate::weights::class_weights;
use sprat_model::{
    Batch, Classifier, Encoder, Format, Gradients, Head, LoraSettings, Manifest, Named, Noise,
    Part, Stored, Tokens, Tuning,
};
use sprat_nn::{CrossEntropy, Mat};
use sprat_task::settings::{Method, Precision};
use sprat_task::{Digest, Error, Result};
use std::path::Path;

/// Tokens that go forward and backward at once: beyond it a batch is taken in parts, so that long
/// texts cost time and not memory.
const PART_TOKENS: usize = 4096;

/// What every method begins with: the tokens, and a head on frozen embeddings.
pub(crate) struct Prepared {
    encoder: Encoder,
    train: Vec<Tokens>,
    valid: Vec<Tokens>,
    loss: CrossEntropy,
    pub(crate) head: logistic::Head,
}

impl Prepared {
    /// What the user should know of the data as the model sees it.
    pub(crate) fn notes(&self) -> Vec<String> {
        let cut = self.train.iter().chain(&self.valid).filter(|text| text.cut > 0).count();
        let most = self.encoder.tokenizer().max_tokens();
        (cut > 0)
            .then(|| format!("{cut} texts are longer than {most} tokens; their ends are not seen"))
            .into_iter()
            .collect()
    }
}

/// Tokenizes the data, embeds it with the frozen base in F32, and fits the head.
pub(crate) fn prepare(job: &Job<'_>, recipe: &Recipe) -> Result<Prepared> {
    let encoder = open(job, recipe, Format::F32)?;
    let tokens = |part: &[(String, usize)]| {
        let texts: Vec<&str> = part.iter().map(|(text, _)| text.as_str()).collect();
        encoder.tokenizer().encode_all(&texts)
    };
    let (train, valid) = (tokens(job.train)?, tokens(job.valid)?);
    let all = embed(job, &encoder, &train, &valid)?;
    let (train_gold, valid_gold) = (gold(job.train), gold(job.valid));
    let classes = job.labels.len();
    let loss = CrossEntropy {
        smoothing: recipe.label_smoothing as f32,
        weights: class_weights(recipe.class_weights, &train_gold, classes),
    };
    let (train_rows, valid_rows) = all.data.split_at(train.len() * all.cols);
    let rows = |data: &[f32]| Mat::new(data.len() / all.cols.max(1), all.cols, data.to_vec());
    let head = logistic::fit(
        Labelled { embeddings: &rows(train_rows), gold: &train_gold },
        Labelled { embeddings: &rows(valid_rows), gold: &valid_gold },
        &loss,
        classes,
        job.progress,
        job.interrupt,
    )?;
    Ok(Prepared { encoder, train, valid, loss, head })
}

/// The embeddings of both parts, one after the other.
fn embed(job: &Job<'_>, encoder: &Encoder, train: &[Tokens], valid: &[Tokens]) -> Result<Mat> {
    let all: Vec<&Tokens> = train.iter().chain(valid).collect();
    let ids: Vec<&[u32]> = all.iter().map(|text| &text.ids[..]).collect();
    let sentence = encoder.sentence();
    let key = Digest::of_json(&serde_json::json!({
        "version": 1,
        "base": job.base_model.digest,
        "pooling": format!("{:?}", sentence.pooling),
        "normalize": sentence.normalize,
        "texts": ids,
    }));
    let folder = job.cache.unwrap_or(job.folder);
    let path = folder.join(format!("embeddings-{}", key.short()));
    let compute = |range: std::ops::Range<usize>| {
        let texts: Vec<Tokens> = all[range].iter().map(|text| (*text).clone()).collect();
        Ok(encoder.embed_tokens(&texts))
    };
    embeddings::cached(&path, key, all.len(), compute, job.progress, job.interrupt)
}

fn open(job: &Job<'_>, recipe: &Recipe, format: Format) -> Result<Encoder> {
    let mut encoder = Encoder::open(job.base, format)?;
    if recipe.max_tokens.is_some() {
        let mut sentence = encoder.sentence().clone();
        sentence.max_tokens = recipe.max_tokens;
        encoder.set_sentence(sentence)?;
    }
    Ok(encoder)
}

fn gold(part: &[(String, usize)]) -> Vec<usize> {
    part.iter().map(|(_, class)| *class).collect()
}

/// A model in training with its data.
pub(crate) struct Tuned {
    model: sprat_model::Learner,
    gradients: Gradients,
    names: Vec<Named>,
    loss: CrossEntropy,
    train: Vec<Tokens>,
    train_gold: Vec<usize>,
    lengths: Vec<usize>,
    valid: Vec<Tokens>,
    valid_gold: Vec<usize>,
    noise: Noise,
    head_rate: f64,
}

impl Tuned {
    /// The model that the recipe asks for, with the prepared head.
    pub(crate) fn new(job: &Job<'_>, recipe: &Recipe, prepared: Prepared) -> Result<Self> {
        let Prepared { encoder, train, valid, loss, head } = prepared;
        let tuning = tuning(recipe)?;
        // What is frozen may be multiplied in bfloat16; what is trained may not.
        let frozen = recipe.method == Method::Lora && recipe.precision == Precision::Bf16;
        let encoder = if frozen {
            drop(encoder);
            open(job, recipe, Format::Bf16)?
        } else {
            encoder
        };
        // The base's own dropout stays when adapters are trained, as PEFT keeps it: without it few
        // examples lose a third of what tuning gains (docs/benchmarks.md).
        let dropout = encoder.config().dropout;
        let noise = Noise {
            seed: recipe.seed,
            step: 0,
            hidden: dropout,
            attention: dropout,
            lora: if recipe.method == Method::Lora { recipe.dropout as f32 } else { 0.0 },
        };
        let mut model = sprat_model::Learner::new(encoder, job.labels.len(), tuning, recipe.seed)?;
        model.set_head(Head { weight: head.weight, bias: head.bias })?;
        Ok(Tuned {
            gradients: model.zero_gradients(),
            names: model.parameters(),
            model,
            loss,
            lengths: train.iter().map(|text| text.ids.len()).collect(),
            train,
            train_gold: gold(job.train),
            valid,
            valid_gold: gold(job.valid),
            noise,
            head_rate: recipe.head_rate,
        })
    }

    /// The training texts' lengths in tokens.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.lengths.clone()
    }

    /// How many numbers are trained, and how many there are.
    pub(crate) fn parameters_count(&self) -> (u64, u64) {
        let (trained, all) = self.model.trained_of();
        (trained as u64, all as u64)
    }

    /// Writes the classifier's folder, then opens it as serving does, measures it on the
    /// validation part and calibrates it: what is measured is what will be served.
    pub(crate) fn finish(self, job: &Job<'_>, folder: &Path) -> Result<Metrics> {
        let encoder = self.model.encoder();
        let sentence = encoder.sentence();
        let manifest = Manifest {
            schema: sprat_model::SCHEMA.to_owned(),
            base: job.base_model.clone(),
            labels: job.labels.to_vec(),
            temperature: 1.0,
            pooling: sentence.pooling,
            normalize: sentence.normalize,
            prefix: sentence.prefix.clone(),
            lowercase: sentence.lowercase,
            max_tokens: encoder.tokenizer().max_tokens(),
            weights: Stored::Head,
        };
        self.model.save(folder, job.base, &manifest)?;
        let Tuned { model, gradients, train, valid_gold, .. } = self;
        drop((model, gradients, train));
        let classifier = Classifier::open(folder, Some(job.base))?;
        let texts: Vec<&str> = job.valid.iter().map(|(text, _)| text.as_str()).collect();
        let logits = classifier.logits(&texts)?;
        let metrics = Metrics::of(&logits.data, &valid_gold, job.labels.len());
        let mut manifest = Manifest::read(folder)?;
        manifest.temperature = metrics.temperature as f32;
        manifest.write(folder)?;
        Ok(metrics)
    }
}

fn tuning(recipe: &Recipe) -> Result<Tuning> {
    Ok(match recipe.method {
        Method::Head => Tuning::Head,
        Method::Full => Tuning::Full { first_layer: 0 },
        Method::Lora => Tuning::Lora(LoraSettings {
            rank: recipe.rank,
            alpha: recipe.alpha as f32,
            dropout: recipe.dropout as f32,
            targets: targets(&recipe.targets)?,
            first_layer: 0,
        }),
    })
}

/// The parts that settings name; `attention_output` and `attention.output` are the same.
fn targets(names: &[String]) -> Result<Vec<Part>> {
    if names.iter().any(|name| name == "all") {
        return Ok(Part::ALL.to_vec());
    }
    let part = |name: &String| {
        Part::by_name(&name.replace('_', ".")).ok_or_else(|| {
            let known: Vec<String> =
                Part::ALL.iter().map(|part| part.name().replace('.', "_")).collect();
            Error::new(&RECIPE, format!("`{name}` is no layer that can get an adapter"))
                .field("tune.targets")
                .help(format!("Name some of {}, or `all`.", known.join(", ")))
        })
    };
    names.iter().map(part).collect()
}

impl Learner for Tuned {
    type Measure = Metrics;

    fn gradients(&mut self, rows: &[usize], step: u64) -> Result<f64> {
        let weight = |row: &usize| {
            let class = self.train_gold[*row];
            self.loss.weights.as_ref().map_or(1.0, |weights| f64::from(weights[class]))
        };
        let total: f64 = rows.iter().map(weight).sum();
        let mut loss = 0.0;
        for (at, part) in batches::parts(rows, &self.lengths, PART_TOKENS).into_iter().enumerate() {
            let batch = Batch::new(part.iter().map(|&row| &self.train[row]));
            let gold: Vec<usize> = part.iter().map(|&row| self.train_gold[row]).collect();
            let noise = Noise { step: step << 16 | at as u64, ..self.noise };
            let (logits, tape) = self.model.forward(&batch, Some(&noise));
            let (mean, mut slopes) = self.loss.forward_backward(&logits, &gold);
            let share = part.iter().map(weight).sum::<f64>() / total;
            if part.len() < rows.len() {
                slopes.data.iter_mut().for_each(|slope| *slope *= share as f32);
            }
            loss += mean * share;
            self.model.backward(tape, &slopes, &mut self.gradients);
        }
        Ok(loss)
    }

    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter<'_>)) {
        let values = self.model.parameters_mut().into_iter();
        let gradients = self.gradients.slices_mut();
        for ((named, value), gradient) in self.names.iter().zip(values).zip(gradients) {
            let head = named.name.starts_with("head.");
            let rate = if head { self.head_rate } else { 1.0 };
            let Named { name, decay, .. } = named;
            visit(Parameter { name, value, gradient, decays: *decay, rate });
        }
    }

    fn updated(&mut self) {
        self.model.refresh();
    }

    fn validate(&mut self) -> Result<Metrics> {
        let lengths: Vec<usize> = self.valid.iter().map(|text| text.ids.len()).collect();
        let classes = self.model.head().bias.len();
        let mut logits = vec![0.0; self.valid.len() * classes];
        for group in sprat_model::by_length(&lengths, PART_TOKENS / 2) {
            let batch = Batch::new(group.iter().map(|&row| &self.valid[row]));
            let (part, _) = self.model.forward(&batch, None);
            for (row, found) in group.into_iter().zip(part.data.chunks_exact(classes)) {
                logits[row * classes..][..classes].copy_from_slice(found);
            }
        }
        Ok(Metrics::of(&logits, &self.valid_gold, classes))
    }
}
