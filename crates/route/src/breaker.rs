//! A circuit breaker: an endpoint that keeps failing is left alone for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A circuit breaker (Nygard, "Release It!", 2007): closed, it lets everything through; after
/// `failures` failures in a row it is open and lets nothing through for `pause`; then a single
/// request may try, and its end closes the breaker or opens it again.
#[derive(Debug)]
pub struct Breaker {
    failures: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed {
        failed: u32,
    },
    Open {
        until: Instant,
    },
    /// One request tries; if it is never heard of again, another may from `until` on.
    Trying {
        until: Instant,
    },
}

impl Breaker {
    /// A closed breaker that opens after `failures` failures in a row (at least one).
    pub fn new(failures: u32, pause: Duration) -> Self {
        let state = Mutex::new(State::Closed { failed: 0 });
        Breaker { failures: failures.max(1), pause, state }
    }

    /// Whether a request may go through now. A `true` is to be followed by [`Breaker::ended`].
    pub fn lets_through(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => true,
            State::Open { until } | State::Trying { until } if now >= until => {
                *state = State::Trying { until: now + self.pause };
                true
            }
            State::Open { .. } | State::Trying { .. } => false,
        }
    }

    /// How a request that was let through ended.
    pub fn ended(&self, well: bool, now: Instant) {
        let mut state = self.lock();
        *state = match *state {
            _ if well => State::Closed { failed: 0 },
            State::Closed { failed } if failed + 1 < self.failures => {
                State::Closed { failed: failed + 1 }
            }
            // Stragglers of before it opened do not prolong the pause.
            State::Open { until } => State::Open { until },
            State::Closed { .. } | State::Trying { .. } => State::Open { until: now + self.pause },
        };
    }

    /// Whether it holds requests back.
    pub fn is_open(&self, now: Instant) -> bool {
        match *self.lock() {
            State::Closed { .. } => false,
            State::Open { until } | State::Trying { until } => now < until,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_after_the_pause() {
        let breaker = Breaker::new(3, PAUSE);
        let start = Instant::now();
        for well in [false, false, true, false, false] {
            assert!(breaker.lets_through(start));
            breaker.ended(well, start);
        }
        assert!(!breaker.is_open(start), "a success in between counts");
        breaker.ended(false, start);
        assert!(breaker.is_open(start) && !breaker.lets_through(start));

        let later = start + PAUSE;
        assert!(breaker.lets_through(later), "one may try");
        assert!(!breaker.lets_through(later), "and only one");
        breaker.ended(false, later);
        assert!(!breaker.lets_through(later + PAUSE / 2));
        assert!(breaker.lets_through(later + PAUSE));
        breaker.ended(true, later + PAUSE);
        assert!(breaker.lets_through(later + PAUSE) && breaker.lets_through(later + PAUSE));
    }

    #[test]
    fn a_try_that_is_never_heard_of_does_not_block_for_ever() {
        let breaker = Breaker::new(1, PAUSE);
        let start = Instant::now();
        breaker.ended(false, start);
        assert!(breaker.lets_through(start + PAUSE));
        assert!(!breaker.lets_through(start + PAUSE * 3 / 2));
        assert!(breaker.lets_through(start + PAUSE * 2));
    }
}
