//! The command line as people write it. Parsing touches nothing.

use clap::{Args, Parser, Subcommand, ValueEnum};
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

/// `sprat release`
#[derive(Args, Debug)]
pub(crate) struct Release {
    /// A remark that stays with the version.
    #[arg(long, short, default_value = "")]
    pub(crate) message: String,
}

/// `sprat promote`
#[derive(Args, Debug)]
pub(crate) struct Promote {
    /// The version: `v3`, `task@v3`, a digest's beginning, or `latest`.
    pub(crate) version: String,
    /// The alias; by default the settings' `release.alias`.
    #[arg(long)]
    pub(crate) alias: Option<String>,
    /// Why.
    #[arg(long, short, default_value = "")]
    pub(crate) message: String,
}

/// `sprat rollback`
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// The alias; by default the settings' `release.alias`.
    #[arg(long)]
    pub(crate) alias: Option<String>,
    /// Why.
    #[arg(long, short, default_value = "")]
    pub(crate) message: String,
}

/// A command on one version.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// The version: `task`, `task@alias`, `task@v3`, or `v3`.
    pub(crate) version: String,
}

/// A command on two versions.
#[derive(Args, Debug)]
pub(crate) struct Two {
    /// The older version.
    pub(crate) from: String,
    /// The newer version.
    pub(crate) to: String,
}

/// `sprat export`
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// The version.
    pub(crate) version: String,
    /// The file to write.
    pub(crate) file: PathBuf,
}

/// `sprat import`
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The file that `sprat export` wrote.
    pub(crate) file: PathBuf,
}

/// `sprat gc`
#[derive(Args, Debug)]
pub(crate) struct Gc {
    /// Only say what would go.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `sprat serve`
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// What to serve: a release, a tuned model's folder or a base model that writes; by default
    /// the promoted release. Given several times, all are served, each under its own name.
    #[arg(long, value_name = "REF")]
    pub(crate) model: Vec<String>,
    /// A LoRA adapter beside the base model of --model, served under a name of its own; may be
    /// given several times. PATH is a folder in the PEFT layout.
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) adapter: Vec<String>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
}

/// `sprat predict`
#[derive(Args, Debug)]
pub(crate) struct Predict {
    /// The model: a release, a folder or a hosted model of sprat.toml.
    #[arg(long, value_name = "REF")]
    pub(crate) model: Option<String>,
    /// JSON Lines with `text` or `messages`; standard input without it.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Where the answers go; standard output without it.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `sprat keys …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, print it once, and add its hash to the key file.
    Create {
        /// The key file; by default the settings' `serve.api_keys`.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The key may also promote and roll back over HTTP.
        #[arg(long)]
        admin: bool,
        /// Whose key it is.
        name: String,
    },
}

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
        #[arg(long, value_name = "N", default_value_t = 100_000)]
        requests: u64,
        /// How often each shift is planted.
        #[arg(long, value_name = "N", default_value_t = 7)]
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

/// `sprat route …`
#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Find the threshold on graded requests, with a bound on the failures of what is kept.
    Fit(RouteFit),
    /// Replay one request: which side would answer it, and why.
    Explain(RouteExplain),
}

/// `sprat route fit`
#[derive(Args, Debug)]
pub(crate) struct RouteFit {
    /// The small model: a version or a folder; by default the promoted release.
    #[arg(long, value_name = "REF")]
    pub(crate) model: Option<String>,
    /// A file of graded requests, in the columns of the task; by default the validation part.
    #[arg(long, value_name = "FILE", conflicts_with = "traces")]
    pub(crate) data: Option<PathBuf>,
    /// Grade the texts of the traces by agreement with the large model.
    #[arg(long)]
    pub(crate) traces: bool,
    /// Do not ask the large model.
    #[arg(long, conflicts_with = "traces")]
    pub(crate) gold_only: bool,
    /// Grade free texts by the judge of the settings: is the small model's answer as good as the
    /// large one's, or, with `--gold-only`, as the wanted one?
    #[arg(long)]
    pub(crate) judge: bool,
    /// The greatest failure rate among kept requests.
    #[arg(long, value_name = "SHARE")]
    pub(crate) alpha: Option<f64>,
    /// The probability that the bound may fail.
    #[arg(long, value_name = "SHARE")]
    pub(crate) delta: Option<f64>,
    /// What counts as a failure.
    #[arg(long)]
    pub(crate) failure: Option<FailureArg>,
    /// When the route decides.
    #[arg(long)]
    pub(crate) policy: Option<PolicyArg>,
    /// The seed of the parts.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Where the HTML report goes.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// `sprat route explain`
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("request").required(true))]
pub(crate) struct RouteExplain {
    /// The text of the request.
    #[arg(group = "request")]
    pub(crate) text: Option<String>,
    /// A file with the text.
    #[arg(long, value_name = "FILE", group = "request")]
    pub(crate) file: Option<PathBuf>,
    /// The id of a trace whose text was kept.
    #[arg(long, value_name = "ID", group = "request")]
    pub(crate) trace: Option<String>,
    /// The small model: a version or a folder; by default the promoted release.
    #[arg(long, value_name = "REF")]
    pub(crate) model: Option<String>,
    /// The word in the header `x-sprat-tag`.
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// The name of the client's key.
    #[arg(long)]
    pub(crate) client: Option<String>,
    /// The request carries `x-sprat-private: 1`.
    #[arg(long)]
    pub(crate) private: bool,
    /// Really answer it, by the side that the route says; this may cost money.
    #[arg(long)]
    pub(crate) ask: bool,
}

/// `--failure`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FailureArg {
    /// The small model's answer is wrong.
    Wrong,
    /// It is wrong, and the large model's would have been right.
    Regret,
}

/// `--policy`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PolicyArg {
    /// After the small model has answered, by its confidence.
    After,
    /// Before a model is asked, by the request.
    Before,
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
