//! The encoder: a model folder opened for inference.

use crate::batch::{Batch, by_length};
use crate::config::EncoderConfig;
use crate::files::Weights;
use crate::layer::{Buffers, Layer};
use crate::sentence::SentenceConfig;
use crate::tokenizer::{Tokenizer, Tokens};
use crate::weights::{EmbeddingWeights, EncoderWeights, NormWeights};
use sprat_nn::{Attention, Embedding, Format, Heads, LayerNorm, Mat, l2_normalize, threads};
use sprat_task::Result;
use std::path::Path;

/// How many tokens are computed at once: enough for full speed, little enough for the cache.
const BATCH_TOKENS: usize = 1024;
/// How many texts are tokenized and sorted at once; bounds memory.
const BATCH_TEXTS: usize = 4096;

/// A text encoder with its tokenizer.
#[derive(Debug)]
pub struct Encoder {
    pub(crate) config: EncoderConfig,
    pub(crate) sentence: SentenceConfig,
    tokenizer: Tokenizer,
    format: Format,
    pub(crate) word: Embedding,
    pub(crate) position: Embedding,
    pub(crate) token_type: Option<Embedding>,
    pub(crate) embedding_norm: LayerNorm,
    pub(crate) layers: Vec<Layer>,
    pub(crate) attention: Attention,
}

impl Encoder {
    /// Opens a model folder: `config.json`, `tokenizer.json`, `model.safetensors` and, where
    /// there, the files of sentence-transformers. Matrices are kept and multiplied in `format`.
    ///
    /// # Errors
    /// A coded error that names the file, and the tensor or setting, that is wrong.
    pub fn open(folder: &Path, format: Format) -> Result<Self> {
        let config = EncoderConfig::read(&folder.join("config.json"))?;
        let weights = EncoderWeights::read(&Weights::open(folder)?, &config)?;
        Encoder::from_weights(folder, weights, format)
    }

    /// Puts weights that were already read into an encoder; everything else comes from `folder`.
    ///
    /// # Errors
    /// As [`Encoder::open`].
    pub fn from_weights(folder: &Path, weights: EncoderWeights, format: Format) -> Result<Self> {
        let config = EncoderConfig::read(&folder.join("config.json"))?;
        let sentence = SentenceConfig::read(folder)?;
        let most = config.max_tokens().min(sentence.max_tokens.unwrap_or(usize::MAX));
        let mut tokenizer = Tokenizer::open(folder, config.vocabulary, most)?;
        tokenizer.set_preparation(&sentence.prefix, sentence.lowercase);
        let norm = |weights: NormWeights| LayerNorm {
            gamma: weights.gamma,
            beta: weights.beta,
            eps: config.norm_epsilon,
        };
        let tables = weights.embeddings;
        let layers = weights.layers.into_iter();
        // The small tables gain nothing from a smaller format.
        let small = if format == Format::Bf16 { Format::Bf16 } else { Format::F32 };
        Ok(Encoder {
            word: Embedding::new(tables.word, format),
            position: Embedding::new(tables.position, small),
            token_type: (tables.token_type.rows > 0)
                .then(|| Embedding::new(tables.token_type, small)),
            embedding_norm: norm(tables.norm),
            layers: layers.map(|layer| Layer::new(layer, config.norm_epsilon, format)).collect(),
            attention: Attention {
                heads: Heads {
                    query: config.heads,
                    key_value: config.heads,
                    width: config.hidden / config.heads,
                },
                causal: false,
            },
            config,
            sentence,
            tokenizer,
            format,
        })
    }

    /// The encoder's shape.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// How texts become embeddings around the encoder itself.
    pub fn sentence(&self) -> &SentenceConfig {
        &self.sentence
    }

    /// Replaces pooling, normalization, prefix and limit, for instance by those of a classifier
    /// or by the user's own. A limit above the encoder's own becomes that.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when the limit leaves no room for text.
    pub fn set_sentence(&mut self, sentence: SentenceConfig) -> Result<()> {
        let most = self.config.max_tokens().min(sentence.max_tokens.unwrap_or(usize::MAX));
        self.tokenizer.set_max_tokens(most)?;
        self.tokenizer.set_preparation(&sentence.prefix, sentence.lowercase);
        self.sentence = sentence;
        Ok(())
    }

    /// The tokenizer, with prefix and limit set.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How matrices are kept and multiplied.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The embeddings of texts, `[texts, hidden]`, in their order. Memory beyond the result is
    /// bounded, however many texts there are; results do not depend on what else is in the call.
    ///
    /// # Errors
    /// When a text cannot be tokenized.
    pub fn embed(&self, texts: &[&str]) -> Result<Mat> {
        let mut out = Mat::zeros(texts.len(), self.config.hidden);
        for (at, piece) in texts.chunks(BATCH_TEXTS).enumerate() {
            let tokens = self.tokenizer.encode_all(piece)?;
            let embedded = self.embed_tokens(&tokens);
            let from = at * BATCH_TEXTS * self.config.hidden;
            out.data[from..from + embedded.data.len()].copy_from_slice(&embedded.data);
        }
        Ok(out)
    }

    /// The embeddings of texts that are already tokenized, `[texts, hidden]`, in their order.
    pub fn embed_tokens(&self, texts: &[Tokens]) -> Mat {
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        let groups = by_length(&lengths, BATCH_TOKENS);
        let mut parts: Vec<Mat> = groups.iter().map(|_| Mat::default()).collect();
        // One batch uses all threads inside; several are spread over the threads.
        threads::run_chunks(&mut parts, 1, |at, part| {
            let batch = Batch::new(groups[at].iter().map(|&text| &texts[text]));
            for part in part {
                *part = self.embed_batch(&batch);
            }
        });
        let mut out = Mat::zeros(texts.len(), self.config.hidden);
        for (group, part) in groups.iter().zip(&parts) {
            for (row, &text) in group.iter().enumerate() {
                out.row_mut(text).copy_from_slice(part.row(row));
            }
        }
        out
    }

    /// The embeddings of one batch, `[texts, hidden]`.
    pub fn embed_batch(&self, batch: &Batch) -> Mat {
        let states = self.states(batch, self.layers.len());
        let mut pooled = self.sentence.pooling.forward(&states, &batch.bounds);
        if self.sentence.normalize {
            l2_normalize(&mut pooled);
        }
        pooled
    }

    /// The hidden states after the first `layers` layers, `[tokens, hidden]`.
    pub fn states(&self, batch: &Batch, layers: usize) -> Mat {
        let mut states = self.embedding_norm.forward(&self.embedding_sum(batch)).0;
        let mut buffers = Buffers::default();
        for layer in &self.layers[..layers] {
            let activation = self.config.activation;
            layer.infer(&mut states, &batch.bounds, self.attention, activation, &mut buffers);
        }
        states
    }

    /// The weights as they are multiplied, unpacked.
    pub fn weights(&self) -> EncoderWeights {
        let norm =
            |norm: &LayerNorm| NormWeights { gamma: norm.gamma.clone(), beta: norm.beta.clone() };
        let token_type = self.token_type.as_ref();
        EncoderWeights {
            embeddings: EmbeddingWeights {
                word: self.word.table(),
                position: self.position.table(),
                token_type: token_type
                    .map_or_else(|| Mat::zeros(0, self.config.hidden), Embedding::table),
                norm: norm(&self.embedding_norm),
            },
            layers: self.layers.iter().map(Layer::weights).collect(),
        }
    }

    /// Word, token-type and position vectors added up, `[tokens, hidden]`.
    pub(crate) fn embedding_sum(&self, batch: &Batch) -> Mat {
        let mut sum = self.word.gather(&batch.ids);
        if let Some(token_type) = &self.token_type {
            token_type.gather_add(&vec![0; batch.ids.len()], &mut sum);
        }
        self.position.gather_add(&self.positions(batch), &mut sum);
        sum
    }

    /// The position of each token.
    pub(crate) fn positions(&self, batch: &Batch) -> Vec<u32> {
        let first = self.config.first_position() as u32;
        let mut positions = Vec::with_capacity(batch.ids.len());
        for text in batch.bounds.windows(2) {
            let mut next = first;
            for &id in &batch.ids[text[0]..text[1]] {
                // Only where positions count after padding may a padding token, which a text
                // can spell out, stand aside.
                if first > 0 && id == self.config.pad {
                    positions.push(self.config.pad);
                } else {
                    positions.push(next);
                    next += 1;
                }
            }
        }
        positions
    }
}
