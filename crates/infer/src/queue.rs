//! A bounded queue of jobs between many callers and a few worker threads.

use crate::codes;
use sprat_task::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Something to do, with the moment it was asked for.
pub(crate) struct Job<T> {
    /// What to do.
    pub(crate) work: T,
    /// When it was queued.
    pub(crate) queued: Instant,
    /// After this moment nobody wants it.
    pub(crate) deadline: Option<Instant>,
}

struct State<T> {
    jobs: VecDeque<Job<T>>,
    closed: bool,
}

/// The queue. Callers never wait: a full queue is an error. Workers wait for jobs.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    capacity: usize,
}

impl<T> Queue<T> {
    /// A queue in which at most `capacity` jobs wait (at least 1).
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { jobs: VecDeque::new(), closed: false };
        Queue { state: Mutex::new(state), arrived: Condvar::new(), capacity: capacity.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The state is whole between any two statements, so a poisoned lock is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`codes::BUSY`] when the queue is full, [`codes::CLOSED`] after [`Queue::close`].
    pub(crate) fn push(&self, work: T, deadline: Option<Instant>) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::new(&codes::CLOSED, "the model is being shut down"));
        }
        if state.jobs.len() >= self.capacity {
            let what = format!("{} requests wait for this model already", state.jobs.len());
            return Err(Error::new(&codes::BUSY, what));
        }
        state.jobs.push_back(Job { work, queued: Instant::now(), deadline });
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for a job, then takes the oldest ones for as long as `fits` agrees; the first is
    /// always taken. None when the queue is closed and empty.
    pub(crate) fn take(&self, mut fits: impl FnMut(&T) -> bool) -> Option<Vec<Job<T>>> {
        let mut state = self.lock();
        let first = loop {
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let _ = fits(&first.work);
        let mut taken = vec![first];
        while state.jobs.front().is_some_and(|job| fits(&job.work)) {
            taken.extend(state.jobs.pop_front());
        }
        Some(taken)
    }

    /// The oldest job, where one waits.
    pub(crate) fn try_take(&self) -> Option<Job<T>> {
        self.lock().jobs.pop_front()
    }

    /// Takes no further jobs; those that wait are still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// How many jobs wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// How many may wait.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_at_once() {
        let queue = Queue::new(2);
        queue.push(1, None).unwrap();
        queue.push(2, None).unwrap();
        assert_eq!(queue.push(3, None).unwrap_err().code(), &codes::BUSY);
    }

    #[test]
    fn a_batch_takes_what_is_there_and_what_fits() {
        let queue = Queue::new(10);
        for n in [5, 1, 1, 9, 1] {
            queue.push(n, None).unwrap();
        }
        let mut sum = 0;
        let batch = queue.take(|n| {
            sum += n;
            sum <= 8
        });
        let works: Vec<i32> = batch.unwrap().into_iter().map(|job| job.work).collect();
        assert_eq!(works, [5, 1, 1]);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn closing_drains_what_waits_and_then_ends() {
        let queue = Queue::new(10);
        queue.push(1, None).unwrap();
        queue.close();
        assert_eq!(queue.push(2, None).unwrap_err().code(), &codes::CLOSED);
        assert_eq!(queue.take(|_| true).unwrap().len(), 1);
        assert!(queue.take(|_| true).is_none());
    }
}
