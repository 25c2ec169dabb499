//! A fitted route as it is kept: one file for each version and policy, tied to the version's
//! digest.

use super::judged::JudgeReport;
use crate::project::write_json;
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use sprat_eval::Interval;
use sprat_route::curve::Curve;
use sprat_route::{Head, RouteFit};
use sprat_task::settings::{RoutePolicy, RouteScore};
use sprat_task::{Digest, Error, Result};
use std::path::PathBuf;

/// The form and version of the document.
const SCHEMA: &str = "sprat.fitted-route/1";

/// A route that was fitted for one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedRoute {
    /// The form and version of this document.
    pub schema: String,
    /// The version in words, such as `task@v3`.
    pub model: String,
    /// The version's digest: a route holds for no other one.
    pub digest: Digest,
    /// When it decides.
    pub policy: RoutePolicy,
    /// With `after`: what its threshold is a threshold of. Documents that do not say it are of
    /// before there was a choice.
    #[serde(default)]
    pub score: RouteScore,
    /// The threshold with its bound and how it was found.
    pub fit: RouteFit,
    /// With `before`: what gives requests their scores.
    pub head: Option<FittedHead>,
    /// What is expected of it.
    pub report: FitReport,
}

/// A difficulty head and the encoder that it reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedHead {
    /// The head.
    pub head: Head,
    /// The encoder's reference; none: the version's own.
    pub encoder: Option<String>,
    /// The digest of that encoder's files.
    pub encoder_digest: Option<Digest>,
}

/// What a route is expected to do, as measured on graded requests that did not train it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    /// The graded requests in words.
    pub data: String,
    /// How many there were.
    pub rows: RowCounts,
    /// The large model that was asked; none where it is only assumed to be always right.
    pub large: Option<String>,
    /// The judge behind the grades; none where they come from wanted answers or from agreement.
    pub judge: Option<JudgeReport>,
    /// Rows behind the figures below.
    pub measured_on: u64,
    /// The share of requests that go to the large model.
    pub share_large: Interval,
    /// The accuracy of the two together.
    pub quality: Interval,
    /// The accuracy with as many requests sent at random, and with perfect knowledge.
    pub same_share: (f64, f64),
    /// What 1,000 requests cost, in US dollars: the small model alone, the large one alone, the
    /// two together, as far as prices are known.
    pub usd_per_1000: (Option<f64>, Option<f64>, Option<f64>),
    /// Quality against the share of large calls.
    pub curve: Option<Curve>,
    /// What a reader should know before believing it.
    pub caveats: Vec<String>,
}

/// How many graded requests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Requests with a grade and a score: what the fit works with.
    pub graded: u64,
    /// Left out: they would never leave, so no route decides about them.
    pub private: u64,
    /// Left out: their texts stand in the training part.
    pub trained_on: u64,
    /// Left out: they have no right answer to be graded by.
    pub without_target: u64,
    /// The small model gave no valid answer: a cascade always sends these.
    pub unanswered: u64,
    /// The large model gave no answer.
    pub large_missing: u64,
}

/// Whether a route asks the small model about every request: a head on the classifier's own
/// embedding gets that with the answer.
pub(crate) fn asks_small(policy: RoutePolicy, encoder: Option<&String>) -> bool {
    policy == RoutePolicy::After || encoder.is_none()
}

/// What requests cost where this share goes to the large model, from what the small and the large
/// one cost alone.
pub(crate) fn together(
    share_large: f64,
    (small, large): (Option<f64>, Option<f64>),
    asks_small: bool,
) -> Option<f64> {
    let share_small = if asks_small { 1.0 } else { 1.0 - share_large };
    Some(share_small * small? + share_large * large?)
}

impl FittedRoute {
    pub(crate) fn new(
        model: &str,
        digest: Digest,
        (policy, score): (RoutePolicy, RouteScore),
        (fit, head, report): (RouteFit, Option<FittedHead>, FitReport),
    ) -> Self {
        let (schema, model) = (SCHEMA.to_owned(), model.to_owned());
        FittedRoute { schema, model, digest, policy, score, fit, head, report }
    }

    /// Whether the small model is asked about every request, also about those that are sent.
    pub(crate) fn asks_small(&self) -> bool {
        let encoder = self.head.as_ref().and_then(|head| head.encoder.as_ref());
        asks_small(self.policy, encoder)
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let damaged = |why: String| {
            Error::new(&sprat_route::codes::DOCUMENT, "a fitted route can't be read").why(why)
        };
        let route: FittedRoute =
            serde_json::from_slice(bytes).map_err(|why| damaged(why.to_string()))?;
        if route.schema != SCHEMA || route.fit.schema != sprat_route::SCHEMA {
            return Err(damaged(format!("its form is `{}`, not `{SCHEMA}`", route.schema)));
        }
        Ok(route)
    }
}

impl Project {
    pub(super) fn routes_folder(&self) -> PathBuf {
        self.state.join("routes")
    }

    pub(super) fn make_routes_folder(&self) -> Result<()> {
        let folder = self.routes_folder();
        std::fs::create_dir_all(&folder)
            .map_err(|why| Error::io(&codes::WRITE, "make a folder", &folder, &why))
    }

    /// The file of a version's fitted route.
    pub(crate) fn route_file(&self, digest: &Digest, policy: RoutePolicy) -> PathBuf {
        self.routes_folder().join(format!("{}-{digest}.json", policy.name()))
    }

    /// Keeps a fitted route, whole or not at all.
    ///
    /// # Errors
    /// `SPRAT-FLOW-WRITE`.
    pub(crate) fn keep_route(&self, route: &FittedRoute) -> Result<PathBuf> {
        self.make_routes_folder()?;
        let path = self.route_file(&route.digest, route.policy);
        write_json(&path, route)?;
        Ok(path)
    }

    /// The route that was fitted for a version.
    ///
    /// # Errors
    /// `SPRAT-FLOW-ROUTE-UNFITTED`; `SPRAT-FLOW-ROUTE-OTHER-VERSION` where there is only one for
    /// another version, naming both; `SPRAT-ROUTE-DOCUMENT` for a damaged file.
    pub fn fitted_route(
        &self,
        model: &str,
        digest: &Digest,
        policy: RoutePolicy,
    ) -> Result<FittedRoute> {
        let path = self.route_file(digest, policy);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                return Err(match self.any_route(policy) {
                    Some(other) => other_version(model, digest, &other),
                    None => {
                        let what = format!("no route is fitted for {model}");
                        Error::new(&codes::ROUTE_UNFITTED, what).field("route.keep_above")
                    }
                });
            }
            Err(why) => return Err(Error::io(&codes::READ, "read a fitted route", &path, &why)),
        };
        let route = FittedRoute::read(&bytes).map_err(|error| error.file(&path))?;
        // A file that was copied to another name.
        if route.digest != *digest || route.policy != policy {
            return Err(other_version(model, digest, &route).file(&path));
        }
        Ok(route)
    }

    /// A route for another version: the first by its file's name that can be read.
    fn any_route(&self, policy: RoutePolicy) -> Option<FittedRoute> {
        let entries = std::fs::read_dir(self.routes_folder()).ok()?;
        let begins = format!("{}-", policy.name());
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins))
        });
        paths.sort();
        paths.iter().find_map(|path| FittedRoute::read(&std::fs::read(path).ok()?).ok())
    }
}

fn other_version(model: &str, digest: &Digest, other: &FittedRoute) -> Error {
    let what = format!("the fitted route is for {}, not for {model}", other.model);
    let why = format!(
        "the route belongs to {} ({}, policy {}), served is {}",
        other.digest.short(),
        other.model,
        other.policy.name(),
        digest.short()
    );
    Error::new(&codes::ROUTE_OTHER_VERSION, what).field("route.keep_above").why(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_costs_what_its_models_are_asked() {
        let prices = (Some(1.0), Some(10.0));
        assert!(asks_small(RoutePolicy::After, None) && asks_small(RoutePolicy::Before, None));
        assert_eq!(together(0.5, prices, true), Some(6.0));
        // A head on another encoder decides before the small model is asked.
        assert!(!asks_small(RoutePolicy::Before, Some(&"hf:a/b".to_owned())));
        assert_eq!(together(0.5, prices, false), Some(5.5));
        assert_eq!(together(0.5, (None, Some(10.0)), true), None);
    }
}
