//! The benchmark: every candidate on the same rows.

use crate::answers::Answers;
use crate::calibration::{Calibration, calibration};
use crate::codes::{EMPTY, INPUT};
use crate::confusion::{ClassScore, Confusion, f1_scores};
use crate::cost::Pricing;
use crate::interval::Interval;
use crate::latency::{Latency, latency};
use crate::multiple::holm;
use crate::paired::{Comparison, compare};
use crate::selective::{Selective, selective};
use crate::slices::{SliceColumn, slices};
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};

/// Where a candidate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On the user's machines.
    Local,
    /// At a provider, over the network.
    Hosted,
}

/// What a candidate needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Time of each request at one client, ms.
    pub latencies_ms: Vec<f64>,
    /// Requests per second when fully busy.
    pub requests_per_s: Option<f64>,
    /// Peak memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Size of the artefact, bytes.
    pub size_bytes: Option<u64>,
    /// How it is paid for.
    pub pricing: Option<Pricing>,
}

/// One candidate's answers.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its name, unique within the benchmark.
    pub name: &'a str,
    /// Where it runs.
    pub place: Place,
    /// Its answers; [`crate::NO_ANSWER`] where it named no class.
    pub predicted: &'a [usize],
    /// Its probabilities, if it gives any.
    pub probabilities: Option<&'a [Vec<f32>]>,
    /// What it needs.
    pub resources: &'a Resources,
}

/// What all candidates share.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The task's name.
    pub task: &'a str,
    /// The data, in words, with its digest.
    pub data: &'a str,
    /// The machine, in words.
    pub machine: &'a str,
    /// Names of the classes.
    pub labels: &'a [String],
    /// The true classes.
    pub gold: &'a [usize],
    /// Columns to slice by: name, and one value per row.
    pub slices: &'a [(String, Vec<String>)],
    /// The candidate the others are tested against, such as the current release; without it the
    /// one with the best accuracy.
    pub reference: Option<&'a str>,
    /// Seed of the resampling.
    pub seed: u64,
    /// Resamples; [`crate::bootstrap::RESAMPLES`] where nothing else is needed.
    pub resamples: usize,
}

/// One candidate's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// Share of right answers (Wilson).
    pub accuracy: Interval,
    /// Mean F1 over the classes (BCa bootstrap).
    pub macro_f1: Interval,
    /// F1 over all decisions pooled.
    pub micro_f1: f64,
    /// Answers that named no class.
    pub unanswered: u64,
    /// Per class.
    pub classes: Vec<ClassScore>,
    /// Which class was taken for which.
    pub confusion: Confusion,
    /// Calibration; `None` without probabilities.
    pub calibration: Option<Calibration>,
    /// Risk at several coverages, fewest answers first; empty without probabilities.
    pub selective: Vec<Selective>,
    /// Area under the risk–coverage curve; `None` without probabilities.
    pub selective_area: Option<f64>,
    /// Accuracy by the values of columns.
    pub slices: Vec<SliceColumn>,
    /// Latency at one client.
    pub latency: Option<Latency>,
    /// Requests per second when fully busy.
    pub requests_per_s: Option<f64>,
    /// Peak memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Size of the artefact, bytes.
    pub size_bytes: Option<u64>,
    /// How it is paid for.
    pub pricing: Option<Pricing>,
    /// Cost of 1,000 requests, US dollars.
    pub usd_per_1000: Option<f64>,
}

/// A benchmark's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// Version of this layout.
    pub schema: String,
    /// The task's name.
    pub task: String,
    /// The data, in words, with its digest.
    pub data: String,
    /// The machine, in words.
    pub machine: String,
    /// Rows.
    pub rows: u64,
    /// Seed of the resampling.
    pub seed: u64,
    /// The candidates, in the order given.
    pub candidates: Vec<Scored>,
    /// The candidate the others are tested against.
    pub reference: String,
    /// Every other candidate against the reference; p-values adjusted for their number (Holm).
    pub comparisons: Vec<Comparison>,
}

impl Bench {
    /// The candidate of this name.
    pub fn candidate(&self, name: &str) -> Option<&Scored> {
        self.candidates.iter().find(|scored| scored.name == name)
    }

    /// The candidate with the best accuracy.
    pub fn best(&self) -> Option<&Scored> {
        best(&self.candidates).and_then(|at| self.candidates.get(at))
    }

    /// Each candidate as [`crate::choose`] takes it, with accuracy as its quality.
    pub fn measurements(&self) -> Vec<crate::choose::Measurement> {
        let measurement = |scored: &Scored| crate::choose::Measurement {
            name: scored.name.clone(),
            place: scored.place,
            quality: scored.accuracy,
            latency: scored.latency,
            memory_bytes: scored.memory_bytes,
            size_bytes: scored.size_bytes,
            pricing: scored.pricing,
            refusal: None,
        };
        self.candidates.iter().map(measurement).collect()
    }
}

/// Evaluates every candidate on the same rows.
///
/// # Errors
/// [`EMPTY`] without candidates or rows; [`INPUT`] when answers do not fit, a name stands twice,
/// or the reference is none of the candidates.
pub fn bench(setup: &Setup<'_>, entries: &[Entry<'_>]) -> Result<Bench> {
    if entries.is_empty() {
        return Err(Error::new(&EMPTY, "there are no candidates to benchmark"));
    }
    for (at, entry) in entries.iter().enumerate() {
        if entries[..at].iter().any(|other| other.name == entry.name) {
            let what = format!("two candidates are called `{}`", entry.name);
            return Err(Error::new(&INPUT, what).help("Give each candidate a name of its own."));
        }
    }
    let answers: Vec<Answers<'_>> = entries
        .iter()
        .map(|entry| Answers::new(setup.labels, setup.gold, entry.predicted, entry.probabilities))
        .collect::<Result<_>>()?;
    let candidates: Vec<Scored> = entries
        .iter()
        .zip(&answers)
        .map(|(entry, answers)| score(setup, entry, answers))
        .collect::<Result<_>>()?;
    let reference = match setup.reference {
        Some(name) => entries.iter().position(|entry| entry.name == name).ok_or_else(|| {
            Error::new(&INPUT, format!("the reference `{name}` is not among the candidates"))
        })?,
        None => best(&candidates).unwrap_or(0),
    };
    let mut comparisons = Vec::new();
    for at in (0..entries.len()).filter(|&at| at != reference) {
        let theirs = (entries[reference].name, &answers[reference]);
        let ours = (entries[at].name, &answers[at]);
        comparisons.push(compare(ours, theirs, setup.resamples, setup.seed)?);
    }
    let p_values: Vec<f64> = comparisons.iter().map(|found| found.mcnemar.mid_p).collect();
    for (comparison, adjusted) in comparisons.iter_mut().zip(holm(&p_values)) {
        comparison.adjusted_p = adjusted;
    }
    Ok(Bench {
        schema: "sprat.bench/1".to_owned(),
        task: setup.task.to_owned(),
        data: setup.data.to_owned(),
        machine: setup.machine.to_owned(),
        rows: setup.gold.len() as u64,
        seed: setup.seed,
        reference: entries[reference].name.to_owned(),
        candidates,
        comparisons,
    })
}

fn score(setup: &Setup<'_>, entry: &Entry<'_>, answers: &Answers<'_>) -> Result<Scored> {
    let confusion = Confusion::of(answers);
    let (macro_f1, classes) = f1_scores(answers, setup.resamples, setup.seed);
    let (curve, area) = selective(answers, 10).unzip();
    let by_column = setup
        .slices
        .iter()
        .map(|(column, values)| slices(answers, column, values))
        .collect::<Result<_>>()?;
    let resources = entry.resources;
    Ok(Scored {
        name: entry.name.to_owned(),
        place: entry.place,
        accuracy: confusion.accuracy(),
        macro_f1,
        micro_f1: confusion.micro_f1(),
        unanswered: confusion.unanswered.iter().sum(),
        classes,
        confusion,
        calibration: calibration(answers, setup.seed),
        selective: curve.unwrap_or_default(),
        selective_area: area,
        slices: by_column,
        latency: latency(&resources.latencies_ms),
        requests_per_s: resources.requests_per_s.filter(|rate| rate.is_finite()),
        memory_bytes: resources.memory_bytes,
        size_bytes: resources.size_bytes,
        pricing: resources.pricing,
        usd_per_1000: resources.pricing.and_then(|pricing| pricing.usd_per_1000()),
    })
}

/// The first of those with the best accuracy.
fn best(candidates: &[Scored]) -> Option<usize> {
    let accuracy = |at: usize| candidates[at].accuracy.estimate;
    (0..candidates.len()).reduce(|top, at| if accuracy(at) > accuracy(top) { at } else { top })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rand::Rng;

    /// A benchmark of made-up candidates: `errors` is each one's share of wrong answers.
    pub(crate) fn example(rows: usize, classes: usize, errors: &[(&str, Place, f64)]) -> Bench {
        let mut rng = sprat_task::random::stream(11, "bench example");
        let names = [
            "refund",
            "delivery date",
            "broken item",
            "change address",
            "login",
            "invoice",
            "cancel order",
            "gift card",
            "warranty",
            "opening hours",
            "complaint",
            "other",
        ];
        let labels: Vec<String> = (0..classes)
            .map(|at| names.get(at).map_or_else(|| format!("intent {at}"), |n| (*n).to_owned()))
            .collect();
        let gold: Vec<usize> = (0..rows).map(|_| rng.random_range(0..classes)).collect();
        let channel: Vec<String> = (0..rows)
            .map(|_| ["mail", "chat", "phone note"][rng.random_range(0..3)].to_owned())
            .collect();
        let mut predicted = Vec::new();
        let mut probabilities = Vec::new();
        for (_, place, error) in errors {
            let mut answers = Vec::new();
            let mut table = Vec::new();
            for (row, &class) in gold.iter().enumerate() {
                let harder = if channel[row] == "chat" { 1.6 } else { 0.7 };
                let wrong = rng.random::<f64>() < error * harder;
                let answer =
                    if wrong { (class + 1 + rng.random_range(0..2)) % classes } else { class };
                let confidence: f32 =
                    if wrong { rng.random_range(0.35..0.9) } else { rng.random_range(0.6..0.999) };
                let mut shares = vec![(1.0 - confidence) / (classes - 1) as f32; classes];
                shares[answer] = confidence;
                answers.push(answer);
                table.push(shares);
            }
            predicted.push(answers);
            probabilities.push((*place == Place::Local).then_some(table));
        }
        let resources: Vec<Resources> = errors
            .iter()
            .enumerate()
            .map(|(at, (_, place, _))| {
                let base = if *place == Place::Hosted { 420.0 } else { 1.1 + 3.0 * at as f64 };
                Resources {
                    latencies_ms: (0..500)
                        .map(|_| base * (1.0 + rng.random::<f64>().powi(4)))
                        .collect(),
                    requests_per_s: (*place == Place::Local).then_some(900.0 / (1 + at) as f64),
                    memory_bytes: (*place == Place::Local).then_some(80_000_000 * (1 + at as u64)),
                    size_bytes: (*place == Place::Local).then_some(23_000_000 * (1 + at as u64)),
                    pricing: match place {
                        Place::Local => crate::choose::tests::machine(900.0 / (1 + at) as f64),
                        Place::Hosted => crate::choose::tests::tokens(),
                    },
                }
            })
            .collect();
        let entries: Vec<Entry<'_>> = errors
            .iter()
            .enumerate()
            .map(|(at, (name, place, _))| Entry {
                name,
                place: *place,
                predicted: &predicted[at],
                probabilities: probabilities[at].as_deref(),
                resources: &resources[at],
            })
            .collect();
        let slices = [("channel".to_owned(), channel)];
        let setup = Setup {
            task: "support-intent",
            data: "test.csv, sealed (3f2a9c01b7de)",
            machine: "2 cores, AVX-512",
            labels: &labels,
            gold: &gold,
            slices: &slices,
            reference: None,
            seed: 7,
            resamples: 500,
        };
        bench(&setup, &entries).unwrap()
    }

    pub(crate) const CANDIDATES: [(&str, Place, f64); 4] = [
        ("MiniLM, tuned, int8", Place::Local, 0.065),
        ("MiniLM, tuned", Place::Local, 0.06),
        ("MiniLM, frozen", Place::Local, 0.13),
        ("gpt-large", Place::Hosted, 0.05),
    ];

    #[test]
    fn every_candidate_is_measured_and_tested_against_the_best() {
        let bench = example(1200, 12, &CANDIDATES);
        assert_eq!(bench.comparisons.len(), 3);
        assert_eq!(bench.reference, bench.best().unwrap().name);
        let frozen = bench.comparisons.iter().find(|c| c.candidate == "MiniLM, frozen").unwrap();
        assert!(frozen.adjusted_p < 0.001 && frozen.accuracy.high < 0.0);
        assert!(frozen.adjusted_p >= frozen.mcnemar.mid_p);
        assert!(bench.candidate("gpt-large").unwrap().calibration.is_none());
        assert!(bench.candidate("MiniLM, tuned").unwrap().selective.len() >= 8);
        let slices = &bench.candidate("MiniLM, frozen").unwrap().slices[0].slices;
        assert!(slices.iter().any(|slice| slice.value == "chat" && slice.weaker));
        assert_eq!(bench.measurements().len(), 4);
    }

    #[test]
    fn the_same_inputs_give_the_same_bits_and_read_back() {
        let (one, other) = (example(200, 4, &CANDIDATES), example(200, 4, &CANDIDATES));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(text, serde_json::to_string(&other).unwrap());
        assert_eq!(serde_json::from_str::<Bench>(&text).unwrap(), one);
    }

    #[test]
    fn doubtful_entries_are_refused() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let resources = Resources::default();
        let entry = |name| Entry {
            name,
            place: Place::Local,
            predicted: &[0, 1],
            probabilities: None,
            resources: &resources,
        };
        let setup = |reference| Setup {
            task: "t",
            data: "d",
            machine: "m",
            labels: &labels,
            gold: &[0, 1],
            slices: &[],
            reference,
            seed: 1,
            resamples: 10,
        };
        let says = |setup: Setup<'_>, entries: &[Entry<'_>]| bench(&setup, entries).unwrap_err();
        assert!(says(setup(None), &[]).to_string().contains("no candidates"));
        assert!(
            says(setup(None), &[entry("x"), entry("x")]).to_string().contains("two candidates")
        );
        assert!(says(setup(Some("y")), &[entry("x")]).to_string().contains("reference"));
        assert!(bench(&setup(Some("x")), &[entry("x")]).is_ok());
    }
}
