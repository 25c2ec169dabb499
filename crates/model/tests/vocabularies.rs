//! Vocabularies of GGUF files: damage is said, and tokens equal those of other programs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the shared module"
)]

mod shared;

use sprat_model::{Control, GgufVocabulary, TextTokenizer};
use std::path::Path;

/// llama.cpp's own test texts and the tokens it makes of them.
fn cases(gguf: &Path) -> Vec<(String, Vec<u32>)> {
    let read = |end: &str| std::fs::read_to_string(format!("{}{end}", gguf.display())).unwrap();
    let texts = read(".inp");
    let texts = texts.split("\n__ggml_vocab_test__\n").map(str::to_owned);
    let ids = read(".out");
    let ids = ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()));
    texts.zip(ids.map(Iterator::collect)).collect()
}

#[test]
fn tokens_equal_those_of_llama_cpp() {
    let Some(data) = shared::data() else { return };
    for name in ["gpt-2", "phi-3"] {
        let path = data.join(format!("data/tokenizers/models/ggml-vocab-{name}.gguf"));
        let tokenizer = TextTokenizer::from_gguf(&shared::vocabulary(&path)).unwrap();
        let cases = cases(&path);
        assert!(cases.len() > 40, "{name}: {}", cases.len());
        for (text, ids) in cases {
            let own = tokenizer.encode(&text, Control::AsText, false).unwrap();
            assert_eq!(own, ids, "{name}: {text:?}");
        }
    }
}

#[test]
fn a_gguf_file_and_a_tokenizer_json_give_the_same_tokens() {
    let Some(data) = shared::data() else { return };
    let tokenizers = data.join("data/tokenizers");
    let dreams = data.join("models/aidreams260K");
    let gpt2 = "hf-internal-testing/tiny-random-gpt2-fp32/tokenizer.json";
    let pairs = [
        (tokenizers.join("models/ggml-vocab-phi-3.gguf"), tokenizers.join("phi3-v/tokenizer.json")),
        (tokenizers.join("models/ggml-vocab-gpt-2.gguf"), tokenizers.join(gpt2)),
        (dreams.join("aidreams260K-f32.gguf"), dreams.join("hf/tokenizer.json")),
    ];
    let texts = cases(&tokenizers.join("models/ggml-vocab-gpt-2.gguf"));
    let more = ["aaaaaaaaa", "====== ====", "<s>", "<0x41>", "▁▁ ▁", "\u{0}\u{1f}", "é\u{301}"];
    for (gguf, json) in pairs {
        let ours = TextTokenizer::from_gguf(&shared::vocabulary(&gguf)).unwrap();
        let folder = shared::folder_with(&json);
        let theirs = TextTokenizer::open(folder.path()).unwrap();
        for text in texts.iter().map(|(text, _)| text.as_str()).chain(more) {
            // This GPT-2 file adds tokens for runs of white space, which the other has not.
            if json.ends_with(gpt2) && ["  ", "\t\t"].iter().any(|run| text.contains(run)) {
                continue;
            }
            let encode =
                |tokenizer: &TextTokenizer| tokenizer.encode(text, Control::AsText, false).unwrap();
            assert_eq!(encode(&ours), encode(&theirs), "{}: {text:?}", json.display());
            let ids = encode(&ours);
            assert_eq!(ours.decode(&ids, false), theirs.decode(&ids, false));
        }
        for id in 0..ours.vocabulary().min(theirs.vocabulary()) as u32 {
            // Phi-3's files disagree about which tokens there are from 32,011 on.
            if ours.token_bytes(id).starts_with(b"[PAD") {
                continue;
            }
            assert_eq!(ours.token_bytes(id), theirs.token_bytes(id), "{}: {id}", json.display());
        }
    }
}

#[test]
fn the_dreaming_model_has_its_golden_tokens() {
    let Some(data) = shared::data() else { return };
    let dreams = data.join("models/aidreams260K");
    let golden = std::fs::read_to_string(dreams.join("golden.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
    let gguf = shared::vocabulary(&dreams.join("aidreams260K-q8_0.gguf"));
    let folder = dreams.join("hf");
    for tokenizer in [TextTokenizer::from_gguf(&gguf), TextTokenizer::open(&folder)] {
        let tokenizer = tokenizer.unwrap();
        assert!(tokenizer.adds_bos());
        assert_eq!(
            (tokenizer.bos(), tokenizer.eos(), tokenizer.ends()),
            (Some(1), Some(2), &[2][..])
        );
        tokenizer.fits(512).unwrap();
        assert_eq!(tokenizer.fits(511).unwrap_err().code().id, "SPRAT-MODEL-TOKENIZER");
        for case in golden["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(tokenizer.encode(text, Control::AsText, true).unwrap(), ids, "{text:?}");
            assert_eq!(tokenizer.decode(&ids, true), text);
        }
    }
}

#[test]
fn wrong_metadata_is_a_clear_error() {
    type Change = fn(&mut GgufVocabulary);
    let byte_level: [(&str, Change); 12] = [
        ("tokenizer.ggml.model", |v| v.model = "bert".to_owned()),
        ("tokenizer.ggml.pre", |v| v.pre = Some("falcon".to_owned())),
        ("tokenizer.ggml.tokens", |v| v.tokens.clear()),
        ("tokenizer.ggml.tokens", |v| v.tokens[3] = v.tokens[4].clone()),
        ("tokenizer.ggml.tokens", |v| v.tokens[3] = "x".repeat(2000)),
        ("tokenizer.ggml.tokens", |v| v.tokens[3] = "xyz".to_owned()),
        ("tokenizer.ggml.token_type", |v| v.types.as_mut().unwrap().truncate(3)),
        ("tokenizer.ggml.token_type", |v| v.types.as_mut().unwrap()[0] = 7),
        ("tokenizer.ggml.merges", |v| v.merges = None),
        ("tokenizer.ggml.merges", |v| v.merges.as_mut().unwrap()[0] = "he".to_owned()),
        ("tokenizer.ggml.merges", |v| v.merges.as_mut().unwrap()[0] = "h q".to_owned()),
        ("tokenizer.ggml.eos_token_id", |v| v.eos = Some(100_000)),
    ];
    let sentence_piece: [(&str, Change); 5] = [
        ("tokenizer.ggml.scores", |v| v.scores = None),
        ("tokenizer.ggml.scores", |v| v.scores.as_mut().unwrap()[1] = f32::NAN),
        ("tokenizer.ggml.scores", |v| v.scores.as_mut().unwrap().truncate(1)),
        ("tokenizer.ggml.bos_token_id", |v| v.bos = Some(u32::MAX)),
        ("tokenizer.ggml.unknown_token_id", |v| {
            v.unknown = None;
            let types = v.types.as_mut().unwrap();
            (types[0], types[3]) = (1, 1);
        }),
    ];
    let all = byte_level.map(|case| (shared::byte_level(), case)).into_iter();
    for (mut vocabulary, (field, change)) in
        all.chain(sentence_piece.map(|case| (shared::sentence_piece(), case)))
    {
        TextTokenizer::from_gguf(&vocabulary).unwrap();
        change(&mut vocabulary);
        let error = TextTokenizer::from_gguf(&vocabulary).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-MODEL-VOCABULARY");
        assert_eq!(error.place().field.as_deref(), Some(field), "{error}");
    }
    let mut vocabulary = shared::byte_level();
    vocabulary.pre = Some("falcon".to_owned());
    let error = TextTokenizer::from_gguf(&vocabulary).unwrap_err();
    assert!(error.remedy().contains("llama-bpe") && error.remedy().contains("smollm"));
}

#[test]
fn every_rule_cuts_texts_as_its_family_does() {
    // The words that the rule of a family makes, divided by `|`. Digits by ones, by threes or
    // all together; a letter's companion; contractions in capitals; slashes after signs.
    for (rule, text, expected) in [
        ("gpt-2", "I'M 12345  it's\n\n x", "I|'|M| 12345| | it|'s|\n\n| x"),
        ("smollm", "I'm 12345", "I|'m| |1|2|3|4|5"),
        ("llama-bpe", "I'M 12345  it's\n\n x", "I|'M| |123|45| | it|'s|\n\n| x"),
        ("qwen2", "I'M 123  it's\n\n x", "I|'M| |1|2|3| | it|'s|\n\n| x"),
        ("gpt-4o", "HelloWorld's 1234 ./\n", "Hello|World's| |123|4| ./\n"),
        ("tekken", "HelloWorld's 12 ./\n", "Hello|World|'s| |1|2| ./\n"),
    ] {
        let vocabulary = GgufVocabulary { pre: Some(rule.to_owned()), ..shared::byte_level() };
        let tokenizer = vocabulary.tokenizer().unwrap();
        let mut words = tokenizers::PreTokenizedString::from(text);
        use tokenizers::PreTokenizer;
        tokenizer.get_pre_tokenizer().unwrap().pre_tokenize(&mut words).unwrap();
        let splits =
            words.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
        let words: Vec<&str> = splits.iter().map(|(_, at, _)| &text[at.0..at.1]).collect();
        assert_eq!(words.join("|"), expected, "{rule}");
    }
}
