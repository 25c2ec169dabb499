//! Tuning: recipes, the training loop with its checkpoints, the search for settings, calibration.
//!
//! [`train`] takes a base model, labelled examples and a [`Recipe`] to a classifier in a run
//! folder; [`search`] looks for a learning rate and a rank first; [`tune`] does both.
//! [`tune_decoder`] does the same for a decoder and examples of tokens. A run can be
//! killed at any moment: the same call goes on from its last checkpoint and ends with the same
//! bits as an undisturbed one, whatever the number of threads.
//!
//! A run folder holds `model/` (the classifier, in the layout of `sprat-model`, or an adapter or a
//! whole decoder in Hugging Face's), `run.json` (the record, [`Outcome`] or [`DecoderOutcome`]) and, while the run lasts, checkpoints, cached embeddings and trials.
//!
//! This crate must never know of storage or HTTP.

mod batches;
pub mod codes;
mod container;
mod decoder;
mod decoder_run;
mod embeddings;
mod encoder;
mod examples;
mod fit;
mod history;
mod learner;
mod lock;
mod logistic;
mod memory;
mod metrics;
mod optimizer;
mod recipe;
mod record;
mod replay;
#[cfg(test)]
mod resume_tests;
mod run;
mod schedule;
mod search;
mod state;
mod strategy;
#[cfg(test)]
mod toy;
mod weights;
mod work;

pub use batches::epoch as epoch_batches;
pub use decoder::TokenMetrics;
pub use decoder_run::{
    DecoderJob, DecoderOutcome, SCHEMA as DECODER_RECORD_SCHEMA, train_decoder, tune_decoder,
};
pub use examples::{Trouble, lint};
pub use history::Point;
pub use memory::peak as peak_memory;
pub use metrics::{Metrics, temperature};
pub use recipe::{Recipe, data_digest, default_rate, digest as recipe_digest, resolve};
pub use record::{FILE as RECORD_FILE, Outcome, SCHEMA as RECORD_SCHEMA};
pub use replay::replay;
pub use run::{Job, MODEL_FOLDER, train, tune};
pub use schedule::Schedule;
pub use search::{Found, search};
pub use sprat_model::decoder::{Memory, TokenExample};
pub use strategy::{Settings, Trial};
pub use weights::class_weights;
