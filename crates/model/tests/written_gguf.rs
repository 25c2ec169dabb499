//! GGUF files made of other models: of another file with an adapter, and of folders.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the shared modules"
)]

mod formula;
mod shared;
mod tiny_decoder;

use serde_json::json;
use sprat_model::decoder::{
    Decoder, DecoderAdapter, Formats, Importance, StoredMatrix, TokenExample, write_gguf,
};
use sprat_model::files::Gguf;
use sprat_model::{Conversation, Format, LanguageModel};
use sprat_nn::BlockFormat;
use std::path::Path;

fn open(path: &Path) -> Decoder {
    Decoder::open_gguf(&Gguf::open(path).unwrap(), None).unwrap()
}

#[test]
fn merged_and_beside_have_the_same_losses() {
    let Some(folder) = shared::data().map(|data| data.join("models/aidreams260K")) else { return };
    let base = folder.join("aidreams260K-f32.gguf");
    let plain = open(&base);
    let made = tiny_decoder::adapter(plain.config(), 3, "x");
    let files = tempfile::tempdir().unwrap();
    made.write(files.path(), plain.config()).unwrap();
    let packed = DecoderAdapter::new(&made, plain.config());
    let ids: Vec<u32> = (1..60).map(|at| at * 7 % 500 + 3).collect();
    let text = [TokenExample { answer: 1..ids.len(), ids }];
    let loss = |decoder: &Decoder, adapter: Option<&DecoderAdapter>| {
        let sum = decoder.measure(&text, adapter, 512);
        sum.loss / sum.tokens as f64
    };
    let (alone, beside) = (loss(&plain, None), loss(&plain, Some(&packed)));
    assert!((alone - beside).abs() > 1e-2, "the adapter does something: {alone}, {beside}");
    let merged = |format, name: &str| {
        let path = files.path().join(name);
        let bytes = write_gguf(&base, Some(files.path()), format, None, &path).unwrap().bytes;
        assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        (loss(&open(&path), None), bytes)
    };
    let (same, whole) = merged(Formats::Own, "same.gguf");
    assert!((same - beside).abs() < 1e-4, "{same} merged, {beside} beside");
    let (smaller, bytes) = merged(Formats::One(BlockFormat::Q8_0), "q8_0.gguf");
    assert!((smaller - beside).abs() < 5e-2, "{smaller} in blocks, {beside} beside");
    assert!(bytes * 2 < whole, "{bytes} of {whole} bytes");
}

/// A tokenizer in SentencePiece's manner, with few enough tokens for the tiny decoders.
fn write_tokenizer(folder: &Path) {
    let pieces = ["<unk>", "<s>", "</s>", "▁", "a", "b", "e", "n", "t", "en", "▁t", "ten", "▁ten"];
    let vocabulary: serde_json::Map<_, _> =
        pieces.iter().enumerate().map(|(id, text)| ((*text).to_owned(), json!(id))).collect();
    let added: Vec<_> = (0..3)
        .map(|id| {
            json!({"id": id, "content": pieces[id], "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": false,
            "vocab": vocabulary,
            "merges": [["e", "n"], ["▁", "t"], ["t", "en"], ["▁", "ten"], ["▁t", "en"]]},
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true});
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

#[test]
fn every_family_has_the_same_losses_as_a_file() {
    let golden = tiny_decoder::golden();
    let ids: Vec<u32> =
        golden["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let text = [TokenExample { answer: 1..ids.len(), ids }];
    for (name, family) in golden["families"].as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        tiny_decoder::write(family, folder.path());
        write_tokenizer(folder.path());
        let path = folder.path().join("written.gguf");
        if name.starts_with("gemma") {
            // Files of these leave the scale to the architecture, and the tiny ones have their own.
            let error = write_gguf(folder.path(), None, Formats::Own, None, &path).unwrap_err();
            assert!(error.to_string().contains("the scale of attention"), "{name}: {error}");
            assert!(!path.exists() && !path.with_extension("gguf.tmp").exists(), "{name}");
            let mut config = family["config"].clone();
            config["query_pre_attn_scalar"] = config["head_dim"].clone();
            std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        }
        let bytes = write_gguf(folder.path(), None, Formats::Own, None, &path).unwrap().bytes;
        assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        let loss = |decoder: Decoder| decoder.measure(&text, None, 512).loss;
        let before = loss(Decoder::open(folder.path(), Format::F32, None).unwrap());
        let after = loss(open(&path));
        assert!((before - after).abs() < 1e-3, "{name}: {before}, as a file {after}");
    }
}

#[test]
fn a_chat_model_answers_as_its_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    sprat_model::tiny::write_decoder(folder.path(), 3).unwrap();
    let path = folder.path().join("written.gguf");
    let blocks = Formats::One(BlockFormat::Q8_0);
    write_gguf(folder.path(), None, blocks, None, &path).unwrap();
    let (before, after) = (
        LanguageModel::open(folder.path(), Format::F32, None).unwrap(),
        LanguageModel::open(&path, Format::F32, None).unwrap(),
    );
    assert_eq!(before.template_digest(), after.template_digest());
    assert_eq!(before.tokenizer().ends(), after.tokenizer().ends());
    assert_eq!(before.tokenizer().special_texts().bos, after.tokenizer().special_texts().bos);
    let asked = Conversation::of(&[("user", "Two <|end|> at 8?")]);
    let now = sprat_task::Timestamp(0);
    let ids =
        |model: &LanguageModel| model.encode_prompt(&model.render(&asked, now).unwrap()).unwrap();
    assert_eq!(ids(&before), ids(&after));
}

#[test]
fn a_tokenizer_that_a_file_cannot_describe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    sprat_model::tiny::write_decoder(folder.path(), 3).unwrap();
    let path = folder.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]});
    std::fs::write(&path, json.to_string()).unwrap();
    let out = folder.path().join("written.gguf");
    let error = write_gguf(folder.path(), None, Formats::Own, None, &out).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-VOCABULARY", "{error}");
    assert!(!out.exists());
}

/// The same model as a folder and as the file that llama.cpp's converter made of it.
#[test]
fn a_folder_becomes_the_file_that_the_converter_made() {
    let Some(folder) = shared::data().map(|data| data.join("models/aidreams260K")) else { return };
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("written.gguf");
    write_gguf(&folder.join("hf"), None, Formats::Own, None, &path).unwrap();
    let (own, theirs) =
        (Gguf::open(&path).unwrap(), Gguf::open(&folder.join("aidreams260K-f32.gguf")).unwrap());
    for tensor in theirs.tensors() {
        // They write the shared table twice.
        if tensor.name() == "output.weight" {
            continue;
        }
        let mine = own.tensor(tensor.name()).unwrap();
        assert_eq!(mine.shape(), tensor.shape(), "{}", tensor.name());
        assert_eq!(mine.dequantized().unwrap(), tensor.dequantized().unwrap(), "{}", tensor.name());
    }
}

/// The folder of a Llama whose rows are whole blocks of 256, with random weights.
fn write_wide(folder: &Path) {
    let (hidden, wide, layers) = (256, 512, 4);
    let config = json!({
        "model_type": "llama", "vocab_size": 13, "hidden_size": hidden, "intermediate_size": wide,
        "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        "bos_token_id": 1, "eos_token_id": 2,
    });
    let mut tensors = serde_json::Map::new();
    let mut add = |name: String, shape: &[usize]| {
        tensors.insert(name, json!(shape));
    };
    add("model.embed_tokens.weight".into(), &[13, hidden]);
    add("lm_head.weight".into(), &[13, hidden]);
    add("model.norm.weight".into(), &[hidden]);
    for layer in 0..layers {
        let shapes: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[hidden]),
            ("post_attention_layernorm", &[hidden]),
            ("self_attn.q_proj", &[hidden, hidden]),
            ("self_attn.k_proj", &[hidden / 2, hidden]),
            ("self_attn.v_proj", &[hidden / 2, hidden]),
            ("self_attn.o_proj", &[hidden, hidden]),
            ("mlp.gate_proj", &[wide, hidden]),
            ("mlp.up_proj", &[wide, hidden]),
            ("mlp.down_proj", &[hidden, wide]),
        ];
        for (name, shape) in shapes {
            add(format!("model.layers.{layer}.{name}.weight"), shape);
        }
    }
    tiny_decoder::write_random(&json!({"config": config, "tensors": tensors}), folder);
    write_tokenizer(folder);
}

fn of<'a>(matrices: &'a [StoredMatrix], name: &str) -> &'a StoredMatrix {
    matrices.iter().find(|one| one.name == name).unwrap()
}

#[test]
fn mixes_of_formats_are_written_as_planned_and_computed_with() {
    use BlockFormat::{Q4K, Q6K};
    let folder = tempfile::tempdir().unwrap();
    write_wide(folder.path());
    let plain = Decoder::open(folder.path(), Format::F32, None).unwrap();
    let ids: Vec<u32> = (0..40).map(|at| at * 5 % 13).collect();
    let text = [TokenExample { answer: 1..ids.len(), ids }];
    let importance = plain.importance(&text, None, 512);
    let path = folder.path().join("small.gguf");
    let write = |formats: Formats<'_>, importance: Option<&Importance>| {
        let written = write_gguf(folder.path(), None, formats, importance, &path).unwrap();
        let file = Gguf::open(&path).unwrap();
        for one in &written.matrices {
            assert_eq!(file.tensor(&one.name).unwrap().format(), one.format);
        }
        let loss = Decoder::open_gguf(&file, None).unwrap().measure(&text, None, 512).loss;
        (written, loss / (text[0].ids.len() - 1) as f64)
    };
    let before = plain.measure(&text, None, 512).loss / (text[0].ids.len() - 1) as f64;

    let (mix, loss) = write(Formats::Q4KM, None);
    assert!((loss - before).abs() < 0.5, "{loss}, before {before}");
    let more = |name: &str| of(&mix.matrices, name).format == Q6K;
    assert!(more("output.weight") && !more("token_embd.weight"));
    let down: Vec<bool> = (0..4).map(|at| more(&format!("blk.{at}.ffn_down.weight"))).collect();
    let value: Vec<bool> = (0..4).map(|at| more(&format!("blk.{at}.attn_v.weight"))).collect();
    assert_eq!((down, value), (vec![false, false, true, true], vec![false, false, true, true]));
    assert!(mix.matrices.iter().filter(|one| one.format != Q6K).all(|one| one.format == Q4K));

    let (six, loss) = write(Formats::One(Q6K), Some(&importance));
    assert!((loss - before).abs() < 0.15, "{loss}, before {before}");
    assert!(six.matrices.iter().all(|one| one.format == Q6K));

    for bits in [4.6, 5.5, 7.0] {
        let (mixed, _) = write(Formats::Budget(bits), Some(&importance));
        let (bytes, weights) = mixed
            .matrices
            .iter()
            .fold((0, 0), |(bytes, weights), one| (bytes + one.bytes(), weights + one.weights));
        let taken = bytes as f64 * 8.0 / weights as f64;
        assert!(taken <= bits && taken > bits - 0.3, "{taken} of {bits} bits");
        let (again, _) = write(Formats::Like(&mixed.matrices), Some(&importance));
        assert_eq!(again, mixed);
    }
    let error = write_gguf(folder.path(), None, Formats::Budget(4.4), None, &path).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-BUDGET");
    assert!(error.to_string().contains("4.50 bits"), "{error}");
}

#[test]
fn a_real_model_is_written_within_its_budget_and_loses_little() {
    let Some(folder) = shared::data().map(|data| data.join("models/aidreams260K")) else { return };
    let base = folder.join("aidreams260K-f32.gguf");
    let model = LanguageModel::open(&base, Format::F32, None).unwrap();
    let own = std::fs::read_to_string(folder.join("greedy_run_c_120.txt")).unwrap();
    let ids = model.encode_text(&own).unwrap();
    let text = [TokenExample { answer: 1..ids.len(), ids }];
    let importance = model.decoder().importance(&text, None, 512);
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("small.gguf");
    let loss = |decoder: &Decoder| {
        let sum = decoder.measure(&text, None, 512);
        sum.loss / sum.tokens as f64
    };
    let before = loss(model.decoder());
    let write = |formats: Formats<'_>| {
        let written = write_gguf(&base, None, formats, Some(&importance), &path).unwrap();
        (written.bytes, loss(&open(&path)) - before)
    };
    let plain = write(Formats::One(BlockFormat::Q4_0));
    let found = [6.5, 7.0, 9.0, 10.0].map(|bits| write(Formats::Budget(bits)));
    eprintln!("bytes and nats a token lost: Q4_0 {plain:?}, by budget {found:?}");
    assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "{found:?}");
    assert!(found.iter().all(|(_, lost)| *lost < plain.1), "{plain:?} {found:?}");
    assert!(found[3].1.abs() < 1e-3, "{found:?}");
}
