//! Which files of a source make up a model.
//!
//! A repository often holds the same weights five times over (PyTorch, ONNX, OpenVINO, TensorFlow,
//! safetensors in several precisions). One set is enough: the safetensors, the configuration, the
//! tokenizer, and the modules of sentence-transformers.

use crate::codes::NO_WEIGHTS;
use sprat_task::{Error, Result};
use std::collections::BTreeSet;

/// Files at the root of a model that are always taken where present.
const ROOT: [&str; 18] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "chat_template.jinja",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "adapter_config.json",
    "adapter_model.safetensors",
];

/// A file is a shard: `NAME-00001-of-00003.safetensors`.
fn is_shard(name: &str) -> bool {
    name.strip_suffix(".safetensors").is_some_and(|stem| {
        let mut parts = stem.rsplitn(4, '-');
        let (count, of, number) = (parts.next(), parts.next(), parts.next());
        let digits = |text: Option<&str>| {
            text.is_some_and(|t| t.len() >= 5 && t.bytes().all(|b| b.is_ascii_digit()))
        };
        of == Some("of") && digits(count) && digits(number) && parts.next().is_some()
    })
}

/// A module of sentence-transformers: a folder such as `1_Pooling`, with its configuration and
/// perhaps a small layer.
fn is_module(path: &str) -> bool {
    let Some((folder, file)) = path.split_once('/') else { return false };
    let Some((number, _)) = folder.split_once('_') else { return false };
    !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && ["config.json", "model.safetensors"].contains(&file)
}

/// The files to take among `paths` (relative, with `/`), sorted. `file` names the one weight file
/// to take instead of the usual choice.
///
/// # Errors
/// [`NO_WEIGHTS`] when neither safetensors nor one single GGUF file are there.
pub(crate) fn select(paths: &[String], file: Option<&str>, source: &str) -> Result<Vec<String>> {
    let all: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
    if let Some(file) = file.filter(|file| is_gguf(file)) {
        // The whole model is in it: configuration, tokenizer and template too.
        return match all.contains(file) {
            true => Ok(vec![file.to_owned()]),
            false => Err(no_weights(&all, Some(file), source)),
        };
    }
    let mut taken: BTreeSet<&str> =
        all.iter().copied().filter(|path| ROOT.contains(path) || is_module(path)).collect();
    let weights = match file {
        Some(file) => all.get(file).copied().into_iter().collect(),
        None => usual_weights(&all),
    };
    let gguf: Vec<&str> = all.iter().copied().filter(|path| is_gguf(path)).collect();
    if weights.is_empty()
        && file.is_none()
        && let [only] = gguf[..]
    {
        return Ok(vec![only.to_owned()]);
    }
    if weights.is_empty() {
        return Err(no_weights(&all, file, source));
    }
    taken.extend(weights);
    Ok(taken.into_iter().map(str::to_owned).collect())
}

fn usual_weights<'a>(all: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let root: Vec<&str> = all.iter().copied().filter(|path| !path.contains('/')).collect();
    if root.contains(&"model.safetensors") {
        return vec!["model.safetensors"];
    }
    if root.contains(&"model.safetensors.index.json") {
        let is_part = |name: &&str| {
            *name == "model.safetensors.index.json"
                || (name.starts_with("model-") && is_shard(name))
        };
        return root.into_iter().filter(is_part).collect();
    }
    let others: Vec<&str> = root
        .into_iter()
        .filter(|name| name.ends_with(".safetensors") && *name != "adapter_model.safetensors")
        .collect();
    // Several unnamed weight files: nobody can tell which one is the model.
    if others.len() == 1 { others } else { Vec::new() }
}

fn no_weights(all: &BTreeSet<&str>, file: Option<&str>, source: &str) -> Error {
    let error = Error::new(&NO_WEIGHTS, format!("no safetensors weights were found in {source}"));
    if let Some(file) = file {
        return error.why(format!("there is no file `{file}`"));
    }
    let several: Vec<&str> =
        all.iter().copied().filter(|path| path.ends_with(".safetensors")).collect();
    if let Some(first) = several.first() {
        return error
            .why(format!("none is the obvious one among {}", several.join(", ")))
            .help(format!("Name one: add `#{first}` to the reference."));
    }
    let gguf: Vec<&str> = all.iter().copied().filter(|path| is_gguf(path)).collect();
    if let Some(first) = gguf.first() {
        return error
            .why(format!("it holds several GGUF files: {}", gguf.join(", ")))
            .help(format!("Name one: add `#{first}` to the reference."));
    }
    if all.contains("pytorch_model.bin") {
        return error
            .why("it holds pickled weights only (pytorch_model.bin), which can run code when read")
            .help(
                "On the hub, the pull request that converts them is often there: look at the \
                   model's discussions and add `@refs/pr/NUMBER` to the reference.",
            );
    }
    error
}

/// Whether a path names a GGUF file.
pub(crate) fn is_gguf(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gguf_file_is_a_whole_model() {
        assert_eq!(chosen(&["README.md", "a.gguf"], None).unwrap(), ["a.gguf"]);
        let asked = chosen(&["a.gguf", "b.gguf", "config.json"], Some("b.gguf"));
        assert_eq!(asked.unwrap(), ["b.gguf"]);
    }

    fn chosen(paths: &[&str], file: Option<&str>) -> Result<Vec<String>> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        select(&paths, file, "here")
    }

    #[test]
    fn one_set_of_weights_is_taken_and_the_rest_is_left() {
        let taken = chosen(
            &[
                "config.json",
                "tokenizer.json",
                "modules.json",
                "1_Pooling/config.json",
                "2_Dense/model.safetensors",
                "model.safetensors",
                "pytorch_model.bin",
                "onnx/model.onnx",
                "openvino/config.json",
                "README.md",
                "train_script.py",
            ],
            None,
        );
        assert_eq!(
            taken.unwrap(),
            [
                "1_Pooling/config.json",
                "2_Dense/model.safetensors",
                "config.json",
                "model.safetensors",
                "modules.json",
                "tokenizer.json"
            ]
        );
    }

    #[test]
    fn shards_come_with_their_index() {
        let paths = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
        ];
        assert_eq!(chosen(&paths, None).unwrap(), paths[..4]);
    }

    #[test]
    fn a_source_without_safetensors_says_what_it_holds() {
        let reason = |paths: &[&str], file| chosen(paths, file).unwrap_err().to_string();
        assert!(reason(&["config.json", "pytorch_model.bin"], None).contains("pickled"));
        assert!(reason(&["a.gguf", "b.gguf"], None).contains("several GGUF"));
        assert!(reason(&["a.safetensors", "b.safetensors"], None).contains("obvious"));
        assert!(reason(&["config.json"], Some("x.safetensors")).contains("x.safetensors"));
        assert!(reason(&["b.gguf"], Some("a.gguf")).contains("no file"));
    }
}
