//! The files by which sentence-transformers turns an encoder into an embedding model:
//! `modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json` and
//! `config_sentence_transformers.json` (<https://www.sbert.net>).

use crate::codes;
use crate::files::json_file;
use serde_json::{Map, Value};
use sprat_nn::Pooling;
use sprat_task::{Error, Result};
use std::path::Path;

/// How texts become embeddings around the encoder itself.
#[derive(Clone, Debug, PartialEq)]
pub struct SentenceConfig {
    /// How the states of a text's tokens become one vector.
    pub pooling: Pooling,
    /// Whether embeddings are scaled to length 1.
    pub normalize: bool,
    /// Where texts are cut, in tokens with the special ones; `None`: at the encoder's own limit.
    pub max_tokens: Option<usize>,
    /// Whether texts are put in lower case before the tokenizer sees them.
    pub lowercase: bool,
    /// What is put before every text, such as E5's `query: `.
    pub prefix: String,
}

impl SentenceConfig {
    /// Reads the files of a model folder. A folder without `modules.json` pools by mean and does
    /// not normalize, as sentence-transformers does with a bare encoder.
    ///
    /// # Errors
    /// `SPRAT-MODEL-POOLING` for a module or a pooling that is not supported,
    /// `SPRAT-MODEL-CONFIG` for a file that does not parse.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut config = SentenceConfig {
            pooling: Pooling::Mean,
            normalize: false,
            max_tokens: None,
            lowercase: false,
            prefix: String::new(),
        };
        let modules = folder.join("modules.json");
        if modules.exists() {
            config.read_modules(folder, &modules)?;
        }
        let transformer = folder.join("sentence_bert_config.json");
        if transformer.exists() {
            let map: Map<String, Value> = json_file(&transformer)?;
            config.max_tokens = size(&map, "max_seq_length", &transformer)?;
            config.lowercase = flag(&map, "do_lower_case");
        }
        let prompts = folder.join("config_sentence_transformers.json");
        if prompts.exists() {
            config.prefix = prefix(&json_file(&prompts)?);
        }
        Ok(config)
    }

    fn read_modules(&mut self, folder: &Path, path: &Path) -> Result<()> {
        let modules: Vec<Module> = json_file(path)?;
        for module in &modules {
            // `sentence_transformers.models.Pooling`; newer versions nest the path deeper.
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => self.pooling = pooling(folder, &module.path)?,
                "Normalize" => self.normalize = true,
                _ => {
                    let what = format!("modules of type `{}` are not supported", module.kind);
                    return Err(Error::new(&codes::POOLING, what)
                        .file(path)
                        .help("Supported modules: Transformer, Pooling, Normalize."));
                }
            }
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

fn pooling(folder: &Path, module: &str) -> Result<Pooling> {
    // The module's path may not lead out of the model's folder.
    let inside = module.split('/').all(|part| part != ".." && !part.is_empty());
    if !inside || module.contains('\\') {
        let what = format!("`{module}` is no folder of the model");
        return Err(Error::new(&codes::CONFIG, what).file(folder.join("modules.json")));
    }
    let path = folder.join(module).join("config.json");
    let map: Map<String, Value> = json_file(&path)?;
    // Old files have a flag a mode; new ones name the mode.
    let mut modes: Vec<String> = map
        .iter()
        .filter(|(_, value)| **value == Value::Bool(true))
        .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
        .map(|mode| mode.trim_end_matches("_tokens").trim_end_matches("_token").to_owned())
        .collect();
    if let Some(Value::String(mode)) = map.get("pooling_mode") {
        modes = vec![mode.clone()];
    }
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["mean"] | [] => Ok(Pooling::Mean),
        ["cls"] => Ok(Pooling::Cls),
        ["lasttoken"] => Ok(Pooling::Last),
        _ => {
            let what = format!("pooling by `{}` is not supported", modes.join("` and `"));
            Err(Error::new(&codes::POOLING, what).file(path))
        }
    }
}

/// The prefix of texts that are to be compared or classified, which are all of one kind.
///
/// A model may name its default prompt. A model that prefixes both its queries and its passages,
/// as E5 does, never saw a text without a prefix, and its makers say to use the query's for
/// symmetric tasks and features (Wang et al. 2022, model card of `intfloat/e5-base-v2`).
fn prefix(map: &Map<String, Value>) -> String {
    let prompt = |name: &str| map.get("prompts")?.get(name)?.as_str().filter(|p| !p.is_empty());
    let default = map.get("default_prompt_name").and_then(Value::as_str).and_then(prompt);
    let both_sides = prompt("passage").or(prompt("document")).and(prompt("query"));
    default.or(both_sides).unwrap_or_default().to_owned()
}

fn flag(map: &Map<String, Value>, field: &str) -> bool {
    map.get(field) == Some(&Value::Bool(true))
}

fn size(map: &Map<String, Value>, field: &str, path: &Path) -> Result<Option<usize>> {
    match map.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(size) if size > 0 => Ok(Some(size as usize)),
            _ => Err(Error::new(&codes::CONFIG, format!("`{value}` is no number of tokens"))
                .file(path)
                .field(field)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        }
        folder
    }

    fn modules(kinds: &[&str]) -> Value {
        let module = |(at, kind): (usize, &&str)| {
            let path = if at == 0 { String::new() } else { format!("{at}_{kind}") };
            json!({"idx": at, "name": at.to_string(), "path": path,
                "type": format!("sentence_transformers.models.{kind}")})
        };
        kinds.iter().enumerate().map(module).collect()
    }

    #[test]
    fn a_bare_encoder_pools_by_mean() {
        let config = SentenceConfig::read(folder(&[]).path()).unwrap();
        assert_eq!((config.pooling, config.normalize), (Pooling::Mean, false));
    }

    #[test]
    fn every_file_is_heard() {
        let folder = folder(&[
            ("modules.json", modules(&["Transformer", "Pooling", "Normalize"])),
            ("1_Pooling/config.json", json!({"pooling_mode_cls_token": true})),
            ("sentence_bert_config.json", json!({"max_seq_length": 128, "do_lower_case": true})),
            (
                "config_sentence_transformers.json",
                json!({"prompts": {"query": "query: ", "passage": "passage: "}}),
            ),
        ]);
        let expected = SentenceConfig {
            pooling: Pooling::Cls,
            normalize: true,
            max_tokens: Some(128),
            lowercase: true,
            prefix: "query: ".to_owned(),
        };
        assert_eq!(SentenceConfig::read(folder.path()).unwrap(), expected);
    }

    #[test]
    fn a_prefix_for_queries_alone_is_not_put_before_every_text() {
        let map = |value: Value| prefix(value.as_object().unwrap());
        assert_eq!(map(json!({"prompts": {"query": "find: ", "document": ""}})), "");
        assert_eq!(
            map(json!({"prompts": {"sts": "same: "}, "default_prompt_name": "sts"})),
            "same: "
        );
        assert_eq!(map(json!({"prompts": {}, "default_prompt_name": null})), "");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (modes, name) in [
            (json!({"pooling_mode_mean_sqrt_len_tokens": true}), "mean_sqrt_len"),
            (json!({"pooling_mode_max_tokens": true, "pooling_mode_cls_token": true}), "max"),
            (json!({"pooling_mode": "weightedmean"}), "weightedmean"),
        ] {
            let folder = folder(&[
                ("modules.json", modules(&["Transformer", "Pooling"])),
                ("1_Pooling/config.json", modes),
            ]);
            let error = SentenceConfig::read(folder.path()).unwrap_err();
            assert_eq!(error.code().id, "SPRAT-MODEL-POOLING");
            assert!(error.to_string().contains(name), "{error}");
        }
        let folder = folder(&[("modules.json", modules(&["Transformer", "Dense"]))]);
        assert!(SentenceConfig::read(folder.path()).unwrap_err().what().contains("Dense"));
    }

    #[test]
    fn a_module_may_not_lead_out_of_the_folder() {
        let folder =
            folder(&[("modules.json", json!([{"type": "x.Pooling", "path": "../../etc"}]))]);
        assert_eq!(
            SentenceConfig::read(folder.path()).unwrap_err().code().id,
            "SPRAT-MODEL-CONFIG"
        );
    }
}
