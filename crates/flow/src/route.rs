//! The large models behind a served one, as `[route]` names them.

use crate::Project;
use crate::generator::hosted;
use crate::project::is_hosted;
use sprat_infer::Generator;
use sprat_infer::remote::Remote;
use sprat_route::{
    Breaker, Budget, Keep, Limit, Limits, Policy, Routed, Rules, Upstream, Upstreams,
};
use sprat_task::settings::{Privacy, TaskKind};
use sprat_task::{Clock, Error, Result};
use std::sync::Arc;

impl Project {
    /// The large models that `[route]` names, with their budget; none without a route. Whatever is
    /// served shares them.
    ///
    /// # Errors
    /// `SPRAT-ROUTE-SETTINGS` where requests may not leave, the task writes answers, or a name is
    /// no hosted candidate's; those of the remote client.
    pub fn upstreams(&self, clock: Arc<dyn Clock>) -> Result<Option<Arc<Upstreams>>> {
        let route = &self.settings.route;
        if route.large.is_empty() {
            return Ok(None);
        }
        let wrong = |field: &str, what: &str| {
            Error::new(&sprat_route::codes::SETTINGS, what).field(field.to_owned())
        };
        if self.settings.needs.privacy == Privacy::OnPremise {
            let what = "requests may not leave the user's machines, so there can be no large model";
            return Err(wrong("needs.privacy", what));
        }
        if self.settings.task.kind != TaskKind::Classify {
            return Err(wrong("task.kind", "only tasks that classify can be routed so far"));
        }
        let mut all = Vec::with_capacity(route.large.len());
        for name in &route.large {
            let candidates = &self.settings.candidates;
            let candidate = candidates.iter().find(|one| one.model == *name && is_hosted(one));
            let Some(candidate) = candidate else {
                let what = format!("`{name}` is no hosted candidate");
                return Err(wrong("route.large", &what));
            };
            let mut settings = hosted(candidate)?;
            settings.instruction.clone_from(&self.settings.task.instruction);
            settings.timeout = route.timeout.0;
            settings.retries = u32::try_from(route.retries).unwrap_or(u32::MAX);
            settings.concurrency = route.concurrency;
            let breaker = Breaker::new(
                u32::try_from(route.breaker_failures).unwrap_or(u32::MAX),
                route.breaker_pause.0,
            );
            all.push(Upstream { model: Arc::new(Remote::open(settings)?), breaker });
        }
        let hour = Limit { usd: route.usd_per_hour, tokens: route.tokens_per_hour };
        let day = Limit { usd: route.usd_per_day, tokens: route.tokens_per_day };
        let budget = Budget::new(Limits { hour, day });
        Ok(Some(Arc::new(Upstreams::new(all, budget, clock)?)))
    }

    /// A small model with the large ones behind it.
    ///
    /// # Errors
    /// Those of [`Routed::new`].
    pub fn routed(
        &self,
        small: Arc<dyn Generator>,
        large: &Arc<Upstreams>,
    ) -> Result<Arc<dyn Generator>> {
        let route = &self.settings.route;
        let policy = Policy {
            keep: Keep::Above(route.keep_above as f32),
            rules: Rules { personal: route.keep_personal },
            when_large_fails: route.when_large_fails,
        };
        Ok(Arc::new(Routed::new(small, Arc::clone(large), policy)?))
    }
}
