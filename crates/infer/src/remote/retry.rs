//! When to ask again, and after how long.

use super::fault::Fault;
use super::settings::Settings;
use rand::Rng;
use sprat_task::random::{ChaCha8Rng, stream};
use sprat_task::{Clock, Result};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    settings: &'a Settings,
    clock: &'a dyn Clock,
    failed: u32,
    jitter: ChaCha8Rng,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(settings: &'a Settings, clock: &'a dyn Clock) -> Self {
        // Clients must not retry in step, so the seed differs between them.
        let seed = clock.now().0 ^ (u64::from(std::process::id()) << 32);
        Attempts { settings, clock, failed: 0, jitter: stream(seed, "retry jitter") }
    }

    /// When the next attempt is to be made.
    ///
    /// # Errors
    /// The fault itself, when another attempt makes no sense or may not be made any more.
    pub(super) fn next_after(
        &mut self,
        fault: Fault,
        deadline: Option<Instant>,
    ) -> Result<Instant> {
        self.failed += 1;
        if !fault.retry {
            return Err(fault.error);
        }
        if self.failed > self.settings.retries {
            let tries = self.failed;
            return Err(if tries == 1 {
                fault.error
            } else {
                let why = fault.error.reason().unwrap_or("no reason given").to_owned();
                fault.error.why(format!("{why} (after {tries} attempts)"))
            });
        }
        let asked = fault.retry_after.as_deref().and_then(|text| self.retry_after(text));
        if let Some(asked) = asked.filter(|asked| *asked > self.settings.max_wait) {
            let why = fault.error.reason().unwrap_or("no reason given").to_owned();
            let asked = asked.as_secs();
            return Err(fault.error.why(format!("{why} (it asks to wait {asked} s)")));
        }
        let wait = asked.unwrap_or_default().max(self.backoff());
        let until = Instant::now() + wait;
        if deadline.is_some_and(|deadline| until >= deadline) {
            return Err(fault.error);
        }
        Ok(until)
    }

    /// Half of the doubled wait is certain, the other half random ("equal jitter").
    fn backoff(&mut self) -> Duration {
        let doubled = self.settings.backoff.saturating_mul(1 << (self.failed - 1).min(16));
        let full = doubled.min(self.settings.max_wait);
        full.mul_f64(0.5 + 0.5 * self.jitter.random::<f64>())
    }

    /// `Retry-After` is a number of seconds or a date (RFC 9110, section 10.2.3).
    fn retry_after(&self, text: &str) -> Option<Duration> {
        if let Ok(seconds) = text.trim().parse::<f64>() {
            return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
        }
        let date = httpdate::parse_http_date(text.trim()).ok()?;
        let date = date.duration_since(UNIX_EPOCH).ok()?;
        Some(date.saturating_sub(Duration::from_millis(self.clock.now().0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_task::{FakeClock, Timestamp};

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let settings = Settings::new("a", "http://a", "a");
        let clock = FakeClock::new(Timestamp(784_111_777_000)); // Sun, 06 Nov 1994 08:49:37 GMT
        let attempts = Attempts::new(&settings, &clock);
        assert_eq!(attempts.retry_after("3"), Some(Duration::from_secs(3)));
        assert_eq!(attempts.retry_after(" 0.5 "), Some(Duration::from_millis(500)));
        let date = "Sun, 06 Nov 1994 08:49:47 GMT";
        // The fake clock moves on by a millisecond whenever it is read.
        let until = attempts.retry_after(date).unwrap().as_secs_f64();
        assert!((9.9..=10.0).contains(&until), "{until}");
        assert_eq!(attempts.retry_after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(attempts.retry_after("soon"), None);
        assert_eq!(attempts.retry_after("NaN").unwrap_or_default(), Duration::ZERO);
        assert_eq!(attempts.retry_after("1e300"), None);
    }

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        let settings = Settings::new("a", "http://a", "a");
        let clock = FakeClock::new(Timestamp(1));
        let mut attempts = Attempts::new(&settings, &clock);
        for (failed, full) in [(1, 0.5), (2, 1.0), (3, 2.0), (20, 30.0)] {
            attempts.failed = failed;
            let wait = attempts.backoff().as_secs_f64();
            assert!((full / 2.0..=full).contains(&wait), "{failed}: {wait}");
        }
    }
}
