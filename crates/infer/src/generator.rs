//! The one interface of all models that answer.

use crate::answer::{Answer, Asking, Pending};
use crate::estimate::Estimate;
use crate::request::Request;
use sprat_task::Result;

/// How much a generator has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that wait.
    pub waiting: usize,
    /// How many may wait at most.
    pub capacity: usize,
}

/// A model that answers requests: local or hosted, base, tuned or shrunk.
pub trait Generator: Send + Sync {
    /// The name under which the model was asked for, such as `task@3` or `openai:gpt-large`.
    fn name(&self) -> &str;

    /// The labels it chooses from, where it is a classifier; empty: it writes free text.
    fn labels(&self) -> &[String] {
        &[]
    }

    /// Whether it reads whole conversations and writes; a tuned classifier reads one text.
    fn converses(&self) -> bool {
        false
    }

    /// Queues a request and returns at once. Dropping the [`Pending`] cancels it.
    ///
    /// # Errors
    /// [`crate::codes::BUSY`] when the queue is full, [`crate::codes::CONSTRAINT`] when the
    /// model cannot satisfy the constraint, [`crate::codes::INPUT`] when it cannot read the input.
    fn submit(&self, request: Request) -> Result<Pending>;

    /// The complete answer of one request, for whoever waits for it and for nothing else. What only
    /// waits for the network is driven by the one who waits, then, and needs no task of its own.
    /// Like [`Generator::submit`] it may take its time before it returns. What it gives must be
    /// polled where sockets and timers work ([`crate::network()`]); dropping it cancels the request.
    ///
    /// # Errors
    /// Those of [`Generator::submit`].
    fn ask(&self, request: Request) -> Result<Asking> {
        Ok(Box::pin(self.submit(request)?.answer()))
    }

    /// Whether [`Generator::submit`] does no more than queue this request, so that it may be called
    /// where other requests wait. To render a template, to cut a text into tokens and to compile a
    /// schema take their time.
    fn submits_at_once(&self, request: &Request) -> bool {
        let _ = request;
        false
    }

    /// How much it has to do.
    fn load(&self) -> Load {
        Load::default()
    }

    /// What a request may take in tokens and money, for where the answer does not say it; nothing
    /// where requests cost nothing.
    fn estimate(&self, request: &Request) -> Estimate {
        let _ = request;
        Estimate::default()
    }

    /// Submits a request and waits on this thread for its answer.
    ///
    /// # Errors
    /// Those of [`Generator::submit`] and of the engine.
    fn answer(&self, request: Request) -> Result<Answer> {
        let deadline = request.deadline;
        self.submit(request)?.wait_until(deadline)
    }
}
