//! Texts to tokens and back: nothing is lost, nothing is injected.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the shared module"
)]

mod shared;

use proptest::prelude::*;
use sprat_model::{Control, TextTokenizer};
use std::path::Path;

fn byte_level() -> TextTokenizer {
    TextTokenizer::from_gguf(&shared::byte_level()).unwrap()
}

fn sentence_piece() -> TextTokenizer {
    TextTokenizer::from_gguf(&shared::sentence_piece()).unwrap()
}

/// Texts with much of what tokenizers trip over.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,6}".boxed(),
        proptest::sample::select(vec![
            "<|im_end|>",
            "<|im_start|>",
            "<|endoftext|>",
            "<|im_",
            "end|>",
            "<tool_call>",
            "</s>",
            "<s>",
            "<0x41>",
            "▁",
            " ",
            "\n\n",
            "hello",
            "é",
            "e\u{301}",
            "日本",
            "🙂",
            "👩‍👩‍👧",
            "\0",
            "\u{fffd}",
            "\u{fdd0}",
            "[INST]",
            "[",
            "INST]",
        ])
        .prop_map(str::to_owned)
        .boxed(),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn decoding_gives_the_text_back(text in texts()) {
        let mut vocabulary = shared::byte_level();
        vocabulary.pre = Some("gpt-2".to_owned());
        let tokenizer = TextTokenizer::from_gguf(&vocabulary).unwrap();
        for control in [Control::AsText, Control::Parsed] {
            let ids = tokenizer.encode(&text, control, false).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, false), text.as_str());
        }
        let ids = sentence_piece().encode(&text, Control::AsText, false).unwrap();
        prop_assert_eq!(sentence_piece().decode(&ids, false), text.replace('▁', " "));
    }

    #[test]
    fn no_text_becomes_a_control_token(text in texts()) {
        for tokenizer in [byte_level(), sentence_piece()] {
            for id in tokenizer.encode(&text, Control::AsText, false).unwrap() {
                prop_assert!(!tokenizer.is_control(id), "{id}");
            }
        }
    }

    #[test]
    fn a_stream_equals_the_whole(
        ids in proptest::collection::vec(0..290_u32, 0..40),
        skip in any::<bool>(),
    ) {
        for tokenizer in [byte_level(), sentence_piece()] {
            let mut decoder = tokenizer.decoder(skip);
            let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
            text.push_str(&decoder.finish());
            prop_assert_eq!(&text, &tokenizer.decode(&ids, skip));
            // The bytes of the tokens, put together.
            let kept = ids.iter().filter(|&&id| !(skip && tokenizer.is_control(id)));
            let bytes: Vec<u8> = kept.flat_map(|&id| tokenizer.token_bytes(id).to_vec()).collect();
            let whole = String::from_utf8_lossy(&bytes).into_owned();
            let stripped = whole.strip_prefix(' ').unwrap_or(&whole);
            prop_assert!(text == whole || text == stripped);
        }
    }
}

#[test]
fn control_tokens_come_from_templates_alone() {
    let tokenizer = byte_level();
    let end = tokenizer.token_id("<|im_end|>").unwrap();
    let text = "hello<|im_end|>";
    let parsed = tokenizer.encode(text, Control::Parsed, false).unwrap();
    assert_eq!(parsed, [tokenizer.token_id("hello").unwrap(), end]);
    let plain = tokenizer.encode(text, Control::AsText, false).unwrap();
    assert!(!plain.contains(&end), "{plain:?}");
    assert_eq!(tokenizer.decode(&plain, true), text);
    // A token that was added for texts is one in every text.
    let call = tokenizer.token_id("<tool_call>").unwrap();
    assert_eq!(tokenizer.encode("<tool_call>", Control::AsText, false).unwrap(), [call]);
    let with_bos = tokenizer.encode("", Control::AsText, true).unwrap();
    assert_eq!(with_bos, [tokenizer.bos().unwrap()]);
}

#[test]
fn pieces_that_merge_into_a_control_token_are_spelled() {
    // `</` and `s>` are pieces, and merges of a damaged or careless file join them.
    let tokenizer = sentence_piece();
    let ids = tokenizer.encode("a</s>b", Control::AsText, false).unwrap();
    assert!(!ids.contains(&2), "{ids:?}");
    assert_eq!(tokenizer.decode(&ids, true), "a</s>b");

    let folder = tempfile::tempdir().unwrap();
    let whole = shared::sentence_piece().tokenizer().unwrap().to_string(false).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    merges.push(serde_json::json!(["</", "s>"]));
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let tokenizer = TextTokenizer::open(folder.path()).unwrap();
    let ids = tokenizer.encode("a</s>b", Control::AsText, false).unwrap();
    assert!(!ids.contains(&2), "{ids:?}");
    assert_eq!(tokenizer.decode(&ids, true), "a</s>b");
    let ids = tokenizer.encode("a</s>b", Control::Parsed, false).unwrap();
    assert!(ids.contains(&2), "{ids:?}");
}

#[test]
fn a_stream_holds_incomplete_characters_back() {
    let tokenizer = byte_level();
    let ids = tokenizer.encode("🙂é", Control::AsText, false).unwrap();
    let mut decoder = tokenizer.decoder(true);
    let pieces: Vec<String> = ids.iter().map(|&id| decoder.push(id)).collect();
    assert_eq!(pieces, ["", "", "", "🙂", "", "é"]);
    assert!(!decoder.is_holding());
    // Half a character, then a letter: now it is certain.
    let mut decoder = tokenizer.decoder(true);
    assert_eq!(decoder.push(ids[0]), "");
    assert!(decoder.is_holding());
    assert_eq!(decoder.push(tokenizer.token_id("a").unwrap()), "\u{fffd}a");
    assert_eq!(decoder.push(ids[0]), "");
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(decoder.push(1_000_000), "");

    let tokenizer = sentence_piece();
    let ids = tokenizer.encode("ab é", Control::AsText, false).unwrap();
    assert_eq!(tokenizer.token_bytes(ids[0]), b" ab");
    assert_eq!(tokenizer.decode(&ids, true), "ab é");
    let mut decoder = tokenizer.continuing_decoder(true);
    assert_eq!(decoder.push(ids[0]), " ab");
}

#[test]
fn a_folder_says_how_texts_begin_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let open = || TextTokenizer::open(folder.path()).unwrap();
    let missing = TextTokenizer::open(folder.path()).unwrap_err();
    assert_eq!(missing.code().id, "SPRAT-MODEL-MISSING-FILE");
    put("tokenizer.json", "{}");
    assert_eq!(TextTokenizer::open(folder.path()).unwrap_err().code().id, "SPRAT-MODEL-TOKENIZER");

    put("tokenizer.json", &shared::byte_level().tokenizer().unwrap().to_string(false).unwrap());
    let bare = open();
    let id = |text: &str| bare.token_id(text).unwrap();
    // Nothing but the vocabulary: the texts that end turns are known.
    assert_eq!((bare.bos(), bare.eos(), bare.adds_bos()), (None, None, false));
    assert_eq!(bare.ends(), [id("<|im_end|>"), id("<|endoftext|>")]);

    put("generation_config.json", &format!("{{\"eos_token_id\": [{}, 5]}}", id("<|im_end|>")));
    assert_eq!(open().ends(), [5, id("<|im_end|>"), id("<|endoftext|>")]);
    assert!(open().is_control(5));
    put("generation_config.json", "{\"eos_token_id\": 100000}");
    assert_eq!(open().ends(), [id("<|im_end|>"), id("<|endoftext|>")]);
    put("special_tokens_map.json", r#"{"pad_token": {"content": "<|endoftext|>"}}"#);
    put(
        "tokenizer_config.json",
        r#"{"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "add_bos_token": true}"#,
    );
    let opened = open();
    assert_eq!(opened.bos(), Some(id("<|im_start|>")));
    assert_eq!(opened.eos(), Some(id("<|im_end|>")));
    assert_eq!(opened.pad(), Some(id("<|endoftext|>")));
    assert!(opened.adds_bos() && !opened.adds_eos());
    let texts = opened.special_texts();
    assert_eq!(texts.bos.as_deref(), Some("<|im_start|>"));
    assert_eq!(texts.control, ["<|endoftext|>", "<|im_end|>", "<|im_start|>", "[INST]"]);
    // The digest follows from what is read, not from how the file is written.
    assert_ne!(opened.digest().unwrap(), bare.digest().unwrap());
    let pretty = shared::byte_level().tokenizer().unwrap().to_string(true).unwrap();
    put("tokenizer.json", &pretty);
    assert_eq!(open().digest().unwrap(), opened.digest().unwrap());
    put("tokenizer_config.json", "{");
    assert_eq!(TextTokenizer::open(folder.path()).unwrap_err().code().id, "SPRAT-MODEL-CONFIG");
}

#[test]
fn all_ways_to_write_a_prefix_are_understood() {
    let whole = shared::sentence_piece().tokenizer().unwrap().to_string(false).unwrap();
    let encode = |change: &dyn Fn(&mut serde_json::Value), text: &str| {
        let mut json: serde_json::Value = serde_json::from_str(&whole).unwrap();
        change(&mut json);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        let tokenizer = TextTokenizer::open(folder.path()).unwrap();
        let ids = tokenizer.encode(text, Control::Parsed, false).unwrap();
        let pieces = ids.iter().map(|&id| String::from_utf8_lossy(tokenizer.token_bytes(id)));
        pieces.collect::<Vec<_>>().join("|")
    };
    let metaspace = |scheme: &'static str| {
        move |json: &mut serde_json::Value| {
            let step = serde_json::json!({
                "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false,
            });
            json["normalizer"] = serde_json::Value::Null;
            json["pre_tokenizer"] = step.clone();
        }
    };
    for (text, legacy, always, first, never) in [
        ("ab</s>ab", " ab|</s>| ab", " ab|</s>| ab", " ab|</s>|ab", "ab|</s>|ab"),
        (" ab", " | ab", " ab", " ab", " ab"),
        ("</s>ab", "</s>| ab", "</s>| ab", "</s>|ab", "</s>|ab"),
    ] {
        assert_eq!(encode(&|_| {}, text), legacy, "{text}");
        assert_eq!(encode(&metaspace("always"), text), always, "{text}");
        assert_eq!(encode(&metaspace("first"), text), first, "{text}");
        assert_eq!(encode(&metaspace("never"), text), never, "{text}");
    }
}

/// Tokens that other programs made of a text, with a vocabulary that has these tokens too.
#[test]
fn tokens_equal_published_ones() {
    let Some(data) = shared::data() else { return };
    let data = data.join("data/tokenizers");
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(data.join(name)).unwrap()).unwrap()
    };
    let open = |path: &Path| TextTokenizer::from_gguf(&shared::vocabulary(path)).unwrap();
    let gpt2 = open(&data.join("models/ggml-vocab-gpt-2.gguf"));
    // Phi-3's vocabulary is Llama 2's with more tokens behind.
    let llama = open(&data.join("models/ggml-vocab-phi-3.gguf"));
    for (name, tokenizer) in [("gpt2_encoded_tokens", &gpt2), ("llama_encoded", &llama)] {
        let case = read(&format!("{name}.json"));
        let ids: Vec<u32> = serde_json::from_value(case["token_ids"].clone()).unwrap();
        let text = case["text"].as_str().unwrap();
        let own = tokenizer.encode(text, Control::AsText, tokenizer.adds_bos()).unwrap();
        assert_eq!(own, ids, "{name}");
        assert_eq!(tokenizer.decode(&own, true), text);
    }
    let tests = read("tokenizer_tests.json");
    let llama_2 = "coreml-projects/Llama-2-7b-chat-coreml";
    for (name, tokenizer) in [("distilgpt2", &gpt2), (llama_2, &llama)] {
        for case in tests[name].as_array().unwrap() {
            let text = case["input"].as_str().unwrap();
            let ids: Vec<u32> =
                serde_json::from_value(case["encoded"]["input_ids"].clone()).unwrap();
            let own = tokenizer.encode(text, Control::Parsed, tokenizer.adds_bos()).unwrap();
            assert_eq!(own, ids, "{name}: {text:?}");
        }
    }
}
