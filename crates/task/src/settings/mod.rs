//! `sprat.toml`: one file that describes the task, the data, the needs and the candidates.

mod read;
mod routing;
mod section;
mod sections;
mod units;

pub use read::{INVALID, UNKNOWN_KEY, UNREADABLE};
pub use routing::{RouteFailure, RoutePolicy, RouteRule, RouteScore, RouteSplit, RouteTo, Sticky};
pub use section::Field;
pub use sections::{
    Candidate, ClassWeights, Cost, Data, Decay, Judge, Method, Needs, Precision, Privacy, Release,
    Route, Serve, Shrink, Task, TaskKind, TraceText, TrainingMemory, Tune, Watch, WhenLargeFails,
};
pub use units::Span;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that `sprat.toml` can say. Paths are as written; [`Settings::resolve`] makes them
/// relative to the file's folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What the task is.
    pub task: Task,
    /// Where the examples are.
    pub data: Data,
    /// What production needs.
    pub needs: Needs,
    /// The models to compare.
    pub candidates: Vec<Candidate>,
    /// Who compares written answers.
    pub judge: Judge,
    /// Which requests a large model answers.
    pub route: Route,
    /// How the model is tuned.
    pub tune: Tune,
    /// How it is made smaller.
    pub shrink: Shrink,
    /// What a release must prove.
    pub release: Release,
    /// How it is served.
    pub serve: Serve,
    /// How it is watched.
    pub watch: Watch,
    /// What running it costs.
    pub cost: Cost,
    /// The folder of the file; set when it is read.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A section of the file: its name, its settings, and whether it may stand several times.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The table's name.
    pub name: &'static str,
    /// The settings in it.
    pub fields: &'static [Field],
    /// `[[name]]` instead of `[name]`.
    pub repeated: bool,
}

/// All sections, in the order of the reference.
pub const SECTIONS: &[Section] = &[
    Section { name: "task", fields: Task::FIELDS, repeated: false },
    Section { name: "data", fields: Data::FIELDS, repeated: false },
    Section { name: "needs", fields: Needs::FIELDS, repeated: false },
    Section { name: "candidates", fields: Candidate::FIELDS, repeated: true },
    Section { name: "judge", fields: Judge::FIELDS, repeated: false },
    Section { name: "route", fields: Route::FIELDS, repeated: false },
    Section { name: "route.rules", fields: RouteRule::FIELDS, repeated: true },
    Section { name: "route.split", fields: RouteSplit::FIELDS, repeated: true },
    Section { name: "tune", fields: Tune::FIELDS, repeated: false },
    Section { name: "shrink", fields: Shrink::FIELDS, repeated: false },
    Section { name: "release", fields: Release::FIELDS, repeated: false },
    Section { name: "serve", fields: Serve::FIELDS, repeated: false },
    Section { name: "watch", fields: Watch::FIELDS, repeated: false },
    Section { name: "cost", fields: Cost::FIELDS, repeated: false },
];

impl Settings {
    /// A path of the file, relative to the file's folder.
    pub fn resolve(&self, path: &std::path::Path) -> PathBuf {
        self.folder.join(path)
    }
}
