//! From data to a tuned model that is measured.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `sprat init`
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The data file: CSV, TSV, JSON, JSON Lines or Parquet.
    pub(crate) train: PathBuf,
    /// The task's name; by default the folder's.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The column with the text; by default guessed.
    #[arg(long)]
    pub(crate) input: Option<String>,
    /// The column with the label, or with the wanted answer; by default guessed.
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// What kind of answer the task gives.
    #[arg(long, default_value = "classify")]
    pub(crate) kind: KindArg,
    /// The JSON Schema of the answers, for `--kind extract`.
    #[arg(long, value_name = "FILE", required_if_eq("kind", "extract"))]
    pub(crate) schema: Option<PathBuf>,
    /// What a model that writes is told before every text.
    #[arg(long, value_name = "TEXT")]
    pub(crate) instruction: Option<String>,
    /// The column that a split must not tear apart.
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// The base model; by default a small encoder, for tasks that classify.
    #[arg(long, value_name = "REF")]
    pub(crate) model: Option<String>,
    /// Replace an existing file.
    #[arg(long)]
    pub(crate) force: bool,
}

/// `--kind`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KindArg {
    /// One label out of a fixed list.
    Classify,
    /// Fields out of a text, as JSON under a schema.
    Extract,
    /// Free text.
    Generate,
}

/// `sprat pull`
#[derive(Args, Debug)]
pub(crate) struct Pull {
    /// Model references; without any, the candidates of sprat.toml.
    #[arg(value_name = "REF")]
    pub(crate) models: Vec<String>,
    /// Check the digests of copies that are already there.
    #[arg(long)]
    pub(crate) verify: bool,
}

/// `sprat data …`
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Look for duplicates, leaks, wrong labels, personal data and more.
    Check(DataCheck),
    /// Write a clean dataset version and a log of what was removed.
    Clean(DataClean),
    /// Split into training, validation and sealed test.
    Split,
}

/// `sprat data check`
#[derive(Args, Debug)]
pub(crate) struct DataCheck {
    /// Let a blocking check pass, by name.
    #[arg(long, value_name = "CHECK")]
    pub(crate) waive: Vec<String>,
    /// Where the HTML report goes.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// `sprat data clean`
#[derive(Args, Debug)]
pub(crate) struct DataClean {
    /// Also drop rows whose label is suspected.
    #[arg(long)]
    pub(crate) drop_label_errors: bool,
    /// Also replace personal data by placeholders.
    #[arg(long)]
    pub(crate) redact: bool,
    /// Keep only the N most useful clean examples.
    #[arg(long, value_name = "N")]
    pub(crate) pick: Option<usize>,
}

/// `sprat tune`
#[derive(Args, Debug, Default)]
pub(crate) struct Tune {
    /// Which weights change.
    #[arg(long)]
    pub(crate) method: Option<MethodArg>,
    /// The adapters' rank.
    #[arg(long)]
    pub(crate) rank: Option<usize>,
    /// The highest learning rate.
    #[arg(long)]
    pub(crate) learning_rate: Option<f64>,
    /// How often the training part is gone through at most.
    #[arg(long)]
    pub(crate) epochs: Option<f64>,
    /// Examples per step.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// The seed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Search for a better rate and rank for so long, then train: 90s, 10m, 2h.
    #[arg(long, value_name = "TIME")]
    pub(crate) budget: Option<sprat_task::settings::Span>,
    /// Train only on the N most useful clean examples.
    #[arg(long, value_name = "N")]
    pub(crate) pick: Option<usize>,
}

/// `--method`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MethodArg {
    /// Only a new head.
    Head,
    /// Adapters and head.
    Lora,
    /// All weights.
    Full,
}

/// `sprat bench`
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// More models or releases to measure.
    #[arg(long, value_name = "REF")]
    pub(crate) model: Vec<String>,
    /// Where the HTML report goes.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}
