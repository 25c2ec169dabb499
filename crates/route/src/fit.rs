//! Graded traffic with a score each becomes a route, or a refusal that says what is missing.

use crate::bound::{self, Bound, Family, Outcome, Shortfall, Tested};
use crate::{Failure, Graded, Parts, codes, parts};
use serde::{Deserialize, Serialize};
use sprat_eval::{Interval, Isotonic, LEVEL, Weighted, clopper_pearson};
use sprat_task::{Error, Result};

/// The form and version of a fitted route's document.
pub const SCHEMA: &str = "sprat.route/1";

/// How a route is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitOptions {
    /// What counts as a failure.
    pub failure: Failure,
    /// The bound that is wanted.
    pub bound: Bound,
    /// The share of rows for the calibration map and the family of thresholds.
    pub fit_share: f64,
    /// The share of rows that tests the thresholds; the rest is sealed.
    pub calibration_share: f64,
    /// The seed of the split.
    pub seed: u64,
}

impl FitOptions {
    /// The parts that [`fit`] makes of these rows: whoever trains a score on some of them takes
    /// the fit part.
    pub fn parts(&self, rows: &[Graded]) -> Parts {
        parts::split(rows, self.fit_share, self.calibration_share, self.seed)
    }
}

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The small model keeps it.
    pub keep: bool,
    /// The probability that keeping it is no failure, as calibrated; NaN for a score that is no
    /// number.
    pub confidence: f64,
}

/// The chosen threshold on rows that had no say in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// Rows of the sealed part.
    pub rows: u64,
    /// Those that the small model keeps.
    pub kept: u64,
    /// The failure rate among them (Clopper–Pearson).
    pub failures: Interval,
}

/// A fitted route: all that serving needs to decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteFit {
    /// [`SCHEMA`].
    pub schema: String,
    /// How it was fitted.
    pub options: FitOptions,
    /// The least score that is kept; `None`: everything is.
    pub threshold: Option<f64>,
    /// From a score to the probability that keeping is no failure.
    pub calibration: Isotonic,
    /// What was tested on the calibration part, in order.
    pub tested: Vec<Tested>,
    /// The test on the sealed part.
    pub sealed: Sealed,
}

impl RouteFit {
    /// What becomes of a request with this score.
    pub fn decide(&self, score: f64) -> Decision {
        let keep = bound::keeps(self.threshold, score);
        Decision { keep, confidence: self.calibration.at(score) }
    }

    /// Reads the document that serializing gave.
    ///
    /// # Errors
    /// [`codes::DOCUMENT`] where it is damaged or of another version.
    pub fn read(document: &[u8]) -> Result<Self> {
        let route: RouteFit = serde_json::from_slice(document).map_err(|why| {
            Error::new(&codes::DOCUMENT, "a fitted route can't be read").why(why.to_string())
        })?;
        if route.schema != SCHEMA {
            let what = format!("a fitted route has the unknown version `{}`", route.schema);
            return Err(Error::new(&codes::DOCUMENT, what));
        }
        Ok(route)
    }
}

/// What a fit gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Fitted {
    /// A threshold with the bound.
    Route(Box<RouteFit>),
    /// No threshold could be shown to keep the bound.
    Refused {
        /// What is missing.
        shortfall: Shortfall,
        /// What was tested.
        tested: Vec<Tested>,
    },
}

/// Fits a route on graded rows and a score for each.
///
/// # Errors
/// [`codes::OPTIONS`] for settings out of range, [`codes::GRADED`] for rows that can't be used.
pub fn fit(rows: &[Graded], scores: &[f64], options: FitOptions) -> Result<Fitted> {
    let inside = |x: f64| x > 0.0 && x < 1.0;
    let wanted = options.bound;
    let shares = [options.fit_share, options.calibration_share];
    let sum: f64 = shares.iter().sum();
    if ![wanted.alpha, wanted.delta, shares[0], shares[1], sum].iter().all(|&x| inside(x)) {
        return Err(Error::new(&codes::OPTIONS, "a setting of the fit is out of range"));
    }
    if rows.len() != scores.len() || scores.iter().any(|score| !score.is_finite()) {
        return Err(Error::new(&codes::GRADED, "not every graded request has a score"));
    }
    let outcomes: Option<Vec<Outcome>> = rows
        .iter()
        .zip(scores)
        .map(|(row, &score)| Some(Outcome { score, failed: row.fails(options.failure)? }))
        .collect();
    let outcomes = outcomes
        .ok_or_else(|| Error::new(&codes::GRADED, "a request lacks the large model's grade"))?;
    let parts = options.parts(rows);
    if parts.fit.is_empty() || parts.calibration.is_empty() || parts.sealed.is_empty() {
        return Err(Error::new(&codes::GRADED, "there are too few graded requests to split"));
    }
    let part = |at: &[usize]| -> Vec<Outcome> { at.iter().map(|&at| outcomes[at]).collect() };
    let (fitting, calibration) = (part(&parts.fit), part(&parts.calibration));
    let fit_scores: Vec<f64> = fitting.iter().map(|row| row.score).collect();
    let family = Family::new(&fit_scores, calibration.len(), wanted);
    let tested = bound::test(&family, &calibration, wanted);
    let Some(chosen) = tested.iter().rev().find(|tested| tested.passed()) else {
        // Refused is refused: nothing is invalidated by planning on both parts.
        let seen = [fitting, calibration].concat();
        let shortfall = bound::shortfall(&family, &seen, wanted);
        return Ok(Fitted::Refused { shortfall, tested });
    };
    let threshold = chosen.threshold;
    let sealed = part(&parts.sealed);
    let kept: Vec<&Outcome> =
        sealed.iter().filter(|row| bound::keeps(threshold, row.score)).collect();
    let failures = kept.iter().filter(|row| row.failed).count() as u64;
    let points = fitting.iter().map(|row| Weighted {
        x: row.score,
        y: f64::from(u8::from(!row.failed)),
        weight: 1.0,
    });
    Ok(Fitted::Route(Box::new(RouteFit {
        schema: SCHEMA.to_owned(),
        options,
        threshold,
        calibration: Isotonic::fit(points),
        sealed: Sealed {
            rows: sealed.len() as u64,
            kept: kept.len() as u64,
            failures: clopper_pearson(failures, kept.len() as u64, LEVEL),
        },
        tested,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    const OPTIONS: FitOptions = FitOptions {
        failure: Failure::Wrong,
        bound: Bound { alpha: 0.1, delta: 0.1 },
        fit_share: 0.3,
        calibration_share: 0.5,
        seed: 1,
    };

    fn traffic(n: usize, risk: impl Fn(f64) -> f64) -> (Vec<Graded>, Vec<f64>) {
        let mut rng = sprat_task::random::stream(1, "traffic");
        let scores: Vec<f64> = (0..n).map(|_| rng.random()).collect();
        let small = scores.iter().map(|&score| rng.random::<f64>() >= risk(score));
        (small.map(|small| Graded { small, large: None, group: None }).collect(), scores)
    }

    #[test]
    fn a_route_is_fitted_written_and_read() {
        let (rows, scores) = traffic(3000, |score| 0.5 * (1.0 - score));
        let Fitted::Route(route) = fit(&rows, &scores, OPTIONS).unwrap() else { panic!() };
        let high = route.decide(0.99);
        assert!(high.keep && high.confidence > 0.9 && !route.decide(0.05).keep);
        assert!(!route.decide(f64::NAN).keep && route.sealed.failures.low < 0.1);
        let text = serde_json::to_vec(&route).unwrap();
        assert_eq!(RouteFit::read(&text).unwrap(), *route);
        let other = String::from_utf8(text).unwrap().replace("sprat.route/1", "sprat.route/9");
        assert_eq!(RouteFit::read(other.as_bytes()).unwrap_err().code(), &codes::DOCUMENT);
        assert_eq!(fit(&rows, &scores, OPTIONS).unwrap(), Fitted::Route(route));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_or_an_error() {
        let (rows, scores) = traffic(600, |_| 0.5);
        let Fitted::Refused { shortfall, .. } = fit(&rows, &scores, OPTIONS).unwrap() else {
            panic!()
        };
        assert_eq!(shortfall.calibration_rows, None);
        let code = |rows: &[Graded], scores: &[f64], options| {
            fit(rows, scores, options).unwrap_err().code()
        };
        let wild = FitOptions { bound: Bound { alpha: 1.5, delta: 0.1 }, ..OPTIONS };
        assert_eq!(code(&rows, &scores, wild), &codes::OPTIONS);
        let regret = FitOptions { failure: Failure::Regret, ..OPTIONS };
        assert_eq!(code(&rows, &scores, regret), &codes::GRADED);
        assert_eq!(code(&[], &[], OPTIONS), &codes::GRADED);
        assert_eq!(code(&rows, &scores[1..], OPTIONS), &codes::GRADED);
    }
}
