//! Tokenizers: what is cut is counted, what is wrong is said.

use sprat_model::{Tokenizer, tiny};
use std::path::Path;

fn open(folder: &Path, vocabulary: usize, most: usize) -> sprat_task::Result<Tokenizer> {
    Tokenizer::open(folder, vocabulary, most)
}

#[test]
fn cut_tokens_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write(folder.path(), 1).unwrap();
    let tokenizer = open(folder.path(), 20, 6).unwrap();
    let encode = |text: &str| {
        let tokens = tokenizer.encode(text).unwrap();
        (tokens.ids.len(), tokens.cut)
    };
    assert_eq!(tokenizer.special(), 2);
    assert_eq!(encode(""), (2, 0));
    assert_eq!(encode("red cat"), (4, 0));
    assert_eq!(encode("red cat one two"), (6, 0));
    assert_eq!(encode("red cat one two sun"), (6, 1));
    // Many times the limit: each piece that was cut off is counted once.
    assert_eq!(encode(&"red ".repeat(1000)), (6, 996));
}

#[test]
fn a_book_in_one_cell_costs_little_and_does_not_split_a_character() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write(folder.path(), 1).unwrap();
    let tokenizer = open(folder.path(), 20, 6).unwrap();
    let book = "日".repeat(10 << 20);
    assert_eq!(tokenizer.encode(&book).unwrap().ids, [2, 1, 3]);
}

#[test]
fn many_texts_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write(folder.path(), 1).unwrap();
    let tokenizer = open(folder.path(), 20, 8).unwrap();
    let texts: Vec<&str> = (0..100).map(|at| tiny::WORDS[at % 16]).collect();
    for (at, tokens) in tokenizer.encode_all(&texts).unwrap().into_iter().enumerate() {
        assert_eq!(tokens.ids, [2, 4 + at as u32 % 16, 3]);
    }
}

#[test]
fn a_wrong_tokenizer_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let missing = open(folder.path(), 20, 8).unwrap_err();
    assert_eq!(missing.code().id, "SPRAT-MODEL-MISSING-FILE");
    assert!(missing.to_string().contains("tokenizer.json"));

    std::fs::write(folder.path().join("vocab.txt"), "a\nb").unwrap();
    assert!(open(folder.path(), 20, 8).unwrap_err().remedy().contains("save_pretrained"));

    std::fs::write(&path, "{}").unwrap();
    assert_eq!(open(folder.path(), 20, 8).unwrap_err().code().id, "SPRAT-MODEL-TOKENIZER");

    tiny::write(folder.path(), 1).unwrap();
    let small = open(folder.path(), 19, 8).unwrap_err();
    assert_eq!(small.code().id, "SPRAT-MODEL-TOKENIZER");
    assert!(small.to_string().contains("token 19"), "{small}");
    assert_eq!(open(folder.path(), 20, 2).unwrap_err().code().id, "SPRAT-MODEL-TOKENIZER");
    assert!(open(folder.path(), 20, 3).is_ok());
}
