//! A threshold that an alarm raised: one small file beside the fitted routes, tied to the version's
//! digest like them. A running server looks for it; taking note of the alarm or fitting the route
//! anew takes it away.

use super::RouteState;
use crate::project::{read_json, read_json_if_any, write_json};
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_registry::Version;
use sprat_route::Raised;
use sprat_route::curve::Curve;
use sprat_task::settings::RoutePolicy;
use sprat_task::{Digest, Error, Result, Timestamp};
use std::path::PathBuf;

/// The form and version of the file.
const SCHEMA: &str = "sprat.raised-route/1";

/// A raised threshold, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RaisedRoute {
    schema: String,
    /// The version in words, such as `task@v3`.
    pub(crate) model: String,
    /// The version's digest: it holds for no other one.
    digest: Digest,
    policy: RoutePolicy,
    /// What is raised, by which alarm, and until when.
    #[serde(flatten)]
    pub(crate) raised: Raised,
}

impl Project {
    fn raised_file(&self, digest: &Digest, policy: RoutePolicy) -> PathBuf {
        self.routes_folder().join(format!("raised-{}-{digest}.json", policy.name()))
    }

    fn kept_raise(&self, digest: &Digest, policy: RoutePolicy) -> Result<Option<RaisedRoute>> {
        let file = self.raised_file(digest, policy);
        let Some(kept) = read_json_if_any::<RaisedRoute>(&file)? else { return Ok(None) };
        let foreign = kept.schema != SCHEMA || kept.digest != *digest || kept.policy != policy;
        if foreign {
            let what = "a raised threshold is not for this version";
            return Err(Error::new(&sprat_route::codes::DOCUMENT, what).file(&file));
        }
        Ok(Some(kept))
    }

    /// What the threshold of a version's route is raised to now, if it is.
    ///
    /// # Errors
    /// `SPRAT-FLOW-READ` and `SPRAT-ROUTE-DOCUMENT` for a damaged file.
    pub(crate) fn raised(&self, digest: &Digest, policy: RoutePolicy) -> Result<Option<Raised>> {
        let now = self.clock.now();
        let kept = self.kept_raise(digest, policy)?.map(|kept| kept.raised);
        Ok(kept.filter(|raised| raised.in_force(now)))
    }

    /// Puts what is raised now, or nothing, to work in a route that is being served; says whether
    /// that changed anything.
    ///
    /// # Errors
    /// `SPRAT-FLOW-READ` and `SPRAT-ROUTE-DOCUMENT` for a damaged file.
    pub fn refresh_raise(&self, state: &RouteState) -> Result<bool> {
        Ok(state.raise.set(self.raised(&state.digest, state.policy)?))
    }

    /// Raises the threshold of a version's route so far that `watch.escalate_share` of the requests
    /// go to the large models; gives what was done in words. What is raised further already stays.
    ///
    /// # Errors
    /// `SPRAT-ROUTE-SETTINGS` without large models; `SPRAT-FLOW-ROUTE-UNFITTED` where only a fit
    /// can say which threshold sends such a share; those of the files.
    pub(crate) fn raise_route(&self, version: &Version, alarm: (u64, &str)) -> Result<String> {
        let (route, watch) = (&self.settings.route, &self.settings.watch);
        if route.large.is_empty() {
            let what = "the settings name no large model, so there is no threshold to raise";
            return Err(Error::new(&sprat_route::codes::SETTINGS, what).field("route.large"));
        }
        let (model, policy, share) = (version.to_string(), route.policy, watch.escalate_share);
        let least = match share < 1.0 {
            false => None,
            true => {
                let fitted = self.fitted_route(&model, &version.digest, policy)?;
                let curve = fitted.report.curve.as_ref().ok_or_else(|| {
                    let what = "the fitted route has no curve to take a threshold from";
                    Error::new(&codes::ROUTE_UNFITTED, what).field("watch.escalate_share")
                })?;
                threshold_for(curve, share)
            }
        };
        if let Some(kept) = self.kept_raise(&version.digest, policy)?
            && kept.raised.in_force(self.clock.now())
            && at_least_as_high(kept.raised.least, least)
        {
            let before = kept.raised.alarm;
            return Ok(format!("alarm {before} raised the route of {model} as far already"));
        }
        let at = self.clock.now();
        let span = watch.escalate_for.as_ref().map(|span| span.0.as_millis());
        let until =
            span.map(|ms| Timestamp(at.0.saturating_add(ms.try_into().unwrap_or(u64::MAX))));
        let (alarm, test) = (alarm.0, alarm.1.to_owned());
        let raised = Raised { alarm, test, share, least, at, until };
        let kept = RaisedRoute {
            schema: SCHEMA.to_owned(),
            model: model.clone(),
            digest: version.digest,
            policy,
            raised,
        };
        self.make_routes_folder()?;
        write_json(&self.raised_file(&version.digest, policy), &kept)?;
        let how = match least {
            None => "sends all requests that may leave to the large models".to_owned(),
            Some(least) => {
                let share = sprat_report::number::percent(share);
                format!("keeps from {least:.4} on, so that about {share} go to the large models")
            }
        };
        let until = until.map_or_else(
            || "until the alarm is acknowledged".to_owned(),
            |until| format!("until {}", until.to_rfc3339()),
        );
        Ok(format!("the route of {model} {how}, {until}"))
    }

    /// Takes back what alarms raised, of all versions or of one, and writes it into the journal.
    ///
    /// # Errors
    /// Those of the files and of the registry.
    pub(crate) fn lower_routes(&self, only: Option<&Digest>, why: &str) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.routes_folder()) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|why| {
                Error::io(&codes::READ, "read the fitted routes", &self.routes_folder(), &why)
            })?,
        };
        let mut lowered = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            let of = only.is_none_or(|digest| name.ends_with(&format!("-{digest}.json")));
            if !name.starts_with("raised-") || !name.ends_with(".json") || !of {
                continue;
            }
            // One that can't be read holds no threshold up, and is in the way all the same.
            let kept: Option<RaisedRoute> = read_json(&path).ok();
            std::fs::remove_file(&path)
                .map_err(|why| Error::io(&codes::WRITE, "take back a threshold", &path, &why))?;
            let alarm = kept.as_ref().map(|kept| kept.raised.alarm);
            let model = kept.map_or(name, |kept| kept.model);
            let body = json!({ "version": model, "alarm": alarm, "who": crate::versions::who(),
                "why": why });
            self.registry.record_event(self.task(), "watch-lowered", &body)?;
            lowered.push(model);
        }
        lowered.sort();
        Ok(lowered)
    }
}

/// The threshold of the curve's first point that sends at least this share; `None`: nothing is
/// kept.
fn threshold_for(curve: &Curve, share: f64) -> Option<f64> {
    let enough = |point: &&sprat_route::curve::Point| point.share_large >= share - 1e-9;
    curve.points.iter().find(enough).and_then(|point| point.threshold)
}

/// Whether a raised threshold is no lower than another; none at all is the highest.
fn at_least_as_high(least: Option<f64>, other: Option<f64>) -> bool {
    match (least, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(least), Some(other)) => least >= other,
    }
}
