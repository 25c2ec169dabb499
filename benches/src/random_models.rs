//! GGUF files of real shapes with random weights: what a token costs depends on shapes and
//! formats alone.

use rand::Rng;
use sprat_model::BlockFormat;
use sprat_model::files::GgufWriter;
use sprat_task::{Result, random};
use std::path::{Path, PathBuf};

/// The shape of a decoder.
pub struct Shape {
    /// As the command line says it.
    pub name: &'static str,
    architecture: &'static str,
    hidden: usize,
    layers: usize,
    heads: usize,
    key_value_heads: usize,
    intermediate: usize,
    vocabulary: usize,
    theta: f32,
    biases: bool,
}

/// SmolLM2-135M, Qwen2.5-0.5B and Qwen2.5-1.5B; all use the token table for the output too.
pub const SHAPES: [Shape; 3] = [
    Shape {
        name: "135m",
        architecture: "llama",
        hidden: 576,
        layers: 30,
        heads: 9,
        key_value_heads: 3,
        intermediate: 1536,
        vocabulary: 49152,
        theta: 1e5,
        biases: false,
    },
    Shape {
        name: "0.5b",
        architecture: "qwen2",
        hidden: 896,
        layers: 24,
        heads: 14,
        key_value_heads: 2,
        intermediate: 4864,
        vocabulary: 151_936,
        theta: 1e6,
        biases: true,
    },
    Shape {
        name: "1.5b",
        architecture: "qwen2",
        hidden: 1536,
        layers: 28,
        heads: 12,
        key_value_heads: 2,
        intermediate: 8960,
        vocabulary: 151_936,
        theta: 1e6,
        biases: true,
    },
];

impl Shape {
    /// Multiply-adds of a token in matrices, with or without those of its logits.
    pub fn products_per_token(&self, logits: bool) -> f64 {
        let (hidden, wide) = (self.hidden, self.intermediate);
        let shared = self.key_value_heads * (hidden / self.heads);
        let layer = hidden * (2 * hidden + 2 * shared + 3 * wide);
        (self.layers * layer + if logits { self.vocabulary * hidden } else { 0 }) as f64
    }
}

/// Which formats the matrices of a file have: what `llama-quantize` makes of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Q4_0, the token table Q8_0.
    Q4_0,
    /// Q8_0 throughout.
    Q8_0,
    /// Q4_K, and Q6_K for the token table and half of the values' and last matrices.
    Q4KM,
}

impl Mix {
    /// The mix of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "q4_0" => Some(Mix::Q4_0),
            "q8_0" => Some(Mix::Q8_0),
            "q4_k_m" => Some(Mix::Q4KM),
            _ => None,
        }
    }

    /// Its name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Mix::Q4_0 => "q4_0",
            Mix::Q8_0 => "q8_0",
            Mix::Q4KM => "q4_k_m",
        }
    }

    fn of(self, tensor: &str, layer: usize, layers: usize) -> BlockFormat {
        let table = tensor == "token_embd";
        match self {
            Mix::Q4_0 if table => BlockFormat::Q8_0,
            Mix::Q4_0 => BlockFormat::Q4_0,
            Mix::Q8_0 => BlockFormat::Q8_0,
            Mix::Q4KM if table => BlockFormat::Q6K,
            Mix::Q4KM => {
                let eighth = layers / 8;
                let more =
                    layer < eighth || layer >= 7 * eighth || (layer - eighth).is_multiple_of(3);
                let heavy = matches!(tensor, "attn_v" | "ffn_down");
                if more && heavy { BlockFormat::Q6K } else { BlockFormat::Q4K }
            }
        }
    }
}

/// Blocks of random weights that a file's matrices are cut from; a prime number, so that rows
/// differ.
const POOL: usize = 65_537;

/// The file of that shape and mix in `folder`; written if it is not there.
///
/// # Errors
/// What writing says.
pub fn random_model(shape: &Shape, mix: Mix, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(format!("{}-{}.gguf", shape.name, mix.name()));
    if path.exists() {
        return Ok(path);
    }
    let mut writer = GgufWriter::new(shape.architecture);
    settings(shape, &mut writer);
    vocabulary(shape.vocabulary, &mut writer);
    let mut pools: Vec<(BlockFormat, Vec<u8>)> = Vec::new();
    let mut cut_from = 0;
    let mut matrix = |writer: &mut GgufWriter<'_>, name: &str, format: BlockFormat, rows, cols| {
        let fitting = format.fitting(cols);
        let pool = match pools.iter().position(|(known, _)| *known == fitting) {
            Some(at) => &pools[at].1,
            None => {
                pools.push((fitting, pool(fitting)));
                &pools[pools.len() - 1].1
            }
        };
        let length = fitting.bytes_for(rows * cols).unwrap_or(0);
        let start = cut_from % POOL * fitting.bytes();
        cut_from += 7919;
        let bytes: Vec<u8> = pool.iter().copied().cycle().skip(start).take(length).collect();
        writer.add_blocks(&format!("{name}.weight"), &[rows, cols], fitting, bytes)
    };
    let (hidden, wide) = (shape.hidden, shape.intermediate);
    let shared = shape.key_value_heads * (hidden / shape.heads);
    let table = mix.of("token_embd", 0, shape.layers);
    matrix(&mut writer, "token_embd", table, shape.vocabulary, hidden)?;
    let norm = |writer: &mut GgufWriter<'_>, name: &str| {
        writer.add(name, &[hidden], BlockFormat::F32, vec![1.0; hidden], None)
    };
    norm(&mut writer, "output_norm.weight")?;
    for layer in 0..shape.layers {
        for (name, rows, cols) in [
            ("attn_q", hidden, hidden),
            ("attn_k", shared, hidden),
            ("attn_v", shared, hidden),
            ("attn_output", hidden, hidden),
            ("ffn_gate", wide, hidden),
            ("ffn_up", wide, hidden),
            ("ffn_down", hidden, wide),
        ] {
            let format = mix.of(name, layer, shape.layers);
            matrix(&mut writer, &format!("blk.{layer}.{name}"), format, rows, cols)?;
            if shape.biases && cols == hidden && rows <= hidden && name != "attn_output" {
                let name = format!("blk.{layer}.{name}.bias");
                writer.add(&name, &[rows], BlockFormat::F32, vec![0.01; rows], None)?;
            }
        }
        norm(&mut writer, &format!("blk.{layer}.attn_norm.weight"))?;
        norm(&mut writer, &format!("blk.{layer}.ffn_norm.weight"))?;
    }
    writer.write(&path)?;
    Ok(path)
}

fn pool(format: BlockFormat) -> Vec<u8> {
    let mut random = random::stream(7, format.name());
    let weights: Vec<f32> =
        (0..POOL * format.elements()).map(|_| random.random_range(-0.04..0.04)).collect();
    let mut bytes = vec![0; POOL * format.bytes()];
    format.quantize_rows(format.elements(), &weights, None, &mut bytes);
    bytes
}

fn settings(shape: &Shape, writer: &mut GgufWriter<'_>) {
    let number = |number: usize| number as u32;
    for (key, value) in [
        ("block_count", shape.layers),
        ("embedding_length", shape.hidden),
        ("feed_forward_length", shape.intermediate),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.key_value_heads),
        ("rope.dimension_count", shape.hidden / shape.heads),
        ("context_length", 8192),
        ("vocab_size", shape.vocabulary),
    ] {
        writer.set(&format!("{}.{key}", shape.architecture), number(value));
    }
    writer.set(&format!("{}.rope.freq_base", shape.architecture), shape.theta);
    writer.set(&format!("{}.attention.layer_norm_rms_epsilon", shape.architecture), 1e-6f32);
}

/// A byte-level vocabulary: the 256 bytes, one merge, and made-up tokens up to `size`.
fn vocabulary(size: usize, writer: &mut GgufWriter<'_>) {
    let mut tokens: Vec<String> = (0..256).map(|byte| byte_token(byte).to_string()).collect();
    tokens.push("ab".to_owned());
    tokens.extend((tokens.len()..size).map(|id| format!("token{id}")));
    writer.set("tokenizer.ggml.model", "gpt2");
    writer.set("tokenizer.ggml.pre", "gpt-2");
    writer.set("tokenizer.ggml.tokens", tokens);
    writer.set("tokenizer.ggml.token_type", vec![1i32; size]);
    writer.set("tokenizer.ggml.merges", vec!["a b".to_owned()]);
    writer.set("tokenizer.ggml.bos_token_id", 256u32);
    writer.set("tokenizer.ggml.eos_token_id", 256u32);
    writer.set("tokenizer.ggml.add_bos_token", false);
}

/// The character that stands for a byte in GPT-2's vocabularies: itself where it is printable.
fn byte_token(byte: u32) -> char {
    let plain = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let code =
        if plain(byte) { byte } else { 256 + (0..byte).filter(|b| !plain(*b)).count() as u32 };
    char::from_u32(code).unwrap_or('?')
}
