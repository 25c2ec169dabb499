//! Compiling within a time limit.
//!
//! Fuel and sizes bound what a hostile constraint costs, but `llguidance` cannot be stopped while
//! it builds a parser. So whoever asked is answered at the time limit, and the thread that still
//! works keeps its place among the few that may until its fuel is used up.

use super::bounds;
use crate::codes;
use sprat_task::{Error, Result};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The threads that compile constraints for one vocabulary.
#[derive(Clone, Default)]
pub(super) struct Compilers {
    places: Arc<Places>,
}

#[derive(Default)]
struct Places {
    taken: Mutex<usize>,
    left: Condvar,
}

/// A thread's place, given back at its end.
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

impl Compilers {
    /// Runs something on a thread with a deep stack, and gives what comes of it within `limit`;
    /// waiting for a place counts.
    ///
    /// # Errors
    /// [`codes::COMPLEX`] when the limit is over, [`codes::BUSY`] when it is over before there is
    /// a place, and those of the work.
    pub(super) fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        let place = self.place(end)?;
        let (sender, receiver) = sync_channel(1);
        let builder = std::thread::Builder::new().name("constraint".into());
        let thread = builder.stack_size(bounds::STACK).spawn(move || {
            let result = work();
            // Who hears of the result finds the place free.
            drop(place);
            let _ = sender.send(result);
        });
        thread.map_err(|why| {
            Error::new(&codes::THREAD, "no thread for a constraint").why(why.to_string())
        })?;
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                Err(bounds::too_complex("the constraint takes too long to compile")
                    .why(format!("it was not compiled within {limit:?}")))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::new(&codes::PANIC, "a constraint could not be compiled"))
            }
        }
    }

    fn place(&self, end: Instant) -> Result<Place> {
        let taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = end.saturating_duration_since(Instant::now());
        let full = |taken: &mut usize| *taken >= bounds::COMPILERS;
        let (mut taken, _) = self
            .places
            .left
            .wait_timeout_while(taken, wait, full)
            .unwrap_or_else(PoisonError::into_inner);
        if full(&mut taken) {
            return Err(Error::new(&codes::BUSY, "other constraints are still being compiled")
                .why(format!("at most {} are at the same time", bounds::COMPILERS))
                .help("Send the request again after a moment."));
        }
        *taken += 1;
        Ok(Place(Arc::clone(&self.places)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(1);

    /// Work that ends when its sender goes.
    fn endless() -> (Sender<()>, impl FnOnce() -> Result<u32> + Send) {
        let (sender, receiver): (_, Receiver<()>) = channel();
        (sender, move || {
            let _ = receiver.recv();
            Ok(1)
        })
    }

    #[test]
    fn who_asks_for_too_much_is_answered_and_others_are_served_once_it_ends() {
        let compilers = Compilers::default();
        assert_eq!(compilers.run(LONG, || Ok(7)).unwrap(), 7);
        let mut running = Vec::new();
        for _ in 0..bounds::COMPILERS {
            let (end, work) = endless();
            assert_eq!(compilers.run(SHORT, work).unwrap_err().code(), &codes::COMPLEX);
            running.push(end);
        }
        // No further thread is begun, however many ask.
        let refused = compilers.run(SHORT, || -> Result<()> { unreachable!("it has no place") });
        assert_eq!(refused.unwrap_err().code(), &codes::BUSY);
        running.pop();
        assert_eq!(compilers.run(LONG, || Ok(8)).unwrap(), 8);
    }

    #[test]
    fn errors_and_panics_give_their_places_back() {
        let compilers = Compilers::default();
        for _ in 0..bounds::COMPILERS {
            let refused = compilers.run(LONG, || -> Result<()> { Err(bounds::too_complex("no")) });
            assert_eq!(refused.unwrap_err().code(), &codes::COMPLEX);
            let broken = compilers.run(LONG, || -> Result<()> { unreachable!("on purpose") });
            assert_eq!(broken.unwrap_err().code(), &codes::PANIC);
        }
        assert_eq!(compilers.run(LONG, || Ok(9)).unwrap(), 9);
    }
}
