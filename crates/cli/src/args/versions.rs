//! Versions and their aliases.

use clap::Args;
use std::path::PathBuf;

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
    /// Only `watch.canary_share` of the requests first; the watch promotes it wholly, or takes it
    /// away.
    #[arg(long, conflicts_with = "alias")]
    pub(crate) canary: bool,
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
    /// Only take the canary away.
    #[arg(long, conflicts_with = "alias")]
    pub(crate) canary: bool,
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
