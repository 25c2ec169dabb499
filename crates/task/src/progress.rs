//! How long work tells how far it is, and how it is asked to stop.

use crate::error::{Code, Error, Kind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Receives the progress of long work. One piece of work at a time: `start`, any number of
/// `advance` and `note`, `finish`.
pub trait Progress: Send + Sync {
    /// Work begins: its name, how much there is where known, and the unit ("bytes", "steps").
    fn start(&self, what: &str, total: Option<u64>, unit: &'static str);
    /// So much of it is done since the last call.
    fn advance(&self, amount: u64);
    /// A short remark on the present state, such as the loss.
    fn note(&self, text: &str);
    /// The work is over.
    fn finish(&self);
}

/// Progress that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn start(&self, _: &str, _: Option<u64>, _: &'static str) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}

/// Somebody pressed Ctrl-C, or the system asked the process to end.
pub static INTERRUPTED: Code = Code {
    id: "SPRAT-INTERRUPTED",
    kind: Kind::Interrupted,
    summary: "The work was interrupted; its state is kept.",
    remedy: "Run the same command again: it resumes where it stopped.",
};

/// A flag that asks running work to stop at the next safe point.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the work to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`INTERRUPTED`] when somebody asked the work to stop.
    pub fn check(&self) -> Result<()> {
        if self.requested() { Err(Error::new(&INTERRUPTED, "interrupted")) } else { Ok(()) }
    }
}
