//! What all handlers share.

use crate::codes;
use crate::config::Config;
use crate::console::Tally;
use crate::error::{ApiError, ApiResult};
use crate::links::Links;
use crate::meter::Meter;
use crate::models::{Models, Served};
use crate::trace::TraceSink;
use sprat_infer::Caller;
use sprat_task::Clock;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all handlers share.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) models: Arc<dyn Models>,
    pub(crate) traces: Arc<dyn TraceSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meter: Meter,
    pub(crate) permits: Arc<Semaphore>,
    /// Places for looking at the project.
    pub(crate) looks: Semaphore,
    /// The traces that were counted for the page.
    pub(crate) tally: Mutex<Tally>,
    /// Signs links to reports.
    pub(crate) links: Links,
    pub(crate) draining: AtomicBool,
    /// Random start of the request ids of this process, and their number.
    pub(crate) id_prefix: u32,
    pub(crate) id_next: AtomicU64,
}

/// What is known about a request before its body is read.
#[derive(Clone)]
pub(crate) struct Admission {
    /// The id in `x-request-id`.
    pub(crate) id: String,
    /// The name of the client's key.
    pub(crate) client: Option<String>,
    /// Whether it must not leave the user's machines.
    pub(crate) private: bool,
    /// The word that it is marked with, for fixed rules of a route.
    pub(crate) tag: Option<String>,
    /// When it must be answered.
    pub(crate) deadline: Instant,
    /// One of the places for requests at once; a stream keeps it until its end.
    pub(crate) _permit: Arc<OwnedSemaphorePermit>,
}

impl Admission {
    /// Who asks, for a route; `user` is whom the client asks for.
    pub(crate) fn caller(&self, user: Option<&str>) -> Caller {
        Caller {
            id: Some(self.id.clone()),
            client: self.client.clone(),
            user: user.map(str::to_owned),
            tag: self.tag.clone(),
        }
    }
}

impl State {
    /// The model that a request names, or the preferred one.
    pub(crate) fn model(&self, name: Option<&str>) -> ApiResult<Arc<Served>> {
        let found = match name {
            Some(name) => self.models.resolve(name),
            None => self.models.preferred(),
        };
        found.ok_or_else(|| {
            const SHOWN: usize = 10;
            let list = self.models.list();
            let names: Vec<&str> = list.iter().take(SHOWN).map(|m| m.id.as_str()).collect();
            let what = match name {
                Some(name) => {
                    format!(
                        "there is no model `{}` here",
                        name.chars().take(100).collect::<String>()
                    )
                }
                None => "no model is served at present".to_owned(),
            };
            let mut error = sprat_task::Error::new(&codes::MODEL, what).field("model");
            if !names.is_empty() {
                error = error.help(format!("Served here: {}.", names.join(", ")));
            }
            error.into()
        })
    }

    /// Checks the number and the length of inputs.
    pub(crate) fn check_inputs(&self, inputs: &[&str], field: &str) -> ApiResult<()> {
        if inputs.is_empty() {
            return Err(ApiError::field(&codes::BODY, field, format!("`{field}` is empty")));
        }
        if inputs.len() > self.config.max_inputs {
            let (n, most) = (inputs.len(), self.config.max_inputs);
            let what = format!("{n} inputs are more than the {most} that one request may have");
            return Err(ApiError::field(&codes::TOO_LARGE, field, what));
        }
        let most = self.config.max_input_bytes;
        if let Some(index) = inputs.iter().position(|input| input.len() > most) {
            let what = format!("an input is longer than {most} bytes");
            let field = if inputs.len() == 1 { field.into() } else { format!("{field}[{index}]") };
            return Err(ApiError::field(&codes::TOO_LARGE, field, what));
        }
        Ok(())
    }
}

/// Waits for an engine no longer than until `deadline`.
pub(crate) async fn until<T>(
    deadline: Instant,
    work: impl Future<Output = sprat_task::Result<T>>,
) -> ApiResult<T> {
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(result) => result.map_err(ApiError::from),
        Err(_) => {
            let what = "the model did not answer within the time limit";
            Err(ApiError::plain(&codes::TIMEOUT, what))
        }
    }
}
