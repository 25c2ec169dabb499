//! Trying again when a failure may pass, with growing waits.

use crate::pull::PullOptions;
use sprat_task::{Error, Interrupt, Result};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No wait is longer than this, whatever a server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How one attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may work next time.
    Again {
        /// What happened.
        error: Error,
        /// How long the server asked to wait.
        after: Option<Duration>,
        /// Whether the attempt got further than the one before: then patience starts afresh, so
        /// that a long download over a bad line ends.
        moved: bool,
    },
    /// It will fail the same way.
    Final(Error),
}

impl Failure {
    /// A failure that may pass.
    pub(crate) fn again(error: Error) -> Self {
        Failure::Again { error, after: None, moved: false }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

/// Runs `attempt` until it succeeds, fails for good, or patience ends.
pub(crate) fn run<T>(
    options: &PullOptions,
    interrupt: &Interrupt,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T> {
    let mut failed = 0;
    loop {
        interrupt.check()?;
        match attempt() {
            Ok(value) => return Ok(value),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Again { error, after, moved }) => {
                failed = if moved { 1 } else { failed + 1 };
                if failed >= options.attempts {
                    return Err(error);
                }
                let grown = options.patience.saturating_mul(1 << (failed - 1).min(10));
                pause(after.unwrap_or(grown).min(LONGEST_WAIT), interrupt)?;
            }
        }
    }
}

fn pause(wait: Duration, interrupt: &Interrupt) -> Result<()> {
    let start = Instant::now();
    while let Some(left) = wait.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        interrupt.check()?;
        sleep(left.min(Duration::from_millis(50)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::NETWORK;
    use crate::environment::Environment;

    fn options() -> PullOptions {
        let patience = Duration::ZERO;
        PullOptions {
            patience,
            attempts: 3,
            ..PullOptions::new(Environment::from_lookup(|_| None))
        }
    }

    #[test]
    fn patience_ends_unless_the_attempts_get_further() {
        let broken = || Error::new(&NETWORK, "broken");
        let mut count = 0;
        let result: Result<()> = run(&options(), &Interrupt::default(), || {
            count += 1;
            Err(Failure::again(broken()))
        });
        assert!(result.is_err());
        assert_eq!(count, 3);
        let mut count = 0;
        let result = run(&options(), &Interrupt::default(), || {
            count += 1;
            if count == 20 {
                Ok(count)
            } else {
                Err(Failure::Again { error: broken(), after: None, moved: true })
            }
        });
        assert_eq!(result.unwrap(), 20);
    }

    #[test]
    fn what_cannot_pass_is_tried_once() {
        let mut count = 0;
        let result: Result<()> = run(&options(), &Interrupt::default(), || {
            count += 1;
            Err(Failure::Final(Error::new(&NETWORK, "no")))
        });
        assert!(result.is_err());
        assert_eq!(count, 1);
    }
}
