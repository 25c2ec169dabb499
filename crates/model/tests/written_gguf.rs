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
use sprat_model::decoder::{Decoder, DecoderAdapter, TokenExample, write_gguf};
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
        let bytes = write_gguf(&base, Some(files.path()), format, &path).unwrap();
        assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        (loss(&open(&path), None), bytes)
    };
    let (same, whole) = merged(None, "same.gguf");
    assert!((same - beside).abs() < 1e-4, "{same} merged, {beside} beside");
    let (smaller, bytes) = merged(Some(BlockFormat::Q8_0), "q8_0.gguf");
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
            let error = write_gguf(folder.path(), None, None, &path).unwrap_err();
            assert!(error.to_string().contains("the scale of attention"), "{name}: {error}");
            assert!(!path.exists() && !path.with_extension("gguf.tmp").exists(), "{name}");
            let mut config = family["config"].clone();
            config["query_pre_attn_scalar"] = config["head_dim"].clone();
            std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        }
        let bytes = write_gguf(folder.path(), None, None, &path).unwrap();
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
    write_gguf(folder.path(), None, Some(BlockFormat::Q8_0), &path).unwrap();
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
    let error = write_gguf(folder.path(), None, None, &out).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-VOCABULARY", "{error}");
    assert!(!out.exists());
}

/// The same model as a folder and as the file that llama.cpp's converter made of it.
#[test]
fn a_folder_becomes_the_file_that_the_converter_made() {
    let Some(folder) = shared::data().map(|data| data.join("models/aidreams260K")) else { return };
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("written.gguf");
    write_gguf(&folder.join("hf"), None, None, &path).unwrap();
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
