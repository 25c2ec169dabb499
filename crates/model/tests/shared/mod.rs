//! Public data that is not part of the repository, and small vocabularies that are made here.

use sprat_model::GgufVocabulary;
use sprat_model::files::Gguf;
use std::path::{Path, PathBuf};

/// The shared data; says loudly when it is missing.
pub(crate) fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("SPRAT_SHARED").map_or(beside, PathBuf::from);
    if path.join("data/tokenizers").exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: no shared data at {}; set SPRAT_SHARED", path.display());
    None
}

/// The tokenizer of a GGUF file.
pub(crate) fn vocabulary(path: &Path) -> GgufVocabulary {
    GgufVocabulary::read(Gguf::open(path).unwrap().metadata()).unwrap()
}

/// A folder with a file under the name `tokenizer.json`.
pub(crate) fn folder_with(tokenizer: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(tokenizer, folder.path().join("tokenizer.json")).unwrap();
    folder
}

/// The byte-level alphabet, with a few merges and tokens of chat models.
pub(crate) fn byte_level() -> GgufVocabulary {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..256).filter(|&byte| !printable(byte)).zip(0x100..);
    let letters = (0..256).filter(|&byte| printable(byte)).chain(others.map(|(_, code)| code));
    let mut tokens: Vec<String> = letters.filter_map(char::from_u32).map(String::from).collect();
    let merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "< |", "| >", "i m", "e n", "en d"];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut types = vec![1; tokens.len()];
    for (text, kind) in [
        ("<|im_start|>", 3),
        ("<|im_end|>", 3),
        ("<|endoftext|>", 3),
        ("<tool_call>", 4),
        ("[INST]", 3),
    ] {
        tokens.push(text.to_owned());
        types.push(kind);
    }
    let id = |text: &str| tokens.iter().position(|token| token == text).map(|at| at as u32);
    GgufVocabulary {
        model: "gpt2".to_owned(),
        pre: Some("qwen2".to_owned()),
        bos: id("<|endoftext|>"),
        eos: id("<|im_end|>"),
        merges: Some(merges.iter().map(|merge| (*merge).to_owned()).collect()),
        types: Some(types),
        tokens,
        ..GgufVocabulary::default()
    }
}

/// A SentencePiece vocabulary with bytes. It can merge ordinary pieces into `</s>`.
pub(crate) fn sentence_piece() -> GgufVocabulary {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    let mut types = vec![2, 3, 3];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    types.resize(tokens.len(), 6);
    for text in
        ["▁", "a", "b", "▁a", "ab", "▁ab", "aa", "aaa", "<", "/", "s", ">", "</", "s>", "▁▁"]
    {
        tokens.push(text.to_owned());
    }
    types.resize(tokens.len(), 1);
    let scores = (0..tokens.len()).map(|at| -(at as f32)).collect();
    GgufVocabulary {
        model: "llama".to_owned(),
        tokens,
        types: Some(types),
        scores: Some(scores),
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        ..GgufVocabulary::default()
    }
}
