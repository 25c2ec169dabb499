//! A tuned classifier: encoder, head and calibration, opened from its folder.

use crate::adapter::Adapter;
use crate::artefact::{Head, Manifest};
use crate::codes;
use crate::config::EncoderConfig;
use crate::encoder::Encoder;
use crate::files::Weights;
use crate::sentence::SentenceConfig;
use crate::tokenizer::Tokens;
use crate::weights::EncoderWeights;
use sprat_nn::{Format, Linear, Mat, softmax};
use sprat_task::{Error, Result};
use std::path::Path;

/// How many texts are tokenized and computed at once; bounds memory.
const BATCH_TEXTS: usize = 4096;

/// A text classifier.
#[derive(Debug)]
pub struct Classifier {
    manifest: Manifest,
    encoder: Encoder,
    head: Linear,
}

/// What a classifier says about one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Calibrated probability of each label, in the labels' order; they sum to 1.
    pub probabilities: Vec<f32>,
    /// Tokens that were computed, with the special ones.
    pub tokens: usize,
    /// Tokens of the text that did not fit and were not seen.
    pub cut: usize,
}

impl Prediction {
    /// The most probable label's index and its probability; the first of equals.
    pub fn best(&self) -> (usize, f32) {
        let pairs = self.probabilities.iter().copied().enumerate();
        pairs.fold((0, f32::MIN), |best, now| if now.1 > best.1 { now } else { best })
    }
}

impl Classifier {
    /// Opens a classifier's folder with the number format that its weights are made for.
    /// `base` is the folder of the base model; folders with whole weights do not need it.
    ///
    /// # Errors
    /// `SPRAT-MODEL-ARTEFACT`, `SPRAT-MODEL-BASE`, and those of [`Encoder::open`].
    pub fn open(artefact: &Path, base: Option<&Path>) -> Result<Self> {
        let manifest = Manifest::read(artefact)?;
        let format = manifest.weights.format();
        Classifier::open_as(artefact, base, format)
    }

    /// [`Classifier::open`] with another number format than the weights are made for.
    ///
    /// # Errors
    /// As [`Classifier::open`].
    pub fn open_as(artefact: &Path, base: Option<&Path>, format: Format) -> Result<Self> {
        let manifest = Manifest::read(artefact)?;
        let (folder, weights) = read_merged(artefact, base, &manifest)?;
        let mut encoder = Encoder::from_weights(folder, weights, format)?;
        encoder.set_sentence(SentenceConfig {
            pooling: manifest.pooling,
            normalize: manifest.normalize,
            max_tokens: Some(manifest.max_tokens),
            lowercase: manifest.lowercase,
            prefix: manifest.prefix.clone(),
        })?;
        let head = Head::read(artefact, manifest.labels.len(), encoder.config().hidden)?;
        // The head is small and decides: it stays in F32.
        let head = Linear::new(head.weight, Some(head.bias), Format::F32);
        Ok(Classifier { manifest, encoder, head })
    }

    /// What the folder's `classifier.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The names of the classes, in the order of probabilities.
    pub fn labels(&self) -> &[String] {
        &self.manifest.labels
    }

    /// The encoder with the tuned weights.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Predicts texts, in their order. Memory beyond the result is bounded; what is predicted
    /// for a text does not depend on the others.
    ///
    /// # Errors
    /// When a text cannot be tokenized.
    pub fn predict(&self, texts: &[&str]) -> Result<Vec<Prediction>> {
        let mut predictions = Vec::with_capacity(texts.len());
        for piece in texts.chunks(BATCH_TEXTS) {
            let tokens = self.encoder.tokenizer().encode_all(piece)?;
            predictions.extend(self.predict_tokens(&tokens));
        }
        Ok(predictions)
    }

    /// [`Classifier::predict`] for texts that are already tokenized.
    pub fn predict_tokens(&self, texts: &[Tokens]) -> Vec<Prediction> {
        self.predict_embedded(&self.encoder.embed_tokens(texts), texts)
    }

    /// [`Classifier::predict_tokens`] for texts whose embeddings, `[texts, hidden]`, are there.
    pub fn predict_embedded(&self, embeddings: &Mat, texts: &[Tokens]) -> Vec<Prediction> {
        let logits = self.head.forward(embeddings);
        let temperature = self.manifest.temperature;
        let rows = logits.data.chunks_exact(self.manifest.labels.len());
        rows.zip(texts)
            .map(|(row, text)| {
                let mut probabilities: Vec<f32> = row.iter().map(|z| z / temperature).collect();
                softmax(&mut probabilities);
                Prediction { probabilities, tokens: text.ids.len(), cut: text.cut }
            })
            .collect()
    }

    /// The logits before calibration, `[texts, labels]`.
    ///
    /// # Errors
    /// When a text cannot be tokenized.
    pub fn logits(&self, texts: &[&str]) -> Result<Mat> {
        Ok(self.head.forward(&self.encoder.embed(texts)?))
    }

    /// How much memory the weights take, in bytes, in the format in which they are multiplied.
    pub fn weight_bytes(&self) -> u64 {
        let config = self.encoder.config();
        let width = match self.encoder.format() {
            Format::F32 => 4,
            Format::Bf16 => 2,
            Format::Int8 => 1,
            Format::Blocks(blocks) => blocks.bytes().div_ceil(blocks.elements()),
        };
        (config.parameters() * width + 4 * self.labels().len() * (config.hidden + 1)) as u64
    }
}

/// The weights that a classifier's folder stands for, adapter merged, and the folder that holds
/// the encoder's other files.
///
/// # Errors
/// `SPRAT-MODEL-BASE` when the base model is needed and not given; those of reading otherwise.
pub(crate) fn read_merged<'a>(
    artefact: &'a Path,
    base: Option<&'a Path>,
    manifest: &Manifest,
) -> Result<(&'a Path, EncoderWeights)> {
    use crate::artefact::Stored;
    let folder = match (manifest.weights.needs_base(), base) {
        (false, _) => artefact,
        (true, Some(base)) => base,
        (true, None) => {
            let name = &manifest.base.reference;
            return Err(Error::new(&codes::BASE, format!("the base model `{name}` is not there"))
                .file(artefact)
                .help(format!("Get it with `sprat pull {name}`.")));
        }
    };
    let config = EncoderConfig::read(&folder.join("config.json"))?;
    let mut weights = EncoderWeights::read(&Weights::open(folder)?, &config)?;
    if manifest.weights == Stored::Adapter {
        weights.merge(&Adapter::read(artefact, &config)?, &config);
    }
    Ok((folder, weights))
}

/// The weights that a classifier's folder stands for, adapter merged, with the shape they have
/// and the folder that holds the encoder's other files: what a conversion starts from.
///
/// # Errors
/// As [`Classifier::open`].
pub fn merged_weights<'a>(
    artefact: &'a Path,
    base: Option<&'a Path>,
) -> Result<(&'a Path, EncoderConfig, EncoderWeights)> {
    let manifest = Manifest::read(artefact)?;
    let (folder, weights) = read_merged(artefact, base, &manifest)?;
    let config = EncoderConfig::read(&folder.join("config.json"))?;
    Ok((folder, config, weights))
}
