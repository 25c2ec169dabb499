//! Public data that is not part of the repository.

use serde_json::Value;
use sprat_model::files::Gguf;
use sprat_model::{GgufVocabulary, TextTokenizer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of the shared data; says loudly when it is missing.
pub(crate) fn data(folder: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("SPRAT_SHARED").map_or(beside, PathBuf::from);
    let path = root.join("data").join(folder);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: no shared data at {}; set SPRAT_SHARED", path.display());
    None
}

/// The tokenizer in a GGUF file of the shared data, such as `gpt-2`.
pub(crate) fn tokenizer(name: &str) -> Option<Arc<TextTokenizer>> {
    let path = data("tokenizers")?.join(format!("models/ggml-vocab-{name}.gguf"));
    let vocabulary = GgufVocabulary::read(Gguf::open(&path).unwrap().metadata()).unwrap();
    Some(Arc::new(TextTokenizer::from_gguf(&vocabulary).unwrap()))
}

/// A schema of a draft of the JSON Schema test suite with its cases: file, schema, instances
/// with their verdicts.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) schema: Value,
    pub(crate) cases: Vec<(Value, bool)>,
}

/// The groups of the test suite; those of draft 7 say which draft they are of.
pub(crate) fn suite() -> Option<Vec<Group>> {
    let folder = data("json_schema_test_suite")?.join("tests");
    let mut groups = Vec::new();
    for (draft, uri) in [
        ("draft2020-12", "https://json-schema.org/draft/2020-12/schema"),
        ("draft7", "http://json-schema.org/draft-07/schema#"),
    ] {
        for file in files(&folder.join(draft)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let Value::Array(listed) = serde_json::from_str(&text).unwrap() else { panic!() };
            for group in listed {
                let mut schema = group["schema"].clone();
                if let Value::Object(members) = &mut schema {
                    members.entry("$schema").or_insert_with(|| uri.into());
                }
                let cases = group["tests"].as_array().unwrap().iter();
                let cases = cases.map(|case| (case["data"].clone(), case["valid"] == true));
                let path = file.strip_prefix(&folder).unwrap().display();
                let name = format!("{path}: {}", group["description"].as_str().unwrap());
                groups.push(Group { name, schema, cases: cases.collect() });
            }
        }
    }
    Some(groups)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The functions of BFCL, with the names of its types as JSON Schema has them.
pub(crate) fn functions() -> Option<Vec<(String, Value)>> {
    let mut functions = Vec::new();
    for file in files(&data("bfcl")?).iter().filter(|file| file.parent().unwrap().ends_with("bfcl"))
    {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let question: Value = serde_json::from_str(line).unwrap();
            for function in question["function"].as_array().unwrap() {
                let mut parameters = function["parameters"].clone();
                translate(&mut parameters);
                functions.push((function["name"].as_str().unwrap().to_owned(), parameters));
            }
        }
    }
    Some(functions)
}

/// BFCL names types as Python does, and marks optional parameters.
fn translate(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    let kind = members.get("type").and_then(Value::as_str).map(str::to_owned);
    match kind.as_deref() {
        Some("dict") => drop(members.insert("type".into(), "object".into())),
        Some("float") => drop(members.insert("type".into(), "number".into())),
        Some("tuple") => drop(members.insert("type".into(), "array".into())),
        Some("any") => drop(members.remove("type")),
        _ => {}
    }
    members.remove("optional");
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(translate);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(inner) {
            translate(inner);
        }
    }
}
