//! A one-to-one channel whose receiver may be a thread or an async task, under any runtime, and
//! whose sender can see that the receiver has gone.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

struct State<T> {
    queue: VecDeque<T>,
    waker: Option<Waker>,
    /// Whether a thread waits: to notify a condition costs a system call even where nobody does.
    thread_waits: bool,
    /// Of a sender that waits for the receiver to go.
    sender_waker: Option<Waker>,
    sender_gone: bool,
    receiver_gone: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The state is whole between any two statements, so a poisoned lock is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let waker = state.waker.take();
        let thread_waits = state.thread_waits;
        drop(state);
        if thread_waits {
            self.arrived.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Where values go in.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// Where values come out.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

/// A new channel. It is not bounded: senders send a bounded number of values per request.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = State {
        queue: VecDeque::new(),
        waker: None,
        thread_waits: false,
        sender_waker: None,
        sender_gone: false,
        receiver_gone: false,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Sends a value; `false` when nobody listens any more.
    pub(crate) fn send(&self, value: T) -> bool {
        let mut state = self.0.lock();
        if state.receiver_gone {
            return false;
        }
        state.queue.push_back(value);
        self.0.wake(state);
        true
    }

    /// Whether the receiver has gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.lock().receiver_gone
    }

    /// Ends when the receiver has gone. Safe to drop half-way.
    pub(crate) async fn cancelled(&self) {
        poll_fn(|context| {
            let mut state = self.0.lock();
            if state.receiver_gone {
                return Poll::Ready(());
            }
            state.sender_waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.sender_gone = true;
        self.0.wake(state);
    }
}

/// What a wait with a time limit ended with.
pub(crate) enum Waited<T> {
    /// A value came.
    Got(T),
    /// The sender has gone and everything it sent was taken.
    Ended,
    /// The time was over.
    TimedOut,
}

impl<T> Receiver<T> {
    /// Waits on this thread until a value comes, the sender goes, or `deadline` passes.
    pub(crate) fn wait_until(&mut self, deadline: Option<Instant>) -> Waited<T> {
        let mut state = self.0.lock();
        loop {
            if let Some(value) = state.queue.pop_front() {
                return Waited::Got(value);
            }
            if state.sender_gone {
                return Waited::Ended;
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Waited::TimedOut;
            }
            state.thread_waits = true;
            state = match left {
                None => self.0.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.0.arrived.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.thread_waits = false;
        }
    }

    /// The next value, or none when the sender has gone. Safe to drop half-way.
    pub(crate) async fn next(&mut self) -> Option<T> {
        poll_fn(|context| {
            let mut state = self.0.lock();
            if let Some(value) = state.queue.pop_front() {
                return Poll::Ready(Some(value));
            }
            if state.sender_gone {
                return Poll::Ready(None);
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver_gone = true;
        state.queue.clear();
        let waker = state.sender_waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn values_arrive_in_order_and_the_end_is_seen() {
        let (sender, mut receiver) = channel();
        let thread = std::thread::spawn(move || {
            for n in 0..100 {
                assert!(sender.send(n));
            }
        });
        for n in 0..100 {
            assert!(matches!(receiver.wait_until(None), Waited::Got(got) if got == n));
        }
        assert!(matches!(receiver.wait_until(None), Waited::Ended));
        thread.join().unwrap();
    }

    #[test]
    fn a_sender_sees_that_nobody_listens() {
        let (sender, receiver) = channel();
        assert!(!sender.is_cancelled());
        drop(receiver);
        assert!(sender.is_cancelled());
        assert!(!sender.send(1));
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let (_sender, mut receiver) = channel::<u8>();
        let deadline = Instant::now() + Duration::from_millis(10);
        assert!(matches!(receiver.wait_until(Some(deadline)), Waited::TimedOut));
    }
}
