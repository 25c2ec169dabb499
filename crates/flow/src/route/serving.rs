//! A route at work: the policy that the settings want, with what was fitted for the version.

use super::document::{FittedHead, FittedRoute, together};
use crate::{Project, bundle, codes, is_tuned, is_writer};
use serde_json::{Value, json};
use sprat_infer::{
    Embedder, EncoderEmbedder, EncoderEngine, Generator, TextClassifier, WithEmbeddings,
};
use sprat_model::{Encoder, Format};
use sprat_registry::Tree;
use sprat_route::policy::rules::{FixedRule, FixedRules};
use sprat_route::policy::shadow::{Shadow, ShadowSink};
use sprat_route::{
    Before, Decider, Keep, Policy, PrivateRules, Raise, Routed, Side, Upstreams, curve::Point,
};
use sprat_task::settings::{RoutePolicy, RouteRule, RouteScore, RouteTo};
use sprat_task::{Clock, Digest, Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shadowed requests on their way at once.
const SHADOWS: usize = 32;

/// A small model that a route stands over.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name: `task@v3`, or `task@` and its folder.
    pub name: String,
    /// The version's digest; of a folder that of its files.
    pub digest: Digest,
    /// Its files.
    pub folder: PathBuf,
}

/// An open small model.
pub struct Opened {
    /// What answers.
    pub generator: Arc<dyn Generator>,
    /// What gives texts vectors; none for models that write.
    pub embedder: Option<Arc<dyn Embedder>>,
}

/// What `GET /v1/route` tells of a route.
#[derive(Clone)]
pub struct RouteState {
    model: String,
    pub(super) digest: Digest,
    pub(super) policy: RoutePolicy,
    score: RouteScore,
    keep_above: Option<f64>,
    fitted: Option<Arc<FittedRoute>>,
    unfitted: Option<String>,
    large: Arc<Upstreams>,
    /// What an alarm raised the threshold to, as requests are told now.
    pub(super) raise: Arc<Raise>,
    shadow: Option<Arc<Shadow>>,
    clock: Arc<dyn Clock>,
}

/// How a version came to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Somebody named it: it needs a fitted route where the settings want one.
    Named,
    /// An alias stood at it when the server began. Where the route was fitted for an earlier
    /// version, a canary, `sprat improve` or a rollback has moved on: a server that starts again
    /// must serve what one that went on serves. Without any fit the route was never set up.
    Promoted,
    /// Its alias moved, or its trial began, under a running server. That must not fail for want of
    /// a fitted route.
    Moved,
}

impl Project {
    /// The model that a reference names: a version, or a tuned model's folder; by default the
    /// released one.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn subject(&self, reference: Option<&str>) -> Result<Subject> {
        let released = format!("{}@{}", self.task(), self.settings.release.alias);
        let reference = reference.unwrap_or(&released);
        let path = Path::new(reference.trim_start_matches("file:"));
        if is_tuned(path) {
            return Ok(Subject {
                name: format!("{}@{}", self.task(), path.display()),
                digest: Tree::of_folder(path)?.digest(),
                folder: path.to_owned(),
            });
        }
        let version = self.version(reference)?;
        Ok(Subject {
            name: version.to_string(),
            digest: version.digest,
            folder: self.registry.checkout(&version)?,
        })
    }

    /// Opens a small model, for answers and, where it is a classifier, for vectors.
    ///
    /// # Errors
    /// Those of the model and the engines.
    pub fn opened(&self, subject: &Subject) -> Result<Opened> {
        if is_writer(&subject.folder) {
            let generator = self.local(&subject.name, &subject.folder)?;
            return Ok(Opened { generator, embedder: None });
        }
        let model = Arc::new(bundle::open(&subject.folder)?);
        let (name, limits) = (subject.name.as_str(), self.limits());
        let embedder = EncoderEmbedder::start(name, model.clone(), limits)?;
        let route = &self.settings.route;
        // The route, too, reads the embedding that an answer was computed from.
        let judged = route.policy == RoutePolicy::Before && route.encoder.is_none();
        let classifier: Arc<dyn TextClassifier> =
            if self.sketches() || judged { Arc::new(WithEmbeddings(model)) } else { model };
        let generator = EncoderEngine::start(name, classifier, limits)?;
        Ok(Opened { generator: Arc::new(generator), embedder: Some(Arc::new(embedder)) })
    }

    /// The versions of `[[route.split]]` with their shares.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn split_versions(&self) -> Result<Vec<(Subject, f64)>> {
        let parts = self.settings.route.split.iter();
        parts.map(|part| Ok((self.subject(Some(&part.version))?, part.share))).collect()
    }

    /// The encoder that `before` reads: the one of the settings, or the classifier's own.
    ///
    /// # Errors
    /// `SPRAT-ROUTE-SETTINGS` where there is none; those of fetching and opening it.
    pub(crate) fn before_encoder(&self, opened: &Opened) -> Result<Arc<dyn Embedder>> {
        if let Some(reference) = &self.settings.route.encoder {
            let pulled = self.fetched(reference)?;
            let encoder = Arc::new(Encoder::open(&pulled.dir, Format::F32)?);
            let engine = EncoderEmbedder::start(reference.as_str(), encoder, self.limits())?;
            return Ok(Arc::new(engine));
        }
        opened.embedder.clone().ok_or_else(|| {
            let what = "a model that writes gives no embedding to judge requests by";
            Error::new(&sprat_route::codes::SETTINGS, what)
                .field("route.encoder")
                .help("Name an encoder under `route.encoder`, or set `policy = \"after\"`.")
        })
    }

    /// The digest of the encoder that the settings name for `before`.
    ///
    /// # Errors
    /// Those of fetching it.
    pub(crate) fn encoder_digest(&self) -> Result<Option<Digest>> {
        let route = &self.settings.route;
        match (&route.encoder, route.policy) {
            (Some(reference), RoutePolicy::Before) => Ok(Some(self.fetched(reference)?.digest)),
            _ => Ok(None),
        }
    }

    /// A small model with the large ones behind it, as the settings want it. Where a version came
    /// by a move of its alias and has no fitted route, the small model answers alone, and every
    /// answer says why.
    ///
    /// # Errors
    /// `SPRAT-FLOW-ROUTE-UNFITTED` and `SPRAT-FLOW-ROUTE-OTHER-VERSION`; those of the settings.
    pub fn routed(
        &self,
        subject: &Subject,
        opened: &Opened,
        large: &Arc<Upstreams>,
        sink: Option<Arc<dyn ShadowSink>>,
        came: Came,
    ) -> Result<(Arc<Routed>, RouteState)> {
        let route = &self.settings.route;
        let (fitted, unfitted) = match route.keep_above {
            Some(_) if route.policy == RoutePolicy::Before => {
                let what = "a fixed confidence says nothing before the small model has answered";
                return Err(Error::new(&sprat_route::codes::SETTINGS, what)
                    .field("route.keep_above")
                    .help("Remove it and run `sprat route fit`, or set `policy = \"after\"`."));
            }
            Some(_) => (None, None),
            None => match self.fitting_route(subject) {
                Ok(fitted) => (Some(Arc::new(fitted)), None),
                Err(error) if self.may_lack_fit(subject, came, &error) => {
                    let why = format!("{}: the small model answers alone", error.what());
                    (None, Some(why))
                }
                Err(error) => return Err(error),
            },
        };
        let decider = match (&fitted, route.keep_above, &unfitted) {
            (_, _, Some(why)) => Decider::After(Keep::All(why.clone()), route.score),
            (Some(fitted), _, _) => self.fitted_decider(fitted, opened)?,
            (None, Some(least), _) => Decider::After(Keep::Above(least as f32), route.score),
            (None, None, None) => {
                let what = format!("no route is fitted for {}", subject.name);
                return Err(Error::new(&codes::ROUTE_UNFITTED, what));
            }
        };
        let shadow = sink
            .filter(|_| route.shadow > 0.0)
            .map(|sink| Arc::new(Shadow::new(route.shadow, SHADOWS, sink)));
        let raise = Arc::new(Raise::default());
        raise.set(self.raised(&subject.digest, route.policy)?);
        let policy = Policy {
            raise: Arc::clone(&raise),
            private: PrivateRules { personal: route.keep_personal },
            fixed: fixed(&route.rules)?,
            decider,
            constraint: self.large_constraint(opened.generator.labels())?,
            shadow: shadow.clone(),
            when_large_fails: route.when_large_fails,
        };
        let routed = Routed::new(Arc::clone(&opened.generator), Arc::clone(large), policy)?;
        let state = RouteState {
            model: subject.name.clone(),
            digest: subject.digest,
            policy: route.policy,
            score: route.score,
            keep_above: route.keep_above,
            fitted,
            unfitted,
            large: Arc::clone(large),
            raise,
            shadow,
            clock: Arc::clone(&self.clock),
        };
        Ok((Arc::new(routed), state))
    }

    /// Whether a version is served though its route could not be had.
    fn may_lack_fit(&self, subject: &Subject, came: Came, error: &Error) -> bool {
        let policy = self.settings.route.policy;
        let other = error.code() == &codes::ROUTE_OTHER_VERSION;
        match came {
            Came::Named => false,
            // A fit of its own that does not suit the settings is theirs to mend.
            Came::Promoted => other && !self.route_file(&subject.digest, policy).exists(),
            Came::Moved => other || error.code() == &codes::ROUTE_UNFITTED,
        }
    }

    /// The route that was fitted for a version, on what the settings decide by.
    ///
    /// # Errors
    /// Those of [`Project::fitted_route`]; `SPRAT-FLOW-ROUTE-OTHER-VERSION` where it was fitted on
    /// another score or with another encoder.
    fn fitting_route(&self, subject: &Subject) -> Result<FittedRoute> {
        let route = &self.settings.route;
        let fitted = self.fitted_route(&subject.name, &subject.digest, route.policy)?;
        let other = |field: &str, what: &str, (with, named): (&str, &str)| {
            let why = format!("fitted with {with}, the settings name {named}");
            Error::new(&codes::ROUTE_OTHER_VERSION, what).field(field.to_owned()).why(why)
        };
        if route.policy == RoutePolicy::After && fitted.score != route.score {
            let names = (fitted.score.name(), route.score.name());
            return Err(other("route.score", "the route was fitted on another score", names));
        }
        if let Some(FittedHead { encoder, encoder_digest, .. }) = &fitted.head
            && (*encoder != route.encoder || *encoder_digest != self.encoder_digest()?)
        {
            let name = |of: &Option<String>| of.as_deref().unwrap_or("the classifier's own").into();
            let (with, named): (String, String) = (name(encoder), name(&route.encoder));
            let what = "the route was fitted with another encoder";
            return Err(other("route.encoder", what, (&with, &named)));
        }
        Ok(fitted)
    }

    fn fitted_decider(&self, fitted: &Arc<FittedRoute>, opened: &Opened) -> Result<Decider> {
        let fit = Arc::new(fitted.fit.clone());
        match (&fitted.head, fitted.policy) {
            (_, RoutePolicy::After) => Ok(Decider::After(Keep::Fitted(fit), fitted.score)),
            (Some(FittedHead { head, encoder: named, .. }), RoutePolicy::Before) => {
                let encoder = self.before_encoder(opened)?;
                if encoder.dimensions() != head.weights.len() {
                    let what = "the route's head reads embeddings of another length";
                    return Err(Error::new(&sprat_route::codes::DOCUMENT, what));
                }
                let (head, encoder) = (Arc::new(head.clone()), named.as_ref().map(|_| encoder));
                Ok(Decider::Before(Before { head, fit, encoder }))
            }
            (None, RoutePolicy::Before) => {
                let what = "the fitted route has no head";
                Err(Error::new(&sprat_route::codes::DOCUMENT, what))
            }
        }
    }
}

/// The fixed rules of the settings.
fn fixed(rules: &[RouteRule]) -> Result<FixedRules> {
    let rule = |rule: &RouteRule| {
        Ok(FixedRule {
            to: match rule.to {
                RouteTo::Small => Side::Small,
                RouteTo::Large => Side::Large,
            },
            text: rule.text.as_deref().map(FixedRule::expression).transpose()?,
            min_chars: rule.min_chars,
            max_chars: rule.max_chars,
            label: rule.label.clone(),
            tag: rule.tag.clone(),
            client: rule.client.clone(),
        })
    };
    FixedRules::new(rules.iter().map(rule).collect::<Result<_>>()?)
}

impl RouteState {
    /// The version in words.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Why the small model answers alone, where it does for want of a fitted route.
    pub fn unfitted(&self) -> Option<&str> {
        self.unfitted.as_deref()
    }

    /// What asks the large models in the background, where something does.
    pub fn shadow(&self) -> Option<&Arc<Shadow>> {
        self.shadow.as_ref()
    }

    /// The document of `GET /v1/route`, as of now.
    pub fn document(&self) -> Value {
        let fit = self.fitted.as_ref().map(|fitted| &fitted.fit);
        let report = self.fitted.as_ref().map(|fitted| &fitted.report);
        let curve = report.and_then(|report| report.curve.as_ref());
        let points = || curve.into_iter().flat_map(|curve| &curve.points);
        let cost = |point: &Point| {
            let fitted = self.fitted.as_ref()?;
            let (small, large, _) = fitted.report.usd_per_1000;
            together(point.share_large, (small, large), fitted.asks_small())
        };
        let line = |of: &dyn Fn(&Point) -> f64| -> Vec<(f64, f64)> {
            points().map(|point| (point.share_large, of(point))).collect()
        };
        let [hour, day] = self.large.budget().spent(self.clock.now());
        json!({
            "schema": "sprat.route-state/1",
            "model": self.model,
            "policy": self.policy,
            "score": (self.policy == RoutePolicy::After).then_some(self.score),
            "large": self.large.names(),
            "unfitted": self.unfitted,
            "threshold": fit.map_or(self.keep_above, |fit| fit.threshold),
            "raised": self.raise.get().map(|raised| json!({
                "alarm": raised.alarm, "test": raised.test, "share": raised.share,
                "threshold": raised.least, "since": raised.at, "until": raised.until,
                "why": raised.why(),
            })),
            "bound": fit.map(|fit| json!({
                "alpha": fit.options.bound.alpha,
                "delta": fit.options.bound.delta,
                "failure": fit.options.failure,
                "sealed": fit.sealed,
            })),
            "chosen": report.map(|report| json!({
                "share_large": report.share_large.estimate,
                "quality": report.quality.estimate,
                "usd_per_1000": report.usd_per_1000.2,
            })),
            "curve": points().map(|point| json!({
                "share_large": point.share_large,
                "quality": point.quality,
                "usd_per_1000": cost(point),
                "threshold": point.threshold,
            })).collect::<Vec<_>>(),
            "random": line(&|point| point.random),
            "oracle": line(&|point| point.oracle),
            "always_small": curve.map(|curve| curve.small.estimate),
            "always_large": curve.map(|curve| curve.large.estimate),
            "large_assumed": report.map(|report| report.large.is_none()),
            "spent": { "hour": hour, "day": day },
            "limits": self.large.budget().limits(),
            "shadow": self.shadow.as_ref().map(|shadow| {
                let counts = shadow.counts();
                let mut told = json!(counts);
                told["agreement"] = json!(counts.agreement());
                told
            }),
        })
    }
}
