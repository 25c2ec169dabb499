//! LoRA adapters in the PEFT layout: `adapter_config.json` and `adapter_model.safetensors`
//! (Hu et al. 2021, "LoRA", arXiv 2106.09685; <https://huggingface.co/docs/peft>).
//!
//! A targeted layer with weight `W` `[out, in]` becomes `W + scale·B·A`, with `A` `[rank, in]`
//! and `B` `[out, rank]`. PEFT calls them
//! `base_model.model.<module>.lora_A.weight` and `….lora_B.weight`.

use crate::codes;
use crate::config::EncoderConfig;
use crate::family::Part;
use crate::files::{TensorData, TensorWriter, Weights, json_file};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sprat_nn::Mat;
use sprat_task::{Error, Result};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

/// File name of an adapter's settings.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// File name of an adapter's matrices.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// Note in the weights' header: the digest of the base model.
const DIGEST_NOTE: &str = "sprat.base";

/// A model that adapters can be for: its linear layers, and what files call them.
pub trait Adaptable {
    /// One of a layer's linear layers.
    type Part: Copy + Ord + 'static;
    /// What PEFT calls the kind of model.
    const TASK: &'static str;

    /// How many layers there are.
    fn layer_count(&self) -> usize;

    /// The linear layers that every layer has.
    fn adaptable_parts(&self) -> &'static [Self::Part];

    /// Outputs and inputs of a linear layer.
    fn part_shape(&self, part: Self::Part) -> (usize, usize);

    /// Names of the module, the one that is written first.
    fn modules(&self, layer: usize, part: Self::Part) -> Vec<String>;

    /// The end of the module's name by which PEFT selects the part in all layers.
    fn module_end(&self, part: Self::Part) -> String;
}

/// The two matrices that LoRA adds to one linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraPair<P = Part> {
    /// Number of the layer, from 0.
    pub layer: usize,
    /// Which of its linear layers.
    pub part: P,
    /// `A`, `[rank, inputs]`.
    pub a: Mat,
    /// `B`, `[outputs, rank]`.
    pub b: Mat,
}

/// A whole adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter<P = Part> {
    /// Rank of every pair.
    pub rank: usize,
    /// LoRA's alpha: the pairs are scaled by `alpha / rank`.
    pub alpha: f32,
    /// Dropout that was used on the pairs' inputs in training.
    pub dropout: f32,
    /// Reference of the model that the adapter belongs to.
    pub base: String,
    /// Digest of that model; empty where it is not known.
    pub digest: String,
    /// The factor by which `B·A` is added.
    pub scale: f32,
    /// The pairs, by layer and part.
    pub pairs: Vec<LoraPair<P>>,
}

/// The fields of `adapter_config.json` that decide what an adapter computes.
#[derive(Deserialize)]
struct Settings {
    peft_type: String,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    r: usize,
    lora_alpha: f32,
    #[serde(default)]
    lora_dropout: f32,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    rank_pattern: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    alpha_pattern: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
}

impl Settings {
    /// The first setting that would need something that is not supported.
    fn unsupported(&self) -> Option<(&'static str, String)> {
        let filled = |map: &Option<serde_json::Map<String, Value>>| {
            map.as_ref().is_some_and(|map| !map.is_empty())
        };
        let bias = self.bias.as_deref().unwrap_or("none");
        let saved = self.modules_to_save.as_ref().is_some_and(|modules| !modules.is_empty());
        if self.peft_type != "LORA" {
            Some(("peft_type", format!("adapters of type `{}`", self.peft_type)))
        } else if self.use_dora {
            Some(("use_dora", "DoRA adapters".to_owned()))
        } else if self.fan_in_fan_out {
            Some(("fan_in_fan_out", "transposed weights".to_owned()))
        } else if bias != "none" {
            Some(("bias", format!("trained biases (`{bias}`)")))
        } else if filled(&self.rank_pattern) {
            Some(("rank_pattern", "ranks that differ between layers".to_owned()))
        } else if filled(&self.alpha_pattern) {
            Some(("alpha_pattern", "scales that differ between layers".to_owned()))
        } else if saved {
            Some(("modules_to_save", "wholly trained modules".to_owned()))
        } else {
            None
        }
    }
}

#[derive(Serialize)]
struct ConfigFile<'a> {
    peft_type: &'a str,
    task_type: &'a str,
    base_model_name_or_path: &'a str,
    inference_mode: bool,
    r: usize,
    lora_alpha: f32,
    lora_dropout: f32,
    target_modules: Vec<String>,
    bias: &'a str,
    fan_in_fan_out: bool,
    use_rslora: bool,
    use_dora: bool,
    init_lora_weights: bool,
    rank_pattern: Value,
    alpha_pattern: Value,
    modules_to_save: Value,
}

impl<P: Copy + Ord + 'static> Adapter<P> {
    /// Reads an adapter for a model of the given shape.
    ///
    /// # Errors
    /// `SPRAT-MODEL-ADAPTER` for a kind of adapter that is not supported or that does not belong
    /// to this model; those of reading the files otherwise.
    pub fn read(folder: &Path, model: &impl Adaptable<Part = P>) -> Result<Self> {
        let path = folder.join(ADAPTER_CONFIG);
        let settings: Settings = json_file(&path)?;
        if let Some((field, what)) = settings.unsupported() {
            let what = format!("{what} are not supported");
            return Err(Error::new(&codes::ADAPTER, what).file(path).field(field));
        }
        if settings.r == 0 || !settings.lora_alpha.is_finite() {
            return Err(Error::new(&codes::ADAPTER, "rank and alpha must be positive numbers")
                .file(path)
                .field("r"));
        }
        let divisor = settings.r as f32;
        let divisor = if settings.use_rslora { divisor.sqrt() } else { divisor };
        let (pairs, digest) = read_pairs(&folder.join(ADAPTER_WEIGHTS), settings.r, model)?;
        Ok(Adapter {
            rank: settings.r,
            alpha: settings.lora_alpha,
            dropout: settings.lora_dropout,
            base: settings.base_model_name_or_path.unwrap_or_default(),
            scale: settings.lora_alpha / divisor,
            digest,
            pairs,
        })
    }

    /// Writes both files, each whole or not at all.
    ///
    /// # Errors
    /// `SPRAT-MODEL-WRITE`.
    pub fn write<M: Adaptable<Part = P>>(&self, folder: &Path, model: &M) -> Result<()> {
        let mut writer = TensorWriter::new();
        if !self.digest.is_empty() {
            writer.note(DIGEST_NOTE, &self.digest);
        }
        for pair in &self.pairs {
            for (suffix, mat) in [("lora_A", &pair.a), ("lora_B", &pair.b)] {
                let name = tensor_name(model, pair.layer, pair.part, suffix);
                let data = TensorData::F32(Cow::Borrowed(&mat.data[..]));
                writer.add(&name, &[mat.rows, mat.cols], data)?;
            }
        }
        writer.write(&folder.join(ADAPTER_WEIGHTS))?;
        let file = ConfigFile {
            peft_type: "LORA",
            task_type: M::TASK,
            base_model_name_or_path: &self.base,
            inference_mode: true,
            r: self.rank,
            lora_alpha: self.alpha,
            lora_dropout: self.dropout,
            target_modules: self.target_modules(model),
            bias: "none",
            fan_in_fan_out: false,
            use_rslora: false,
            use_dora: false,
            init_lora_weights: true,
            rank_pattern: json!({}),
            alpha_pattern: json!({}),
            modules_to_save: Value::Null,
        };
        crate::artefact::write_json(&folder.join(ADAPTER_CONFIG), &file)
    }

    /// The targeted modules as PEFT selects them: by the ends of their names where that selects
    /// just these, by their whole names otherwise (`output.dense` is also the end of
    /// `attention.output.dense`).
    fn target_modules(&self, model: &impl Adaptable<Part = P>) -> Vec<String> {
        let parts: BTreeSet<P> = self.pairs.iter().map(|pair| pair.part).collect();
        let ends: Vec<String> = parts.iter().map(|part| model.module_end(*part)).collect();
        let all = model.adaptable_parts();
        let name = |layer, part| model.modules(layer, part).swap_remove(0);
        let places = (0..model.layer_count()).flat_map(|l| all.iter().map(move |p| (l, *p)));
        let selected: BTreeSet<(usize, P)> = places
            .filter(|&(layer, part)| {
                let name = name(layer, part);
                ends.iter().any(|end| name.ends_with(&format!(".{end}")))
            })
            .collect();
        let wanted: BTreeSet<_> = self.pairs.iter().map(|p| (p.layer, p.part)).collect();
        if selected == wanted {
            return ends;
        }
        wanted.into_iter().map(|(layer, part)| name(layer, part)).collect()
    }
}

/// The name PEFT gives to one matrix of a pair.
pub(crate) fn tensor_name<M: Adaptable>(
    model: &M,
    layer: usize,
    part: M::Part,
    matrix: &str,
) -> String {
    format!("{PREFIX}{}.{matrix}.weight", model.modules(layer, part).swap_remove(0))
}

/// The pairs, and the digest of their base.
fn read_pairs<M: Adaptable>(
    path: &Path,
    rank: usize,
    model: &M,
) -> Result<(Vec<LoraPair<M::Part>>, String)> {
    if !path.exists() && path.with_file_name("adapter_model.bin").exists() {
        return Err(Error::new(&codes::ADAPTER, "the adapter is a pickle, which may run code")
            .file(path.with_file_name("adapter_model.bin"))
            .help("Save it again with `safe_serialization=True`."));
    }
    let weights = Weights::open_file(path)?;
    let mut left: BTreeSet<String> = weights.names().into_iter().collect();
    let mut pairs = Vec::new();
    for layer in 0..model.layer_count() {
        for &part in model.adaptable_parts() {
            let (outputs, inputs) = model.part_shape(part);
            // The adapter may have been trained on the model inside a larger one.
            let name = model.modules(layer, part).into_iter().find_map(|module| {
                let name = format!("{PREFIX}{module}");
                weights.has(&format!("{name}.lora_A.weight")).then_some(name)
            });
            let Some(name) = name else { continue };
            let (a, b) = (format!("{name}.lora_A.weight"), format!("{name}.lora_B.weight"));
            pairs.push(LoraPair {
                layer,
                part,
                a: Mat::new(rank, inputs, weights.tensor(&a)?.f32(&[rank, inputs])?),
                b: Mat::new(outputs, rank, weights.tensor(&b)?.f32(&[outputs, rank])?),
            });
            left.remove(&a);
            left.remove(&b);
        }
    }
    if let Some(name) = left.first() {
        let what = format!("tensor `{name}` belongs to no layer of this model");
        return Err(Error::new(&codes::ADAPTER, what).file(path));
    }
    if pairs.is_empty() {
        return Err(Error::new(&codes::ADAPTER, "the adapter is empty").file(path));
    }
    Ok((pairs, weights.note(DIGEST_NOTE).unwrap_or_default().to_owned()))
}

impl Adaptable for EncoderConfig {
    type Part = Part;
    const TASK: &'static str = "FEATURE_EXTRACTION";

    fn layer_count(&self) -> usize {
        self.layers
    }

    fn adaptable_parts(&self) -> &'static [Part] {
        &Part::ALL
    }

    fn part_shape(&self, part: Part) -> (usize, usize) {
        self.linear_shape(part)
    }

    fn modules(&self, layer: usize, part: Part) -> Vec<String> {
        let name = self.family.linear_name(layer, part);
        self.family.prefixes.iter().map(|prefix| format!("{prefix}{name}")).collect()
    }

    fn module_end(&self, part: Part) -> String {
        let name = self.family.parts.linear[part.index()];
        name.strip_prefix("attention.self.").unwrap_or(name).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;

    fn pair(config: &EncoderConfig, layer: usize, part: Part, rank: usize) -> LoraPair {
        let (outputs, inputs) = config.linear_shape(part);
        let fill = |n: usize, by: f32| (0..n).map(|i| i as f32 * by).collect();
        LoraPair {
            layer,
            part,
            a: Mat::new(rank, inputs, fill(rank * inputs, 0.01)),
            b: Mat::new(outputs, rank, fill(outputs * rank, -0.02)),
        }
    }

    fn adapter(config: &EncoderConfig, places: &[(usize, Part)]) -> Adapter {
        let pairs = places.iter().map(|&(layer, part)| pair(config, layer, part, 2)).collect();
        let base = "hf:some/model".to_owned();
        let digest = "abc".to_owned();
        Adapter { rank: 2, alpha: 4.0, dropout: 0.1, base, digest, scale: 2.0, pairs }
    }

    #[test]
    fn an_adapter_reads_back_what_it_wrote() {
        let config = tiny::config("bert");
        let folder = tempfile::tempdir().unwrap();
        let written = adapter(&config, &[(0, Part::Query), (1, Part::Output)]);
        written.write(folder.path(), &config).unwrap();
        assert_eq!(Adapter::read(folder.path(), &config).unwrap(), written);
        let file = Weights::open_file(&folder.path().join(ADAPTER_WEIGHTS)).unwrap();
        assert_eq!(
            file.names()[0],
            "base_model.model.encoder.layer.0.attention.self.query.lora_A.weight"
        );
    }

    #[test]
    fn target_modules_select_exactly_what_was_tuned() {
        let config = tiny::config("bert");
        let everywhere = |parts: &[Part]| -> Vec<(usize, Part)> {
            (0..config.layers).flat_map(|l| parts.iter().map(move |p| (l, *p))).collect()
        };
        let short = adapter(&config, &everywhere(&[Part::Query, Part::Value]));
        assert_eq!(short.target_modules(&config), ["query", "value"]);
        let all = adapter(&config, &everywhere(&Part::ALL));
        assert_eq!(
            all.target_modules(&config),
            [
                "query",
                "key",
                "value",
                "attention.output.dense",
                "intermediate.dense",
                "output.dense"
            ]
        );
        let ambiguous = adapter(&config, &everywhere(&[Part::Output]));
        assert_eq!(
            ambiguous.target_modules(&config),
            ["encoder.layer.0.output.dense", "encoder.layer.1.output.dense"]
        );
    }

    #[test]
    fn what_would_compute_something_else_is_refused_by_name() {
        let config = tiny::config("bert");
        let folder = tempfile::tempdir().unwrap();
        adapter(&config, &[(0, Part::Query)]).write(folder.path(), &config).unwrap();
        let path = folder.path().join(ADAPTER_CONFIG);
        let good: Value = json_file(&path).unwrap();
        for (field, value) in [
            ("peft_type", json!("IA3")),
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("rank_pattern", json!({"query": 4})),
            ("modules_to_save", json!(["classifier"])),
            ("r", json!(0)),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            std::fs::write(&path, bad.to_string()).unwrap();
            let error = Adapter::read(folder.path(), &config).unwrap_err();
            assert_eq!(error.code().id, "SPRAT-MODEL-ADAPTER");
            assert_eq!(error.place().field.as_deref(), Some(field));
        }
        let mut bad = good.clone();
        bad["r"] = json!(3);
        std::fs::write(&path, bad.to_string()).unwrap();
        let error = Adapter::read(folder.path(), &config).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-MODEL-SHAPE");
    }

    #[test]
    fn an_adapter_of_another_model_is_refused() {
        let (bert, other) = (tiny::config("bert"), tiny::config("distilbert"));
        let folder = tempfile::tempdir().unwrap();
        adapter(&other, &[(0, Part::Query)]).write(folder.path(), &other).unwrap();
        let error = Adapter::read(folder.path(), &bert).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-MODEL-ADAPTER");
        assert!(error.what().contains("q_lin"), "{error}");
    }
}
