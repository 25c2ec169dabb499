//! Answers: served, in a batch, and by which side of a route.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

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
