//! Labelled examples, and datasets named by the digest of their content.

use serde::{Deserialize, Serialize};
use sprat_task::Digest;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One row of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Number of the record in its file, from 1; a header is not counted.
    pub row: u64,
    /// Line of the file on which the record begins, from 1; the row number for Parquet.
    pub line: u64,
    /// The input, exactly as it stands in the file.
    pub text: String,
    /// The target, trimmed; none when the cell is missing or empty.
    pub label: Option<String>,
    /// What must not be torn apart by a split, such as a conversation.
    pub group: Option<String>,
    /// All other columns that were kept.
    pub extra: BTreeMap<String, String>,
}

/// Examples in the order of their file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The rows.
    pub examples: Vec<Example>,
    /// Names the content: the same texts, labels, groups and extra columns in the same order
    /// give the same digest, whatever the file's path, format, line ends or column order.
    pub digest: Digest,
    /// The file it was read from, or what it was derived from.
    pub source: PathBuf,
}

/// Rows whose encodings are hashed together; part of the digest's definition.
const BLOCK: usize = 1024;

impl Dataset {
    /// A dataset over these examples; computes the digest.
    pub fn new(examples: Vec<Example>, source: impl Into<PathBuf>) -> Self {
        let digest = content_digest(&examples);
        Dataset { examples, digest, source: source.into() }
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The distinct labels, sorted, and how many rows bear each.
    pub fn label_counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for label in self.examples.iter().filter_map(|example| example.label.as_deref()) {
            *counts.entry(label).or_insert(0) += 1;
        }
        counts
    }

    /// The distinct labels, sorted: the class order of every model trained on this data.
    pub fn labels(&self) -> Vec<String> {
        self.label_counts().into_keys().map(str::to_owned).collect()
    }
}

/// SHA-256 over the SHA-256 digests (in hexadecimal) of blocks of 1,024 rows. A row is encoded as
/// its fields, each with a tag and its length, so that no two different rows look alike.
fn content_digest(examples: &[Example]) -> Digest {
    let mut names = String::new();
    let mut block = Vec::new();
    for rows in examples.chunks(BLOCK) {
        block.clear();
        for example in rows {
            field(&mut block, b'T', &example.text);
            if let Some(label) = &example.label {
                field(&mut block, b'L', label);
            }
            if let Some(group) = &example.group {
                field(&mut block, b'G', group);
            }
            for (name, value) in &example.extra {
                field(&mut block, b'N', name);
                field(&mut block, b'V', value);
            }
        }
        names.push_str(&Digest::of(&block).to_string());
    }
    Digest::of(names.as_bytes())
}

fn field(block: &mut Vec<u8>, tag: u8, text: &str) {
    block.push(tag);
    block.extend_from_slice(&(text.len() as u64).to_le_bytes());
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(text: &str, label: Option<&str>) -> Example {
        Example { text: text.into(), label: label.map(Into::into), ..Example::default() }
    }

    #[test]
    fn the_digest_follows_content_and_order_but_not_the_path_or_line() {
        let a = Dataset::new(vec![example("a", Some("x")), example("b", None)], "one.csv");
        let mut moved = a.examples.clone();
        moved[0].line = 99;
        assert_eq!(a.digest, Dataset::new(moved.clone(), "two.jsonl").digest);
        moved.swap(0, 1);
        assert_ne!(a.digest, Dataset::new(moved, "one.csv").digest);
        let glued = Dataset::new(vec![example("aL", None)], "");
        assert_ne!(glued.digest, Dataset::new(vec![example("a", Some(""))], "").digest);
    }
}
