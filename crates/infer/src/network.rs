//! Where this process waits for the network: one runtime for the sockets of the server and of
//! all hosted models, so that a request that is passed on changes threads as little as possible.

use crate::codes;
use sprat_task::{Error, Result};
use std::sync::{Mutex, PoisonError};
use tokio::runtime::{Builder, Handle, Runtime};

/// Models of this process compute on threads of their own; these only move bytes.
const THREADS: usize = 2;

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// The runtime of everything that waits for the network. It is started at the first call and
/// lasts as long as the process.
///
/// # Errors
/// [`codes::THREAD`] when the system gives no threads.
pub fn network() -> Result<Handle> {
    // The slot is whole between any two statements.
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*slot {
        return Ok(runtime.handle().clone());
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(|why| {
            Error::new(&codes::THREAD, "could not start the threads of the network")
                .why(why.to_string())
        })?;
    let handle = runtime.handle().clone();
    *slot = Some(runtime);
    Ok(handle)
}
