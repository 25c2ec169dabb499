//! GGUF files that other programs wrote: a small trained model in three formats beside its
//! safetensors, and vocabularies.

#![expect(clippy::panic, reason = "helpers of tests")]

use sprat_model::BlockFormat;
use sprat_model::files::{Gguf, GgufWriter, Weights};
use std::path::{Path, PathBuf};

/// A path in the shared data; says loudly when it is missing.
fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder =
        std::env::var_os("SPRAT_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let found = folder.join(path);
    if found.exists() {
        return Some(found);
    }
    eprintln!("SKIPPED: no shared data at {}; set SPRAT_SHARED to their folder", found.display());
    None
}

/// The name of a Llama tensor in safetensors, and whether its rows are permuted in GGUF.
fn original(name: &str) -> (String, bool) {
    let whole = [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
    ];
    if let Some((_, original)) = whole.iter().find(|(gguf, _)| *gguf == name) {
        return ((*original).to_owned(), false);
    }
    let parts: Vec<&str> = name.split('.').collect();
    let part = match parts[2] {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => panic!("{other}"),
    };
    let permuted = matches!(parts[2], "attn_q" | "attn_k");
    (format!("model.layers.{}.{part}.weight", parts[1]), permuted)
}

/// The rows of each head interleaved from its two halves, as converters to GGUF do for Llama's
/// rotary embedding.
fn permute(values: &[f32], columns: usize, heads: usize) -> Vec<f32> {
    let half = values.len() / columns / heads / 2;
    let mut out = Vec::with_capacity(values.len());
    for head in 0..heads {
        for at in 0..half {
            for part in 0..2 {
                let row = (head * 2 + part) * half + at;
                out.extend_from_slice(&values[row * columns..(row + 1) * columns]);
            }
        }
    }
    out
}

#[test]
fn a_trained_model_is_the_same_in_gguf_and_safetensors() {
    let Some(folder) = shared("models/aidreams260K") else { return };
    let weights = Weights::open(&folder.join("hf")).unwrap();
    for file in ["f32", "f16", "q8_0"] {
        let gguf = Gguf::open(&folder.join(format!("aidreams260K-{file}.gguf"))).unwrap();
        let metadata = gguf.metadata();
        assert_eq!(metadata.text("general.architecture").unwrap(), "llama");
        assert_eq!(metadata.size("llama.block_count").unwrap(), 4);
        assert!(
            (metadata.float("llama.attention.layer_norm_rms_epsilon").unwrap() - 1e-5).abs() < 1e-9
        );
        assert!(metadata.flag("tokenizer.ggml.add_bos_token").unwrap());
        assert_eq!(metadata.texts("tokenizer.ggml.tokens").unwrap().len(), 512);
        assert_eq!(metadata.floats("tokenizer.ggml.scores").unwrap().len(), 512);
        assert_eq!(metadata.numbers("tokenizer.ggml.token_type").unwrap()[..4], [2, 3, 3, 6]);
        let heads = metadata.size("llama.attention.head_count").unwrap();
        assert_eq!(gguf.tensors().len(), 39);
        for tensor in gguf.tensors() {
            let (name, permuted) = original(tensor.name());
            let mut theirs = weights.tensor(&name).unwrap().f32(tensor.shape()).unwrap();
            let columns = *tensor.shape().last().unwrap();
            if permuted {
                theirs = permute(&theirs, columns, heads);
            }
            // Bit by bit what their weights become in the format of the file.
            let mut stored = vec![0; tensor.bytes().len()];
            tensor.format().quantize_rows(columns, &theirs, None, &mut stored);
            assert!(tensor.bytes() == stored, "{file}: {} differs", tensor.name());
            let restored = tensor.f32(tensor.shape()).unwrap();
            let worst =
                restored.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let allowed = if file == "f32" { 0.0 } else { 0.002 };
            assert!(worst <= allowed, "{file}: {} is off by {worst}", tensor.name());
        }
    }
}

#[test]
fn a_model_that_is_written_again_is_the_same_model() {
    let Some(folder) = shared("models/aidreams260K") else { return };
    for file in ["f32", "f16", "q8_0"] {
        let path = folder.join(format!("aidreams260K-{file}.gguf"));
        let gguf = Gguf::open(&path).unwrap();
        let target = tempfile::tempdir().unwrap();
        let copy = target.path().join("copy.gguf");
        let mut writer = GgufWriter::new("llama");
        writer.set_all(gguf.metadata());
        for tensor in gguf.tensors() {
            let (name, shape) = (tensor.name(), tensor.shape());
            writer.add_blocks(name, shape, tensor.format(), tensor.bytes()).unwrap();
        }
        writer.write(&copy).unwrap();
        let copy = Gguf::open(&copy).unwrap();
        for ((key, a), (other, b)) in gguf.metadata().iter().zip(copy.metadata().iter()) {
            assert_eq!((key, a), (other, b));
        }
        for (a, b) in gguf.tensors().zip(copy.tensors()) {
            assert_eq!((a.name(), a.shape(), a.format()), (b.name(), b.shape(), b.format()));
            assert!(a.bytes() == b.bytes(), "{}", a.name());
        }
    }
}

#[test]
fn vocabularies_without_tensors_are_read() {
    let Some(folder) = shared("data/tokenizers/models") else { return };
    let files =
        [("bert-bge", "bert", 30_522), ("gpt-2", "gpt2", 50_257), ("phi-3", "llama", 32_064)];
    for (name, model, tokens) in files {
        let gguf = Gguf::open(&folder.join(format!("ggml-vocab-{name}.gguf"))).unwrap();
        let metadata = gguf.metadata();
        assert_eq!(gguf.tensors().len(), 0);
        assert_eq!(metadata.text("tokenizer.ggml.model").unwrap(), model);
        assert_eq!(metadata.texts("tokenizer.ggml.tokens").unwrap().len(), tokens);
        assert_eq!(metadata.numbers("tokenizer.ggml.token_type").unwrap().len(), tokens);
    }
}

#[test]
fn a_real_model_keeps_its_weights_in_fewer_bits() {
    let Some(folder) = shared("models/aidreams260K") else { return };
    let gguf = Gguf::open(&folder.join("aidreams260K-f32.gguf")).unwrap();
    // Rows of 64 are too short for blocks of 256: all rows of a tensor as one.
    let errors: Vec<(BlockFormat, f64)> = BlockFormat::ALL
        .into_iter()
        .map(|format| {
            let (mut error, mut size) = (0.0, 0.0);
            for tensor in gguf.tensors().filter(|tensor| tensor.shape().len() == 2) {
                let row = tensor.dequantized().unwrap();
                let row = &row[..row.len() / 256 * 256];
                let mut bytes = vec![0; format.bytes_for(row.len()).unwrap()];
                let mut restored = vec![0.0; row.len()];
                format.quantize_rows(row.len(), row, None, &mut bytes);
                format.dequantize_all(&bytes, &mut restored);
                for (x, y) in row.iter().zip(&restored) {
                    error += f64::from(x - y).powi(2);
                    size += f64::from(*x).powi(2);
                }
            }
            (format, (error / size).sqrt())
        })
        .collect();
    eprintln!("{errors:.5?}");
    let of = |format| errors.iter().find(|(known, _)| *known == format).unwrap().1;
    // More bits are better, and a searched scale better than a rounded one of as many bits.
    assert!(of(BlockFormat::Q8_0) < of(BlockFormat::Q6K));
    assert!(of(BlockFormat::Q6K) < of(BlockFormat::Q5K));
    assert!(of(BlockFormat::Q5K) < of(BlockFormat::Q5_0).min(of(BlockFormat::Q4K)));
    assert!(of(BlockFormat::Q4K) < of(BlockFormat::Q4_0));
}
