//! The lifecycle steps as resumable, cached jobs; [`Project::up`] is their sequence.
//!
//! A [`Project`] is a settings file with its state folder. Every step's result is kept under the
//! digest of everything that went in, so a step whose inputs have not changed does not run again.

mod adapters;
mod answers;
mod base;
mod bench;
mod bundle;
mod choose;
mod cloze;
pub mod codes;
mod data;
mod done;
mod engines;
mod generator;
mod init;
mod judge;
mod measure;
mod neighbours;
mod predict;
mod prepare;
mod project;
mod pull;
mod release;
mod reproduce;
mod route;
mod shrink;
mod step;
mod tune;
mod up;
mod versions;
pub mod watch;
mod writer;

pub use adapters::AdapterRef;
pub use done::Done;
pub use engines::Held;
pub use generator::{is_tuned, open_bundle, open_generator};
pub use init::{InitOptions, init};
pub use measure::{Measured, measure, measure_child};
pub use predict::{Predicted, predict};
pub use project::{Project, Surroundings};
pub use pull::{pull, pull_options};
pub use route::{Came, ExplainOptions, FittedRoute, Opened, RouteFitOptions, RouteState, Subject};
pub use writer::is_writer;
