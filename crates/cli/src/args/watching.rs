//! What served requests say, and what follows from it.

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `sprat watch`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Watch {
    /// What else to do than to look.
    #[command(subcommand)]
    pub(crate) command: Option<WatchCommand>,
    /// Look again after every `watch.interval` until interrupted.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only write down what would follow an alarm.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where the HTML report goes.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// `sprat watch …`
#[derive(Debug, Subcommand)]
pub(crate) enum WatchCommand {
    /// Measure the rate of false alarms on clean requests, and how soon planted shifts are found.
    Calibrate {
        /// Labelled rows instead of traces.
        #[arg(long, value_name = "FILE")]
        data: Option<PathBuf>,
        /// Clean requests: the rows in random order, again in another one until there are so many.
        #[arg(long, value_name = "N", default_value_t = 100_000,
            value_parser = clap::value_parser!(u64).range(1..))]
        requests: u64,
        /// How often each shift is planted.
        #[arg(long, value_name = "N", default_value_t = 7,
            value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
        rounds: usize,
        /// Where the HTML report goes.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Keep what people said about answers, from JSON Lines: {"id", "index"?, "verdict", "label"?,
    /// "output"?, "by"?}.
    Feedback {
        /// The file; `-` for standard input.
        file: PathBuf,
        /// Who says it, where a line does not.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// Show all alarms with their evidence, and what followed them.
    Log,
    /// Take note of the alarms: none stands any more.
    Acknowledge {
        /// Take the requests from now on as the new normal.
        #[arg(long)]
        relearn: bool,
        /// Why.
        #[arg(long, short, default_value = "")]
        message: String,
    },
}

/// `sprat label`
#[derive(Args, Debug)]
pub(crate) struct Label {
    /// Draw about so many traces; without it `watch.label_budget` of them.
    #[arg(long, value_name = "N")]
    pub(crate) budget: Option<usize>,
    /// Draw anew from the traces since the last draw.
    #[arg(long)]
    pub(crate) draw: bool,
    /// Who labels; by default the user's name.
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
}

/// `sprat improve`
#[derive(Args, Debug)]
pub(crate) struct Improve {
    /// Promote the new version where labelled traces show it to be better; an alarm among its first
    /// requests moves the alias back.
    #[arg(long)]
    pub(crate) auto: bool,
}

/// `sprat traces …`
#[derive(Debug, Subcommand)]
pub(crate) enum TracesCommand {
    /// Write traces into a file.
    Export {
        /// The file to write.
        file: PathBuf,
        /// `jsonl`: every column and the feedback; `parquet`: the same columns; `openai`: examples
        /// for fine-tuning, of answers that somebody called right or corrected.
        #[arg(long, default_value = "jsonl")]
        format: TracesFormat,
        /// Only traces of this version, such as `task@v3`.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        /// With `openai`: also answers that nobody has said anything about.
        #[arg(long)]
        unconfirmed: bool,
    },
}

/// `--format`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TracesFormat {
    /// JSON Lines.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// OpenAI's fine-tuning examples.
    Openai,
}
