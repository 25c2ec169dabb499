//! The decoder: a language model that reads tokens and scores the next one.

mod adapter;
mod adapter_gguf;
mod batch;
mod budget;
mod config;
mod export;
mod family;
mod formats;
mod gguf;
mod gguf_matrices;
mod gradients;
mod importance;
mod joined;
mod layer;
mod learner;
mod merge;
mod names;
mod output;
mod projection;
mod rope;
mod save;
mod source;
pub mod tiny;
mod training;
mod weights;
mod write_gguf;

pub use adapter::DecoderAdapter;
pub use adapter_gguf::write_gguf_adapter;
pub use batch::{TokenBatch, TokenExample};
pub use config::{DecoderConfig, LayerKind, ProjectionBiases};
pub use family::{Biases, DecoderFamily, Windows};
pub use formats::{Formats, StoredMatrix};
pub use gradients::DecoderGradients;
pub use importance::Importance;
pub use learner::{DecoderLearner, DecoderTuning, Memory};
pub use merge::{copy_decoder_files, merge_adapter};
pub use output::TokenSum;
pub use projection::Projection;
pub use rope::{RopeConfig, RopeScaling};
pub use write_gguf::{Written, write_gguf};

use crate::files::{Gguf, Weights};
use adapter::Groups;
use gguf::GgufSource;
use importance::Observer;
use joined::Joined;
use layer::{Buffers, Layer, Place};
use names::Role;
use source::{Folder, Source};
use sprat_nn::{Embedding, Format, Mat, PAGE, PagedCache, RmsNorm, Rotary, Span, threads};
use sprat_task::Result;
use std::path::Path;

/// A language model, without its tokenizer.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    /// None where the output's table serves for both.
    embedding: Option<Embedding>,
    layers: Vec<Layer>,
    norm: RmsNorm,
    output: Joined,
    rotaries: Vec<Rotary>,
    context: usize,
}

/// Tokens to read at once, of one or several sequences.
#[derive(Debug, Default)]
pub struct Step<'a> {
    /// The tokens of all sequences, one after another.
    pub ids: &'a [u32],
    /// Whose tokens they are, and where in the cache they belong.
    pub spans: &'a [Span<'a>],
    /// Where keys and values are kept, if not where the spans say; empty: there. A text that goes
    /// on in several ways is read once: its rows are kept in the pages of each way, and each way
    /// is a span.
    pub kept: &'a [Span<'a>],
    /// The rows for which logits are wanted.
    pub wanted: &'a [usize],
    /// The adapter of each span, if it has one; empty where no span has.
    pub adapters: &'a [Option<&'a DecoderAdapter>],
}

/// What steps compute in, kept from one to the next.
#[derive(Debug, Default)]
pub struct StepMemory {
    states: Mat,
    buffers: Buffers,
    chosen: Mat,
    normed: Mat,
    /// The logits, and memory for a table of several parts.
    logits: (Mat, Mat),
}

impl Decoder {
    /// Opens a model folder in Hugging Face's layout: `config.json` and safetensors. Matrices are
    /// kept and multiplied in `format`. `context` limits the length of sequences, and chooses
    /// between rotary factors where they depend on it; by default the model's own.
    ///
    /// # Errors
    /// A coded error that names the file, and the tensor or setting, that is wrong.
    pub fn open(folder: &Path, format: Format, context: Option<usize>) -> Result<Self> {
        let config = DecoderConfig::read(&folder.join("config.json"))?;
        let weights = Weights::open(folder)?;
        let source = Folder::new(&weights, &config, format);
        Decoder::read(&source, &config, context)
    }

    /// Opens a GGUF file; matrices are multiplied in the formats they are stored in. `context` is
    /// that of [`Self::open`].
    ///
    /// # Errors
    /// A coded error that names the file, and the tensor or key, that is wrong.
    pub fn open_gguf(file: &Gguf, context: Option<usize>) -> Result<Self> {
        let config = gguf::config(file)?;
        Decoder::read(&GgufSource::new(file, &config), &config, context)
    }

    fn read(source: &dyn Source, config: &DecoderConfig, context: Option<usize>) -> Result<Self> {
        let config = config.clone();
        let context = context.unwrap_or(config.context).min(config.context);
        let (vocabulary, hidden) = (config.vocabulary, config.hidden);
        let table = |role| source.linear(0, &[(role, vocabulary)], hidden, false);
        let (embedding, output) = if config.tied {
            (None, Joined::new(table(Role::Embedding)?))
        } else {
            let rows = source.embedding(vocabulary, hidden)?;
            (Some(rows), Joined::new(table(Role::Output)?))
        };
        let layers = (0..config.layers.len()).map(|layer| Layer::read(source, &config, layer));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let gamma = source.norm(0, Role::OutputNorm, hidden)?;
        let norm = RmsNorm { gamma, eps: config.norm_epsilon };
        let rotaries = config.ropes.iter().map(|rope| rope.rotary(context)).collect();
        Ok(Decoder { config, embedding, layers, norm, output, rotaries, context })
    }

    /// The decoder's shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The longest sequence, in tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// A cache for `pages` pages of [`PAGE`] tokens.
    pub fn cache(&self, pages: usize) -> PagedCache {
        PagedCache::new(self.config.heads, self.config.layers.len(), pages)
    }

    /// Bytes that keys and values of so many tokens take.
    pub fn cache_bytes(&self, tokens: usize) -> usize {
        let pages = tokens.div_ceil(PAGE);
        pages * PagedCache::page_bytes(self.config.heads, self.config.layers.len())
    }

    /// Bytes that the weights take in memory.
    pub fn bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(Layer::bytes).sum();
        layers + self.output.bytes() + self.embedding.as_ref().map_or(0, Embedding::bytes)
    }

    /// Reads the tokens of a step, keeps their keys and values, and gives the logits
    /// `[wanted, vocabulary]` of the tokens that follow the wanted rows.
    ///
    /// Results do not depend on what else is in the step, on how a sequence was cut into steps,
    /// nor on the number of threads.
    ///
    /// # Panics
    /// If an id is not in the vocabulary, spans, rows and pages do not belong together, or an
    /// adapter is for a decoder of another shape.
    pub fn forward(&self, step: &Step<'_>, cache: &mut PagedCache) -> Mat {
        let mut memory = StepMemory::default();
        self.forward_in(step, cache, &mut memory);
        memory.logits.0
    }

    /// [`Self::forward`] in memory that many steps use, one after another: what an engine calls
    /// at every token would otherwise fetch megabytes from the system each time.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn forward_in<'m>(
        &self,
        step: &Step<'_>,
        cache: &mut PagedCache,
        memory: &'m mut StepMemory,
    ) -> &'m mut Mat {
        self.read_step(step, cache, &mut |_, _, _| {}, memory);
        let StepMemory { states, chosen, normed, logits, .. } = memory;
        output::choose(states, step.wanted, chosen);
        self.norm.forward_into(chosen, normed);
        self.logits(normed, logits);
        &mut memory.logits.0
    }

    /// Reads the tokens of a step: `memory.states` become the states after the last layer, before
    /// the output's norm, `[tokens, hidden]`. The inputs of each product are shown to `observe`.
    fn read_step(
        &self,
        step: &Step<'_>,
        cache: &mut PagedCache,
        observe: &mut Observer<'_>,
        memory: &mut StepMemory,
    ) {
        let StepMemory { states: x, buffers, .. } = memory;
        self.embed_into(step.ids, x);
        let mut positions = vec![0; step.ids.len()];
        for span in step.spans {
            for (i, row) in span.rows.clone().enumerate() {
                positions[row] = (span.position + i) as u32;
            }
        }
        let rotations: Vec<_> =
            self.rotaries.iter().map(|rotary| rotary.rotations(&positions)).collect();
        let adapters = Groups::new(step.spans, step.adapters);
        for (at, layer) in self.layers.iter().enumerate() {
            let place = Place {
                config: &self.config,
                layer: at,
                rotations: &rotations,
                spans: step.spans,
                kept: if step.kept.is_empty() { step.spans } else { step.kept },
                adapters: &adapters,
            };
            layer.infer(x, cache, &place, buffers, observe);
        }
    }

    fn embed(&self, ids: &[u32]) -> Mat {
        let mut x = Mat::default();
        self.embed_into(ids, &mut x);
        x
    }

    fn embed_into(&self, ids: &[u32], x: &mut Mat) {
        /// Tokens in a piece of parallel work.
        const TOKENS: usize = 16;
        let hidden = self.config.hidden;
        x.reshape(ids.len(), hidden);
        if let Some(table) = &self.embedding {
            x.clear();
            table.gather_add(ids, x);
        } else {
            threads::run_chunks(&mut x.data, TOKENS * hidden, |piece, rows| {
                for (row, &id) in rows.chunks_exact_mut(hidden).zip(&ids[piece * TOKENS..]) {
                    self.output.row(id as usize, row);
                }
            });
        }
        if self.config.embedding_scale != 1.0 {
            x.data.iter_mut().for_each(|v| *v *= self.config.embedding_scale);
        }
    }
}
