//! What every backend must do: written once per trait, run on each.

mod blobs;
mod rows;
mod traces;
