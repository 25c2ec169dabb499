//! The command line as people write it. Parsing touches nothing.

mod making;
mod serving;
mod versions;
mod watching;

pub(crate) use making::{Bench, DataClean, DataCommand, Init, KindArg, MethodArg, Pull, Tune};
pub(crate) use serving::{
    FailureArg, KeysCommand, PolicyArg, Predict, RouteCommand, RouteExplain, RouteFit, Serve,
};
pub(crate) use versions::{Export, Gc, Import, One, Promote, Release, Rollback, Two};
pub(crate) use watching::{Improve, Label, TracesCommand, TracesFormat, Watch, WatchCommand};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The settings file where none is named.
pub(crate) const CONFIG: &str = "sprat.toml";

/// From labelled text to a small language model that is proven, served, versioned and watched.
#[derive(Debug, Parser)]
#[command(name = "sprat", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The settings file.
    #[arg(long, global = true, default_value = CONFIG, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Print one JSON document on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Never use the network; say what is missing.
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Compute with so many threads; results do not depend on it.
    #[arg(long, global = true, value_name = "N", env = "SPRAT_THREADS")]
    pub(crate) threads: Option<usize>,
    /// No progress on standard error.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a sprat.toml for a data file.
    Init(Init),
    /// Fetch models into the local store.
    Pull(Pull),
    /// Check, clean and split the data.
    #[command(subcommand)]
    Data(DataCommand),
    /// Tune the base model on the training part.
    Tune(Tune),
    /// Make the tuned model smaller and verify that its skill is unhurt.
    Shrink,
    /// Measure every candidate and version on the user's data.
    Bench(Bench),
    /// Weigh the measured candidates against the needs.
    Choose,
    /// Make an immutable version, if the gates pass.
    Release(Release),
    /// Point an alias at a version.
    Promote(Promote),
    /// Point an alias back at its previous version.
    Rollback(Rollback),
    /// List versions, aliases and their history.
    Log,
    /// Show one version in full.
    Show(One),
    /// Compare two versions.
    Diff(Two),
    /// Run a version's recipe again and compare the digests.
    Reproduce(One),
    /// Write a version into one file.
    Export(Export),
    /// Take a version out of a file.
    Import(Import),
    /// Remove what no version needs any more.
    Gc(Gc),
    /// Check that the store is sound.
    Doctor,
    /// Serve a model over HTTP.
    Serve(Serve),
    /// Answer the lines of a JSON Lines file.
    Predict(Predict),
    /// Find, and explain, which requests the small model keeps and which go to a large one.
    #[command(subcommand)]
    Route(RouteCommand),
    /// Show, or make, API keys for the server.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look at the traces of served requests: drift, quality, alarms and what follows them.
    Watch(Watch),
    /// Label the served requests whose labels tell the most.
    Label(Label),
    /// Make the next version from labelled traces, and release it where it is better.
    Improve(Improve),
    /// Write the traces of served requests out.
    #[command(subcommand)]
    Traces(TracesCommand),
    /// The whole path: check, tune, shrink, bench, choose, release, promote, serve.
    Up(Up),
    /// Measure one candidate; `bench` runs this in a process for each.
    #[command(hide = true)]
    Measure(Measure),
    /// Write the generated reference pages.
    #[command(hide = true)]
    Reference(Reference),
}

/// `sprat up`
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Exit when the release is promoted, without serving it.
    #[arg(long)]
    pub(crate) no_serve: bool,
}

/// `sprat reference`
#[derive(Args, Debug)]
pub(crate) struct Reference {
    /// The folder of the pages.
    pub(crate) folder: PathBuf,
    /// Compare instead of writing: a stale page is an error.
    #[arg(long)]
    pub(crate) check: bool,
}

/// `sprat measure`
#[derive(Args, Debug)]
pub(crate) struct Measure {
    /// The candidate's folder.
    pub(crate) folder: PathBuf,
    /// The folder through which texts and results are exchanged.
    pub(crate) exchange: PathBuf,
}
