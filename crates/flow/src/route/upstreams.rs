//! The large models behind a served one, as `[route]` names them.

use crate::Project;
use crate::project::is_hosted;
use sprat_infer::Constraint;
use sprat_infer::remote::{Remote, Settings};
use sprat_route::{Breaker, Budget, Limit, Limits, Upstream, Upstreams};
use sprat_task::settings::{Candidate, Privacy};
use sprat_task::{Clock, Error, Result};
use std::sync::Arc;

impl Project {
    /// The large models that `[route]` names, with their budget; none without a route. Whatever is
    /// served shares them.
    ///
    /// # Errors
    /// `SPRAT-ROUTE-SETTINGS` where requests may not leave, or a name is no hosted candidate's;
    /// those of the remote client.
    pub fn upstreams(&self, clock: Arc<dyn Clock>) -> Result<Option<Arc<Upstreams>>> {
        let route = &self.settings.route;
        if route.large.is_empty() {
            return Ok(None);
        }
        if self.settings.needs.privacy == Privacy::OnPremise {
            let what = "requests may not leave the user's machines, so there can be no large model";
            let error = Error::new(&sprat_route::codes::SETTINGS, what);
            return Err(error.field("needs.privacy"));
        }
        let mut all = Vec::with_capacity(route.large.len());
        for (place, name) in route.large.iter().enumerate() {
            let candidate = self.large_candidate(name)?;
            let mut settings = self.large_settings(candidate)?;
            settings.name.clone_from(name);
            let breaker = Breaker::new(
                u32::try_from(route.breaker_failures).unwrap_or(u32::MAX),
                route.breaker_pause.0,
            );
            all.push(Upstream {
                order: candidate.order.unwrap_or(place),
                weight: u32::try_from(candidate.weight).unwrap_or(u32::MAX),
                ..Upstream::new(Arc::new(Remote::open(settings)?), breaker)
            });
        }
        let hour = Limit { usd: route.usd_per_hour, tokens: route.tokens_per_hour };
        let day = Limit { usd: route.usd_per_day, tokens: route.tokens_per_day };
        let limits = Limits { hour, day };
        // Without a limit there is nothing to remember.
        let budget = match limits == Limits::default() {
            true => Budget::new(limits),
            false => Budget::kept(limits, &self.state.join("route-spent.json"), clock.now())?,
        };
        let hedge = route.hedge_after.as_ref().map(|after| after.0);
        Ok(Some(Arc::new(Upstreams::new(all, budget, clock)?.hedged(hedge))))
    }

    /// The hosted candidate that `route.large` names.
    ///
    /// # Errors
    /// `SPRAT-ROUTE-SETTINGS` where it is none.
    pub(crate) fn large_candidate(&self, name: &str) -> Result<&Candidate> {
        let hosted = || self.settings.candidates.iter().filter(|one| is_hosted(one));
        // Several endpoints may have the same model: they are told apart by their names.
        let named = hosted().find(|one| one.name.as_deref() == Some(name));
        let candidate = named.or_else(|| hosted().find(|one| one.model == *name));
        candidate.ok_or_else(|| {
            let what = format!("`{name}` is no hosted candidate");
            Error::new(&sprat_route::codes::SETTINGS, what).field("route.large")
        })
    }

    /// How a large model of the route is asked.
    ///
    /// # Errors
    /// Those of the remote client: a missing key or address.
    pub(crate) fn large_settings(&self, candidate: &Candidate) -> Result<Settings> {
        let route = &self.settings.route;
        let mut settings = self.endpoint(candidate)?;
        settings.instruction.clone_from(&self.settings.task.instruction);
        settings.timeout = route.timeout.0;
        settings.idle_timeout = route.idle_timeout.0;
        settings.retries = u32::try_from(route.retries).unwrap_or(u32::MAX);
        settings.concurrency = route.concurrency;
        Ok(settings)
    }

    /// What a large model's answer must satisfy where the request itself says nothing: what the
    /// small model's satisfies.
    ///
    /// # Errors
    /// Those of reading the schema.
    pub(crate) fn large_constraint(&self, labels: &[String]) -> Result<Option<Constraint>> {
        if !labels.is_empty() {
            return Ok(Some(Constraint::Labels(labels.to_vec())));
        }
        let schema = self.answer_schema()?;
        Ok(schema.map(|schema| Constraint::JsonSchema(schema.document)))
    }
}
