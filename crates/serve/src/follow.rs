//! Follows the place where aliases are kept, and swaps models when one moves.

use crate::models::{Served, Table};
use sprat_task::{Interrupt, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the served models are decided.
pub trait Source: Send {
    /// A value that changes whenever an alias moves; cheap, for it is asked often.
    ///
    /// # Errors
    /// Those of the storage: the present models stay, and it is asked again.
    fn revision(&self) -> Result<u64>;

    /// Opens what is to be served now. `present` is what is served already: a model whose
    /// version has not changed is taken over from it rather than opened again.
    ///
    /// # Errors
    /// Those of the storage and the model: the present models stay, and it is tried again, at
    /// once when the revision changes and else after waits that grow.
    fn load(&self, present: &[Arc<Served>]) -> Result<Vec<Arc<Served>>>;

    /// Whether what was loaded last lacks a part that could not be opened then, and that is
    /// served without it: it is loaded again as after an error.
    fn lacking(&self) -> bool {
        false
    }

    /// Brings what is served up to date where that opens no model, such as the threshold of a
    /// route; cheap, for it is called at every look.
    ///
    /// # Errors
    /// Those of the storage: what holds stays, and it is tried again.
    fn refresh(&self) -> Result<()> {
        Ok(())
    }
}

/// Keeps `table` in step with `source` until interrupted, looking every `interval`. Runs on the
/// calling thread: give it one of its own.
pub fn follow(
    table: &Table,
    source: &dyn Source,
    first: u64,
    interval: Duration,
    interrupt: &Interrupt,
) {
    use crate::models::Models;
    let mut seen = first;
    // What was loaded before the first look may lack something already.
    let mut again = source.lacking().then(Again::first);
    while !interrupt.requested() {
        match source.revision() {
            Ok(revision) if revision != seen || again.as_ref().is_some_and(Again::due) => {
                if revision != seen {
                    again = None;
                }
                seen = revision;
                let loaded = source.load(&table.list());
                let whole = loaded.is_ok() && !source.lacking();
                again = (!whole).then(|| again.map_or_else(Again::first, Again::later));
                match loaded {
                    Ok(models) => {
                        let versions: Vec<_> =
                            models.iter().map(|m| format!("{}={}", m.id, m.version)).collect();
                        table.replace(models);
                        tracing::info!(models = versions.join(" "), "models changed");
                    }
                    Err(error) => {
                        let wait = again.as_ref().map_or(0, |again| again.wait.as_secs());
                        let code = error.code().id;
                        tracing::error!(code, %error, again_in = wait, "models not changed");
                    }
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(code = error.code().id, %error, "aliases not read"),
        }
        if let Err(error) = source.refresh() {
            tracing::warn!(code = error.code().id, %error, "the routes are as before");
        }
        let until = Instant::now() + interval;
        while !interrupt.requested() && Instant::now() < until {
            std::thread::sleep(interval.min(Duration::from_millis(20)));
        }
    }
}

/// When what could not be loaded is tried again: a disk or a database that is busy for a moment
/// must not decide what is served until an alias moves, nor fill the log.
struct Again {
    wait: Duration,
    at: Instant,
}

impl Again {
    const LEAST: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(60);

    fn first() -> Again {
        Again { wait: Again::LEAST, at: Instant::now() + Again::LEAST }
    }

    fn later(self) -> Again {
        let wait = (self.wait * 2).min(Again::MOST);
        Again { wait, at: Instant::now() + wait }
    }

    fn due(&self) -> bool {
        Instant::now() >= self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Models;
    use sprat_task::{Error, Timestamp};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Fake(Mutex<(u64, &'static str)>, AtomicU64);

    impl Source for Fake {
        fn revision(&self) -> Result<u64> {
            Ok(self.0.lock().unwrap().0)
        }

        fn load(&self, _: &[Arc<Served>]) -> Result<Vec<Arc<Served>>> {
            let version = self.0.lock().unwrap().1;
            // Of one that is busy the first two tries fail.
            let tries = self.1.fetch_add(1, Ordering::Relaxed);
            if version == "broken" || (version == "busy" && tries < 2) {
                return Err(Error::new(&crate::codes::START, "the model is broken"));
            }
            Ok(vec![Arc::new(Served {
                id: "task".into(),
                aliases: vec![],
                version: version.into(),
                created: Timestamp(0),
                generator: None,
                embedder: None,
                threshold: None,
            })])
        }
    }

    #[test]
    fn a_moved_alias_is_followed_and_a_broken_model_changes_nothing() {
        let table = Arc::new(Table::default());
        let source = Arc::new(Fake(Mutex::new((1, "v1")), AtomicU64::new(0)));
        let interrupt = Interrupt::default();
        let thread = {
            let (table, source, interrupt) = (table.clone(), source.clone(), interrupt.clone());
            std::thread::spawn(move || {
                follow(&table, source.as_ref(), 0, Duration::from_millis(1), &interrupt);
            })
        };
        let wait_for = |version: &str| {
            let begun = Instant::now();
            while table.resolve("task").is_none_or(|served| served.version != version) {
                assert!(begun.elapsed() < Duration::from_secs(20), "{version} never came");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        wait_for("v1");
        *source.0.lock().unwrap() = (2, "broken");
        std::thread::sleep(Duration::from_millis(20));
        wait_for("v1");
        *source.0.lock().unwrap() = (3, "v3");
        wait_for("v3");
        // Without another move it is tried again, after a second and then after two.
        source.1.store(0, Ordering::Relaxed);
        *source.0.lock().unwrap() = (4, "busy");
        let begun = Instant::now();
        wait_for("busy");
        assert!(begun.elapsed() >= Duration::from_secs(3));
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(source.1.load(Ordering::Relaxed), 3, "not again when all is there");
        interrupt.request();
        thread.join().unwrap();
    }
}
