//! Versions on trial over made-up streams: good ones stay, whatever happens to both, and worse ones
//! are found within a trial.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use rand::Rng;
use sprat_monitor::Observation;
use sprat_monitor::drift::Drift;
use sprat_monitor::trial::{ALPHA, Of, Trial, Worse};
use sprat_task::random::{ChaCha8Rng, stream};

/// The default of `watch.canary_requests`.
const REQUESTS: u64 = 1000;

/// How the version on trial answers beside the promoted one.
#[derive(Clone, Copy)]
struct Version {
    invalid: f64,
    refused: f64,
    slower: f64,
    dearer: f64,
}

/// As the promoted one does.
const SAME: Version = Version { invalid: 0.01, refused: 0.05, slower: 1.0, dearer: 1.0 };

fn answer(rng: &mut ChaCha8Rng, version: Version, load: f64) -> Observation<'static> {
    let mut unit = || rng.random::<f64>();
    let bell = (0..12).map(|_| unit()).sum::<f64>() - 6.0;
    let valid = unit() >= version.invalid;
    let answered = Observation {
        refused: Some(unit() < version.refused),
        latency_ms: Some(100.0 * load * version.slower * (0.4 * bell).exp()),
        cost: Some((version.dearer * (80.0 + 60.0 * unit())).round()),
        ..Observation::default()
    };
    Observation { valid: Some(valid), ..if valid { answered } else { Observation::default() } }
}

/// A trial of a version with a share of the requests under a load; what was found and after how
/// many of its answers.
fn run(seed: u64, share: f64, version: Version, load: impl Fn(u64) -> f64) -> Option<(u64, Worse)> {
    let mut rng = stream(seed, "trial");
    let mut trial = Trial::new(Drift::ALL, REQUESTS);
    let (mut own, mut all) = (0, 0);
    while own < REQUESTS {
        all += 1;
        let chosen = rng.random::<f64>() < share;
        let (of, who) = if chosen { (Of::Trial, version) } else { (Of::Promoted, SAME) };
        own += u64::from(chosen);
        let seen = answer(&mut rng, who, load(all));
        if let Some(worse) = trial.observe(of, &seen) {
            return Some((own, worse));
        }
    }
    assert_eq!(trial.seeing().count(), 4, "all see by then");
    None
}

#[test]
fn a_version_that_is_no_worse_stays_also_where_the_load_doubles_half_way_for_both() {
    for share in [0.02, 0.1, 0.3, 0.5, 0.8] {
        let half = (REQUESTS as f64 / share / 2.0) as u64;
        let doubles = |at: u64| if at > half { 2.0 } else { 1.0 };
        let slopes = |at: u64| 1.0 + at as f64 / half as f64;
        let rounds: u64 = if share < 0.1 { 20 } else { 100 };
        let found = (0..rounds)
            .filter(|seed| run(*seed, share, SAME, doubles).is_some())
            .chain((0..rounds).filter(|seed| run(1000 + seed, share, SAME, slopes).is_some()))
            .count();
        // Twice the stated chance, for luck.
        assert!(found as f64 <= 2.0 * ALPHA * 2.0 * rounds as f64, "{share}: {found}");
    }
}

#[test]
fn faster_cheaper_and_surer_is_not_worse_nor_is_a_little_slower() {
    let better = Version { invalid: 0.0, refused: 0.0, slower: 0.3, dearer: 0.3 };
    let near = Version { slower: 1.15, dearer: 1.15, ..SAME };
    for share in [0.1, 0.5] {
        for seed in 0..20 {
            assert_eq!(run(seed, share, better, |_| 1.0), None);
            assert_eq!(run(seed, share, near, |_| 1.0), None);
        }
    }
}

#[test]
fn what_is_worse_is_found_within_a_trial_and_the_facts_are_told() {
    let slow = Version { slower: 2.0, ..SAME };
    let dear = Version { dearer: 2.0, ..SAME };
    let broken = Version { invalid: 0.05, ..SAME };
    let refuses = Version { refused: 0.2, ..SAME };
    for (name, version, test) in [
        ("slow", slow, Drift::Latency),
        ("dear", dear, Drift::Cost),
        ("broken", broken, Drift::Validity),
        ("refuses", refuses, Drift::Refusals),
    ] {
        for share in [0.05, 0.1, 0.3, 0.5] {
            let mut after: Vec<u64> = Vec::new();
            for seed in 0..20 {
                let doubles = |at: u64| if at > 500 { 2.0 } else { 1.0 };
                let Some((own, worse)) = run(seed, share, version, doubles) else { continue };
                assert_eq!(worse.test, test, "{worse:?}");
                assert!(worse.evidence >= worse.threshold);
                let told = worse.what.contains("against") && worse.what.contains("same time");
                assert!(told, "{}", worse.what);
                after.push(own);
            }
            after.sort_unstable();
            println!("{name} at {share}: {} of 20, median {:?}", after.len(), after.get(10));
            // The weakest: five invalid answers in a hundred against one, one to one.
            let least = if name == "broken" && share > 0.4 { 12 } else { 18 };
            assert!(after.len() >= least, "{name} at {share}: {after:?}");
        }
    }
}

#[test]
fn half_invalid_is_found_in_a_few_dozen_answers_and_told_in_numbers() {
    let broken = Version { invalid: 0.5, ..SAME };
    let (own, worse) = run(7, 0.1, broken, |_| 1.0).unwrap();
    assert!(own < 40, "{own}");
    let number = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(
        number(&worse.what) > 3 && worse.what.contains(" answers invalid, against "),
        "{worse:?}"
    );
}
