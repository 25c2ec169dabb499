//! The file of a budget's expenses, written by a thread of its own.

use crate::budget::{Books, Spent, Window};
use crate::codes;
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result, write};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long expenses wait at most before they are on disk.
pub const LEDGER_EVERY: Duration = Duration::from_secs(1);

/// The version of the file.
const SCHEMA: &str = "sprat.spent/1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    windows: Vec<Row>,
}

/// The expenses of one window of the clock.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// How long such windows are.
    pub(crate) window_ms: u64,
    /// Which one since 1970.
    pub(crate) number: u64,
    usd: f64,
    tokens: u64,
}

impl Row {
    pub(crate) fn spent(&self) -> Spent {
        Spent { usd: self.usd.max(0.0), tokens: self.tokens }
    }
}

impl From<&Window> for Row {
    fn from(window: &Window) -> Self {
        let Spent { usd, tokens } = window.spent;
        Row { window_ms: window.length, number: window.number, usd, tokens }
    }
}

#[derive(Debug, Default)]
struct State {
    changed: bool,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    told: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.told.notify_one();
    }
}

/// Writes a budget's expenses to its file soon after they change. Dropping it writes the last ones.
#[derive(Debug)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// What a file says: nothing where there is none yet.
    pub(crate) fn read(path: &Path) -> Result<Vec<Row>> {
        let wrong = |why: String| {
            let what = "what large models have cost so far cannot be read";
            Error::new(&codes::LEDGER, what).file(path).why(why)
        };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(wrong(why.to_string())),
        };
        let document: Document =
            serde_json::from_slice(&text).map_err(|why| wrong(why.to_string()))?;
        if document.schema != SCHEMA {
            return Err(wrong(format!("it says `{}`, not `{SCHEMA}`", document.schema)));
        }
        Ok(document.windows)
    }

    /// Begins to write what the books say.
    pub(crate) fn start(path: &Path, books: Arc<Mutex<Books>>) -> Result<Ledger> {
        let shared = Arc::new(Shared::default());
        let (path, other) = (path.to_owned(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("budget".into())
            .spawn(move || keep(&path, &other, &books))
            .map_err(|why| {
                let what = "could not start a thread for the budget's file";
                Error::new(&sprat_infer::codes::THREAD, what).why(why.to_string())
            })?;
        Ok(Ledger { shared, thread: Some(thread) })
    }

    /// Something was spent.
    pub(crate) fn changed(&self) {
        let mut state = self.shared.lock();
        if !state.changed {
            state.changed = true;
            drop(state);
            self.shared.told.notify_one();
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.shared.tell(|state| state.closed = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Brings books and file together.
fn file(path: &Path, books: &Mutex<Books>) -> Result<()> {
    let failed = |why: std::io::Error| {
        let what = "what large models have cost is not written";
        Error::new(&codes::LEDGER, what).file(path).why(why.to_string())
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    // Held until the file is written: the file itself is replaced, so another one is locked.
    let lock = File::create(path.with_extension("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let rows = Ledger::read(path)?;
    let lock_books = || books.lock().unwrap_or_else(PoisonError::into_inner);
    let windows = lock_books().merge(&rows);
    let document = Document { schema: SCHEMA.into(), windows };
    let text = serde_json::to_vec(&document).map_err(|why| failed(why.into()))?;
    write::bytes(path, &text).map_err(failed)?;
    lock_books().settle(&document.windows);
    Ok(())
}

fn keep(path: &Path, shared: &Shared, books: &Mutex<Books>) {
    let mut state = shared.lock();
    let mut failing = false;
    loop {
        while !state.changed && !state.closed {
            state = shared.told.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (changed, closed) = (std::mem::take(&mut state.changed), state.closed);
        drop(state);
        if changed {
            let written = file(path, books);
            // The budget goes on in memory, and the file is tried again, with one line about it.
            if let (Err(error), false) = (&written, failing) {
                tracing::error!(code = error.code().id, %error, "the budget goes on in memory");
            }
            failing = written.is_err();
            if failing {
                shared.lock().changed = true;
            }
        }
        if closed {
            return;
        }
        state = shared.lock();
        let until = std::time::Instant::now() + LEDGER_EVERY;
        while !state.closed {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = shared.told.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
