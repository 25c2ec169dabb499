//! Which candidate fits the needs: task scope, latency, volume, privacy, and measured quality,
//! latency and cost.

use crate::bench::Place;
use crate::codes::{CHOICE, EMPTY};
use crate::cost::{BreakEven, Pricing, break_even};
use crate::factors::{latency_factor, privacy_factor, scope_factor, volume_factor};
use crate::interval::Interval;
use crate::latency::Latency;
use serde::{Deserialize, Serialize};
use sprat_report::number::{fixed, millis, percent, usd};
use sprat_task::{Error, Result};

/// Where the data may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privacy {
    /// It must stay on the user's machines: hosted candidates are shown, never chosen.
    OnPremise,
    /// It may be sent to a hosted model.
    #[default]
    Any,
}

/// What the user needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Needs {
    /// The 95th percentile of the latency must not exceed this, ms.
    pub p95_latency_ms: Option<f64>,
    /// Expected volume.
    pub requests_per_day: Option<u64>,
    /// Where the data may go.
    pub privacy: Privacy,
    /// What the lower bound of the quality must reach, as a share.
    pub min_quality: Option<f64>,
}

/// How wide the task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Distinct answers.
    pub labels: u64,
    /// Labelled examples to train on.
    pub training_rows: u64,
    /// Examples the candidates were measured on.
    pub test_rows: u64,
}

/// What was measured of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// Quality, as a share.
    pub quality: Interval,
    /// Latency at one client.
    pub latency: Option<Latency>,
    /// Peak memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Size of the artefact, bytes.
    pub size_bytes: Option<u64>,
    /// How it is paid for.
    pub pricing: Option<Pricing>,
    /// Why an earlier gate refused it: a shrunk variant whose skill was not shown to be retained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// A candidate against the needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measurement,
    /// Why it cannot be chosen, one sentence each; empty when it can.
    pub objections: Vec<String>,
    /// Whether no other eligible candidate is at least as good in quality, latency and cost and
    /// better in one.
    pub on_front: bool,
    /// Cost of 1,000 requests, US dollars: at the expected volume if there is one.
    pub usd_per_1000: Option<f64>,
    /// Cost of a day at the expected volume, US dollars.
    pub usd_per_day: Option<f64>,
    /// Machines for the expected volume.
    pub machines: Option<u64>,
}

/// One of the four factors, answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factor {
    /// "task scope", "latency", "volume" or "privacy".
    pub factor: String,
    /// What it asks.
    pub question: String,
    /// The answer with its figures, in sentences.
    pub answer: String,
    /// Which place it speaks for; `None` when it decides nothing.
    pub favours: Option<Place>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Version of this layout.
    pub schema: String,
    /// What was asked for.
    pub needs: Needs,
    /// The metric of the quality.
    pub metric: String,
    /// The candidates, in the order given.
    pub candidates: Vec<Assessment>,
    /// The recommended candidate's position; `None` when none is eligible.
    pub recommended: Option<usize>,
    /// Why this one, in sentences.
    pub reasons: Vec<String>,
    /// The four factors.
    pub factors: Vec<Factor>,
    /// The recommended local candidate (else the best local one) against the cheapest hosted one:
    /// names and volumes.
    pub break_even: Option<(String, String, BreakEven)>,
}

impl Choice {
    /// The recommended candidate.
    pub fn winner(&self) -> Option<&Assessment> {
        self.candidates.get(self.recommended?)
    }

    /// # Errors
    /// [`CHOICE`] with every candidate's objections, when none is eligible.
    pub fn require(&self) -> Result<&Assessment> {
        self.winner().ok_or_else(|| {
            let why: Vec<String> = self
                .candidates
                .iter()
                .map(|c| format!("`{}`: {}", c.measured.name, c.objections.join(", ")))
                .collect();
            Error::new(&CHOICE, "no candidate satisfies every need").why(why.join("; "))
        })
    }
}

/// Chooses. Among the candidates that satisfy every need the cheapest at the expected volume is
/// recommended. At equal cost those compete whose quality can't be told apart from the best one's
/// (the estimate reaches its lower bound), and the smallest is recommended, then the fastest: what
/// the release takes, too. Without a minimum quality the same bar holds before costs are compared.
///
/// # Errors
/// [`EMPTY`] without candidates.
pub fn choose(
    needs: Needs,
    metric: &str,
    scope: Scope,
    measurements: Vec<Measurement>,
) -> Result<Choice> {
    if measurements.is_empty() {
        return Err(Error::new(&EMPTY, "there are no measured candidates to choose from")
            .help("List candidates in sprat.toml and run `sprat bench`."));
    }
    let mut candidates: Vec<Assessment> =
        measurements.into_iter().map(|measured| assess(&needs, metric, measured)).collect();
    for at in 0..candidates.len() {
        let one = &candidates[at];
        let beaten = |other: &Assessment| other.objections.is_empty() && dominates(other, one);
        candidates[at].on_front = one.objections.is_empty() && !candidates.iter().any(beaten);
    }
    let recommended = recommend(&needs, &candidates);
    let break_even = even(&candidates, recommended);
    let factors = vec![
        scope_factor(&needs, metric, scope, &candidates),
        latency_factor(&needs, &candidates),
        volume_factor(&needs, &candidates, recommended, break_even.as_ref()),
        privacy_factor(&needs, &candidates),
    ];
    let reasons = reasons(&needs, metric, &candidates, recommended);
    let (schema, metric) = ("sprat.choose/1".to_owned(), metric.to_owned());
    Ok(Choice { schema, needs, metric, candidates, recommended, reasons, factors, break_even })
}

fn assess(needs: &Needs, metric: &str, measured: Measurement) -> Assessment {
    let mut objections: Vec<String> = measured.refusal.iter().cloned().collect();
    if needs.privacy == Privacy::OnPremise && measured.place == Place::Hosted {
        objections.push("hosted: the data would leave your machines".to_owned());
    }
    if let Some(least) = needs.min_quality.filter(|least| measured.quality.low < *least) {
        let shown = if measured.quality.estimate < least { "below" } else { "not shown to reach" };
        let figure = measured.quality.percent();
        objections.push(format!("{metric} {figure} is {shown} the required {}", percent(least)));
    }
    if let Some(most) = needs.p95_latency_ms {
        match &measured.latency {
            None => objections.push("its latency was not measured".to_owned()),
            Some(found) if found.p95.ms > most => objections.push(format!(
                "95th percentile {} exceeds the allowed {}",
                millis(found.p95.ms),
                millis(most)
            )),
            Some(_) => {}
        }
    }
    let volume = needs.requests_per_day.filter(|n| *n > 0).map(|n| n as f64);
    let pricing = measured.pricing;
    let usd_per_day = volume.and_then(|volume| pricing?.usd_per_day(volume));
    let usd_per_1000 = match (usd_per_day, volume) {
        (Some(day), Some(volume)) => Some(day / volume * 1e3),
        _ => pricing.and_then(|pricing| pricing.usd_per_1000()),
    };
    let machines = volume.and_then(|volume| pricing?.machines(volume));
    Assessment { measured, objections, on_front: false, usd_per_1000, usd_per_day, machines }
}

/// Whether `a` is at least as good as `b` everywhere and better somewhere. What was not measured
/// on both sides decides nothing, and hinders nothing only if it is missing on both.
fn dominates(a: &Assessment, b: &Assessment) -> bool {
    let p95 = |c: &Assessment| c.measured.latency.map(|latency| latency.p95.ms);
    let axes = [
        (Some(-a.measured.quality.estimate), Some(-b.measured.quality.estimate)),
        (p95(a), p95(b)),
        (a.usd_per_1000, b.usd_per_1000),
    ];
    let mut better = false;
    for axis in axes {
        match axis {
            (Some(a), Some(b)) if a <= b => better |= a < b,
            (None, None) => {}
            _ => return false,
        }
    }
    better
}

fn recommend(needs: &Needs, candidates: &[Assessment]) -> Option<usize> {
    let eligible: Vec<usize> =
        (0..candidates.len()).filter(|&at| candidates[at].objections.is_empty()).collect();
    let good =
        if needs.min_quality.is_some() { eligible } else { like_the_best(eligible, candidates) };
    let cost = |at: usize| candidates[at].usd_per_1000.unwrap_or(f64::INFINITY);
    let cheapest = good.iter().map(|&at| cost(at)).min_by(f64::total_cmp)?;
    let cheap = good.into_iter().filter(|&at| cost(at) == cheapest).collect();
    let key = |at: usize| {
        let one = &candidates[at].measured;
        let p95 = one.latency.map_or(f64::INFINITY, |latency| latency.p95.ms);
        (one.size_bytes.unwrap_or(u64::MAX), p95, -one.quality.estimate)
    };
    like_the_best(cheap, candidates).into_iter().min_by(|&a, &b| {
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
    })
}

/// Those whose quality can't be told apart from the best one's: the estimate reaches its lower
/// bound.
fn like_the_best(mut some: Vec<usize>, candidates: &[Assessment]) -> Vec<usize> {
    let quality = |at: usize| candidates[at].measured.quality;
    let best = some.iter().copied().map(quality).max_by(|a, b| a.estimate.total_cmp(&b.estimate));
    if let Some(best) = best {
        some.retain(|&at| quality(at).estimate >= best.low);
    }
    some
}

fn even(candidates: &[Assessment], chosen: Option<usize>) -> Option<(String, String, BreakEven)> {
    let of = |place: Place| candidates.iter().filter(move |c| c.measured.place == place);
    let local = chosen
        .map(|at| &candidates[at])
        .filter(|c| c.measured.place == Place::Local)
        .or_else(|| {
            let estimate = |c: &&Assessment| c.measured.quality.estimate;
            of(Place::Local).max_by(|a, b| estimate(a).total_cmp(&estimate(b)))
        })?;
    let hosted = of(Place::Hosted)
        .filter_map(|c| Some((c, c.measured.pricing?.usd_per_1000()?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))?
        .0;
    let found = break_even(&local.measured.pricing?, &hosted.measured.pricing?)?;
    Some((local.measured.name.clone(), hosted.measured.name.clone(), found))
}

fn reasons(needs: &Needs, metric: &str, all: &[Assessment], chosen: Option<usize>) -> Vec<String> {
    let Some(at) = chosen else {
        return vec!["No candidate satisfies every need.".to_owned()];
    };
    let one = &all[at];
    let mut reasons = vec![match needs.min_quality {
        Some(least) => format!(
            "Quality: {metric} {}; the lower bound reaches the required {}.",
            one.measured.quality.percent(),
            percent(least)
        ),
        None => format!("Quality: {metric} {}.", one.measured.quality.percent()),
    }];
    match (one.measured.latency, needs.p95_latency_ms) {
        (Some(found), Some(most)) => {
            let sure = match found.p95.high {
                Some(high) if high <= most => "the upper bound included",
                _ => "though more measurements are needed to be sure of the tail",
            };
            let p95 = found.p95.text();
            reasons.push(format!("Latency: p95 {p95} is within {}, {sure}.", millis(most)));
        }
        (Some(found), None) => reasons.push(format!("Latency: p95 {}.", found.p95.text())),
        _ => {}
    }
    if let Some(cost) = one.usd_per_1000 {
        let mut text = format!("Cost: {} per 1,000 requests", usd(cost));
        let eligible = |(other, c): &(usize, &Assessment)| *other != at && c.objections.is_empty();
        let others = all.iter().enumerate().filter(eligible).filter_map(|(_, c)| c.usd_per_1000);
        if let Some(next) = others.min_by(f64::total_cmp).filter(|next| *next > cost * 1.005) {
            text += &format!(", {}× less than the next eligible one", fixed(next / cost, 1));
        }
        reasons.push(text + ".");
    }
    reasons
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::interval::wilson;
    use crate::latency::latency;

    pub(crate) fn measurement(
        name: &str,
        place: Place,
        right: u64,
        p95: f64,
        pricing: Option<Pricing>,
    ) -> Measurement {
        let times: Vec<f64> = (0..400).map(|at| p95 * (0.5 + f64::from(at) / 760.0)).collect();
        Measurement {
            name: name.into(),
            place,
            quality: wilson(right, 1000, 0.95),
            latency: latency(&times),
            memory_bytes: Some(90_000_000),
            size_bytes: Some(23_000_000),
            pricing,
            refusal: None,
        }
    }

    pub(crate) fn machine(requests_per_s: f64) -> Option<Pricing> {
        Some(Pricing::Machine { usd_per_hour: 0.1, requests_per_s, utilisation: 0.5 })
    }

    pub(crate) fn tokens() -> Option<Pricing> {
        Some(Pricing::Tokens {
            usd_per_million_input: 2.5,
            usd_per_million_output: 10.0,
            input_tokens: 400.0,
            output_tokens: 5.0,
        })
    }

    pub(crate) const SCOPE: Scope = Scope { labels: 12, training_rows: 700, test_rows: 1000 };

    pub(crate) fn example(needs: Needs) -> Choice {
        let all = vec![
            measurement("MiniLM, frozen", Place::Local, 880, 2.0, machine(700.0)),
            measurement("MiniLM, tuned", Place::Local, 935, 2.1, machine(690.0)),
            measurement("MiniLM, tuned, int8", Place::Local, 933, 1.1, machine(1500.0)),
            measurement("BGE base, tuned", Place::Local, 941, 11.0, machine(90.0)),
            measurement("gpt-large", Place::Hosted, 948, 640.0, tokens()),
        ];
        choose(needs, "accuracy", SCOPE, all).unwrap()
    }

    pub(crate) const STRICT: Needs = Needs {
        p95_latency_ms: Some(100.0),
        requests_per_day: Some(40_000_000),
        privacy: Privacy::OnPremise,
        min_quality: Some(0.9),
    };

    #[test]
    fn the_cheapest_that_satisfies_every_need_is_recommended() {
        let choice = example(STRICT);
        assert_eq!(choice.winner().unwrap().measured.name, "MiniLM, tuned, int8");
        assert_eq!(choice.winner().unwrap().machines, Some(1));
        assert_eq!(choice.candidates[0].objections.len(), 1);
        assert_eq!(choice.candidates[4].objections.len(), 2);
        let front: Vec<bool> = choice.candidates.iter().map(|c| c.on_front).collect();
        assert_eq!(front, [false, true, true, true, false]);
        assert_eq!(choice.factors.len(), 4);
        let (local, hosted, even) = choice.break_even.clone().unwrap();
        assert_eq!((local.as_str(), hosted.as_str()), ("MiniLM, tuned, int8", "gpt-large"));
        assert!((even.first - 2.4 / 0.00105).abs() < 1.0);
        assert!(choice.factors[2].answer.contains("2,286 requests a day"));
        assert!(choice.reasons[0].contains("required 90.0%"));
    }

    #[test]
    fn at_equal_cost_the_smallest_of_those_that_are_as_good_is_recommended() {
        // One machine does for all of them, so that they cost the same.
        let sized = |name: &str, right: u64, size: u64| Measurement {
            size_bytes: Some(size),
            ..measurement(name, Place::Local, right, 2.0, machine(700.0))
        };
        let all = || vec![sized("full", 936, 90), sized("int8", 935, 23), sized("frozen", 880, 20)];
        let needs = Needs { requests_per_day: Some(1000), ..Needs::default() };
        for min_quality in [None, Some(0.8)] {
            let needs = Needs { min_quality, ..needs };
            let choice = choose(needs, "accuracy", SCOPE, all()).unwrap();
            assert_eq!(choice.winner().unwrap().measured.name, "int8");
        }
    }

    #[test]
    fn a_hosted_model_wins_where_it_is_cheaper_and_allowed() {
        let needs =
            Needs { requests_per_day: Some(50), min_quality: Some(0.9), ..Needs::default() };
        let choice = example(needs);
        assert_eq!(choice.winner().unwrap().measured.name, "gpt-large");
        assert_eq!(choice.factors[2].favours, Some(Place::Hosted));
        let private = Needs { privacy: Privacy::OnPremise, ..needs };
        assert_eq!(example(private).winner().unwrap().measured.place, Place::Local);
    }

    #[test]
    fn unreachable_needs_are_refused_with_every_reason() {
        let choice = example(Needs { min_quality: Some(0.99), ..STRICT });
        let error = choice.require().unwrap_err();
        assert_eq!(error.code().kind.exit_code(), 3);
        assert!(error.to_string().contains("gpt-large"));
        assert!(choice.winner().is_none());
        assert!(choose(STRICT, "accuracy", SCOPE, Vec::new()).is_err());
    }

    #[test]
    fn a_choice_reads_back_what_it_wrote() {
        let choice = example(STRICT);
        let text = serde_json::to_string(&choice).unwrap();
        let back: Choice = serde_json::from_str(&text).unwrap();
        assert_eq!(back, choice);
    }

    #[test]
    fn what_an_earlier_gate_refused_is_never_chosen() {
        let better = Measurement {
            refusal: Some("refused by shrink: too few rows".into()),
            ..measurement("small", Place::Local, 950, 2.0, None)
        };
        let plain = measurement("large", Place::Local, 940, 9.0, None);
        let scope = Scope { labels: 3, training_rows: 100, test_rows: 1000 };
        let choice = choose(Needs::default(), "accuracy", scope, vec![better, plain]).unwrap();
        assert_eq!(choice.recommended, Some(1));
        assert_eq!(choice.candidates[0].objections, ["refused by shrink: too few rows"]);
        assert!(!choice.candidates[0].on_front);
    }
}
