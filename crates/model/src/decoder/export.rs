//! What a GGUF file says about a decoder whose weights are a folder in Hugging Face's layout.

use super::config::DecoderConfig;
use super::rope::{RopeConfig, RopeScaling};
use crate::codes;
use crate::files::gguf::Value;
use crate::template::ChatTemplates;
use crate::text::TextTokenizer;
use crate::vocabulary::GgufVocabulary;
use sprat_nn::Rotary;
use sprat_task::{Error, Result};
use std::path::Path;

/// The metadata of the file that `folder` becomes: its shape, its tokenizer, its chat template.
///
/// # Errors
/// `SPRAT-MODEL-CONFIG` for rotary scaling that GGUF files have no keys for;
/// `SPRAT-MODEL-VOCABULARY` for a tokenizer that they cannot describe; those of reading.
pub(super) fn metadata(folder: &Path, config: &DecoderConfig) -> Result<Vec<(String, Value)>> {
    let mut entries = shape(config)?;
    let tokenizer = TextTokenizer::open(folder)?;
    let vocabulary = GgufVocabulary::of_folder(folder, &tokenizer, config.vocabulary)?;
    entries.extend(vocabulary.entries());
    if let Some(templates) = ChatTemplates::open(folder, &tokenizer.special_texts())? {
        entries.extend(templates.gguf_entries().map(|(key, source)| (key, source.into())));
    }
    Ok(entries)
}

/// The keys of [`super::gguf::config`], the other way round.
fn shape(config: &DecoderConfig) -> Result<Vec<(String, Value)>> {
    let architecture = config.family.architecture;
    let mut entries: Vec<(String, Value)> =
        vec![("general.architecture".to_owned(), architecture.into())];
    let mut set = |key: &str, value: Value| {
        entries.push((format!("{architecture}.{key}"), value));
    };
    let size = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
    set("vocab_size", size(config.vocabulary));
    set("block_count", size(config.layers.len()));
    set("context_length", size(config.context));
    set("embedding_length", size(config.hidden));
    set("feed_forward_length", size(config.intermediate));
    set("attention.head_count", size(config.heads.query));
    set("attention.head_count_kv", size(config.heads.key_value));
    set("attention.key_length", size(config.heads.width));
    set("attention.value_length", size(config.heads.width));
    set("attention.layer_norm_rms_epsilon", config.norm_epsilon.into());
    if let Some(window) = config.layers.iter().find_map(|layer| layer.window) {
        set("attention.sliding_window", size(window));
    }
    if let Some(cap) = config.attention_cap {
        set("attn_logit_softcapping", cap.into());
    }
    if let Some(cap) = config.logit_cap {
        set("final_logit_softcapping", cap.into());
    }
    let [rope, local @ ..] = &config.ropes[..] else {
        return Err(unspeakable("the model has no rotary positions"));
    };
    set("rope.dimension_count", size(rope.columns));
    set("rope.freq_base", (rope.theta as f32).into());
    if let Some(local) = local.first() {
        set("rope.freq_base_swa", (local.theta as f32).into());
    }
    match &rope.scaling {
        // Those of Llama 3 become a tensor.
        RopeScaling::None | RopeScaling::Divisors(_) | RopeScaling::Llama3 { .. } => {}
        RopeScaling::Linear(factor) => {
            set("rope.scaling.type", "linear".into());
            set("rope.scaling.factor", (*factor as f32).into());
        }
        RopeScaling::Yarn { factor, fast, slow, original, .. } => {
            set("rope.scaling.type", "yarn".into());
            set("rope.scaling.factor", (*factor as f32).into());
            set("rope.scaling.original_context_length", size(*original as usize));
            set("rope.scaling.yarn_beta_fast", (*fast as f32).into());
            set("rope.scaling.yarn_beta_slow", (*slow as f32).into());
        }
        RopeScaling::LongRope { original, magnitude, .. } => {
            set("rope.scaling.original_context_length", size(*original as usize));
            set("rope.scaling.attn_factor", (*magnitude as f32).into());
        }
    }
    Ok(entries)
}

/// Checks that what a written file says is what the folder says: GGUF files leave some settings
/// to the architecture, and a model that differs there would compute something else.
///
/// # Errors
/// `SPRAT-MODEL-CONFIG` with the first setting that differs.
pub(super) fn compare(folder: &DecoderConfig, file: &DecoderConfig) -> Result<()> {
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * a.abs().max(b.abs());
    let alike = |rope: (&RopeConfig, usize), other: (&RopeConfig, usize)| {
        let (a, b): (Rotary, Rotary) = (rope.0.rotary(rope.1), other.0.rotary(other.1));
        let pairs = a.frequencies.iter().zip(&b.frequencies);
        a.frequencies.len() == b.frequencies.len()
            && near(a.magnitude, b.magnitude)
            && pairs.clone().all(|(a, b)| near(*a, *b))
    };
    // Factors may depend on the context.
    let same_ropes = |a: Option<usize>, b: Option<usize>| match (a, b) {
        (Some(a), Some(b)) => [folder.context, 1]
            .into_iter()
            .all(|context| alike((&folder.ropes[a], context), (&file.ropes[b], context))),
        (a, b) => a == b,
    };
    let layers = || {
        let mut pairs = folder.layers.iter().zip(&file.layers);
        folder.layers.len() == file.layers.len()
            && pairs.all(|(a, b)| {
                // A window as long as the context hides nothing.
                let window = |window: Option<usize>| window.filter(|w| *w < folder.context);
                window(a.window) == window(b.window) && same_ropes(a.rope, b.rope)
            })
    };
    let caps = |a: Option<f32>, b: Option<f32>| match (a, b) {
        (Some(a), Some(b)) => near(a, b),
        (a, b) => a == b,
    };
    let checks = [
        ("the vocabulary", folder.vocabulary == file.vocabulary),
        ("the width", folder.hidden == file.hidden && folder.intermediate == file.intermediate),
        ("the heads", folder.heads == file.heads),
        ("the context", folder.context == file.context),
        ("the norms' epsilon", near(folder.norm_epsilon, file.norm_epsilon)),
        ("the activation", folder.activation == file.activation),
        ("the shared table", folder.tied == file.tied),
        ("the biases", folder.biases == file.biases),
        ("the scale of attention", near(folder.attention_scale, file.attention_scale)),
        ("the bound of attention", caps(folder.attention_cap, file.attention_cap)),
        ("the bound of logits", caps(folder.logit_cap, file.logit_cap)),
        ("the scale of embeddings", near(folder.embedding_scale, file.embedding_scale)),
        ("the layers' windows and positions", layers()),
    ];
    match checks.iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((what, _)) => {
            Err(unspeakable(format!("a GGUF file of this architecture cannot say {what}")))
        }
    }
}

/// An error about a model that a GGUF file cannot describe.
fn unspeakable(what: impl Into<String>) -> Error {
    Error::new(&codes::CONFIG, what)
        .help("Keep this model as a folder: the formats `bf16` and `int8` need no GGUF file.")
}
