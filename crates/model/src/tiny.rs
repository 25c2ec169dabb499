//! A tiny random model, for the tests of this crate and of those above it.

use crate::codes;
use crate::config::EncoderConfig;
use crate::family::Family;
use crate::shrunk::write_encoder;
use crate::weights::{
    EmbeddingWeights, EncoderWeights, LayerWeights, LinearWeights, NormWeights, Slot,
};
use crate::{Part, Stored};
use rand::Rng;
use serde_json::json;
use sprat_nn::{Activation, Mat};
use sprat_task::random::{ChaCha8Rng, stream};
use sprat_task::{Error, Result};
use std::path::Path;

/// The words that the tiny tokenizer knows, besides its special tokens `[PAD]`, `[UNK]`,
/// `[CLS]` and `[SEP]`.
pub const WORDS: [&str; 16] = [
    "red", "green", "blue", "cat", "dog", "bird", "one", "two", "three", "north", "south", "east",
    "rain", "snow", "wind", "sun",
];

/// The shape of the tiny model as a family has it: two layers of width 16 with two heads.
/// An unknown `model_type` gives BERT.
pub fn config(model_type: &str) -> EncoderConfig {
    let family = Family::of(model_type).unwrap_or(&Family::ALL[0]);
    EncoderConfig {
        family,
        vocabulary: WORDS.len() + 4,
        hidden: 16,
        layers: 2,
        heads: 2,
        intermediate: 24,
        activation: Activation::GeluErf,
        norm_epsilon: 1e-5,
        positions: 32,
        token_types: if family.embeddings.token_type.is_some() { 2 } else { 0 },
        pad: 0,
        dropout: 0.1,
    }
}

/// Random weights for a shape.
pub fn weights(config: &EncoderConfig, seed: u64) -> EncoderWeights {
    let mut random = stream(seed, "tiny weights");
    let width = config.hidden;
    EncoderWeights {
        embeddings: EmbeddingWeights {
            word: mat(&mut random, config.vocabulary, width),
            position: mat(&mut random, config.positions, width),
            token_type: mat(&mut random, config.token_types, width),
            norm: norm(&mut random, width),
        },
        layers: (0..config.layers)
            .map(|_| LayerWeights {
                linear: Slot::ALL.map(|slot| linear(&mut random, config, slot)),
                attention_norm: norm(&mut random, width),
                output_norm: norm(&mut random, width),
            })
            .collect(),
    }
}

/// Writes a tiny random BERT that pools by mean and normalizes: `config.json`, `tokenizer.json`
/// (words split at white space), `model.safetensors` and the files of sentence-transformers.
///
/// # Errors
/// `SPRAT-MODEL-WRITE`.
pub fn write(folder: &Path, seed: u64) -> Result<()> {
    let config = config("bert");
    write_encoder(&weights(&config, seed), &config, Stored::Full, folder)?;
    let file = |name: &str, value: serde_json::Value| {
        let path = folder.join(name);
        sprat_task::write::bytes(&path, value.to_string().as_bytes())
            .map_err(|why| Error::io(&codes::WRITE, "write a file", &path, &why))
    };
    file(
        "config.json",
        json!({
            "model_type": "bert", "vocab_size": config.vocabulary, "hidden_size": config.hidden,
            "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
            "intermediate_size": config.intermediate, "hidden_act": "gelu",
            "max_position_embeddings": config.positions, "type_vocab_size": config.token_types,
            "layer_norm_eps": config.norm_epsilon, "pad_token_id": 0, "hidden_dropout_prob": 0.1,
        }),
    )?;
    file("tokenizer.json", tokenizer())?;
    file(
        "modules.json",
        json!([
            {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ]),
    )?;
    file("1_Pooling/config.json", json!({"pooling_mode_mean_tokens": true}))
}

fn tokenizer() -> serde_json::Value {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
    let all = special.iter().chain(&WORDS).enumerate();
    let vocabulary: serde_json::Map<_, _> =
        all.map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let added: Vec<_> = special
        .iter()
        .enumerate()
        .map(|(id, word)| {
            json!({"id": id, "content": word, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}

/// Writes a tiny random Llama that knows every byte and chats: `config.json`,
/// `model.safetensors`, `tokenizer.json` (a token for each byte, a few words, and the control
/// tokens `<|end|>`, `<|user|>` and `<|assistant|>`) and `tokenizer_config.json` with a template.
///
/// # Errors
/// `SPRAT-MODEL-WRITE`.
pub fn write_decoder(folder: &Path, seed: u64) -> Result<()> {
    let (vocabulary, hidden, wide, heads) = (256 + CONTROL.len() + 1, 32, 48, 4);
    let layers = 2;
    let file = |name: &str, value: serde_json::Value| {
        let path = folder.join(name);
        sprat_task::write::bytes(&path, value.to_string().as_bytes())
            .map_err(|why| Error::io(&codes::WRITE, "write a file", &path, &why))
    };
    file(
        "config.json",
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": wide,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 2,
            "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "max_position_embeddings": 512, "tie_word_embeddings": true,
        }),
    )?;
    let mut random = stream(seed, "tiny decoder");
    let mut writer = crate::files::TensorWriter::new();
    let mut add = |name: String, shape: &[usize], around: f32| {
        let values = values(&mut random, shape.iter().product(), around, 0.4);
        writer.add(&name, shape, crate::files::TensorData::F32(values.into()))
    };
    add("model.embed_tokens.weight".into(), &[vocabulary, hidden], 0.0)?;
    add("model.norm.weight".into(), &[hidden], 1.0)?;
    for layer in 0..layers {
        for (name, shape, around) in [
            ("input_layernorm", &[hidden][..], 1.0),
            ("post_attention_layernorm", &[hidden], 1.0),
            ("self_attn.q_proj", &[hidden, hidden], 0.0),
            ("self_attn.k_proj", &[hidden / 2, hidden], 0.0),
            ("self_attn.v_proj", &[hidden / 2, hidden], 0.0),
            ("self_attn.o_proj", &[hidden, hidden], 0.0),
            ("mlp.gate_proj", &[wide, hidden], 0.0),
            ("mlp.up_proj", &[wide, hidden], 0.0),
            ("mlp.down_proj", &[hidden, wide], 0.0),
        ] {
            add(format!("model.layers.{layer}.{name}.weight"), shape, around)?;
        }
    }
    writer.write(&folder.join("model.safetensors"))?;
    file("tokenizer.json", byte_tokenizer())?;
    let template = "{% for message in messages %}<|{{ 'user' if message.role == 'system' else \
        message.role }}|>{{ message.content }}<|end|>{% endfor %}\
        {% if add_generation_prompt %}<|assistant|>{% endif %}";
    file("tokenizer_config.json", json!({ "eos_token": "<|end|>", "chat_template": template }))
}

const CONTROL: [&str; 4] = ["<|end|>", "<|user|>", "<|assistant|>", "<|tool|>"];

fn byte_tokenizer() -> serde_json::Value {
    let mut letters: Vec<char> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let mut vocabulary: serde_json::Map<String, serde_json::Value> =
        letters.iter().enumerate().map(|(id, letter)| (letter.to_string(), json!(id))).collect();
    vocabulary.insert("an".into(), json!(letters.len()));
    let added: Vec<_> = CONTROL
        .iter()
        .enumerate()
        .map(|(at, text)| {
            json!({"id": letters.len() + 1 + at, "content": text, "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [["a", "n"]]},
    })
}

fn values(random: &mut ChaCha8Rng, count: usize, around: f32, spread: f32) -> Vec<f32> {
    (0..count).map(|_| around + spread * (random.random::<f32>() - 0.5)).collect()
}

fn mat(random: &mut ChaCha8Rng, rows: usize, cols: usize) -> Mat {
    Mat::new(rows, cols, values(random, rows * cols, 0.0, 1.0))
}

fn norm(random: &mut ChaCha8Rng, width: usize) -> NormWeights {
    NormWeights { gamma: values(random, width, 1.0, 0.4), beta: values(random, width, 0.0, 0.4) }
}

fn linear(random: &mut ChaCha8Rng, config: &EncoderConfig, slot: Slot) -> LinearWeights {
    let shapes = slot.parts().iter().map(|&part: &Part| config.linear_shape(part));
    let (rows, cols) = shapes.fold((0, 0), |(rows, _), (outputs, inputs)| (rows + outputs, inputs));
    LinearWeights { weight: mat(random, rows, cols), bias: values(random, rows, 0.0, 0.5) }
}
