//! Every test sees the shift it is for.

use super::*;

const CLEAN: [&str; 4] = [
    "please cancel my order from last week",
    "where is my parcel, it should be here by now",
    "i want to change the address of my order",
    "how do i get my money back for the parcel",
];

fn rows() -> Vec<Observation<'static>> {
    let row = |at: usize| Observation {
        text: Some(CLEAN[at % 4]),
        length: Some(40.0 + (at % 7) as f64),
        label: Some(["cancel", "track", "address", "refund"][at % 4]),
        confidence: Some(0.9),
        valid: Some(true),
        refused: Some(false),
        latency_ms: Some(5.0),
        cost: Some(1.0),
        ..Observation::default()
    };
    (0..80).map(row).collect()
}

#[test]
fn texts_in_another_language_and_typos_score_higher() {
    let rows = rows();
    for test in [Drift::Language, Drift::Vocabulary] {
        let fitted = test.fit(&rows, 1).unwrap();
        let score = |text| {
            fitted.score(&Observation { text: Some(text), ..Observation::default() }).unwrap()
        };
        assert!(
            score("ich möchte bitte meine bestellung stornieren") > score(CLEAN[0]),
            "{test:?}"
        );
        assert!(score("plaese cancle my ordre form lsat week") > score(CLEAN[0]), "{test:?}");
        assert!(score("").is_finite());
    }
}

#[test]
fn embeddings_far_away_are_novel_and_near_ones_have_their_region() {
    let points: Vec<Vec<f32>> = (0..100)
        .map(|at| (0..12).map(|d| f32::from(u8::from(at % 4 == d)) + at as f32 * 1e-4).collect())
        .collect();
    let rows: Vec<Observation<'_>> = points
        .iter()
        .map(|p| Observation { embedding: Some(p), ..Observation::default() })
        .collect();
    let (novelty, topics) =
        (Drift::Novelty.fit(&rows, 1).unwrap(), Drift::Topics.fit(&rows, 1).unwrap());
    let far = vec![3.0; 12];
    let strange = Observation { embedding: Some(&far), ..Observation::default() };
    assert!(novelty.score(&strange) > novelty.score(&rows[3]));
    let region = |at: usize| topics.score(&rows[at]).unwrap();
    assert_eq!(region(0), region(4));
    let regions: std::collections::BTreeSet<u64> = (0..4).map(|at| region(at) as u64).collect();
    assert!(regions.len() >= 3, "{regions:?}");
    // Another length, or what is no number: the test looks away.
    for wrong in [vec![0.0; 3], vec![f32::NAN; 12]] {
        let seen = Observation { embedding: Some(&wrong), ..Observation::default() };
        assert_eq!(topics.score(&seen), None);
    }
}

#[test]
fn what_a_request_does_not_carry_is_not_guessed() {
    let rows = rows();
    for test in Drift::ALL {
        match test.fit(&rows, 1) {
            Some(fitted) => {
                assert_eq!(fitted.score(&Observation::default()), None, "{test:?}");
                assert!(fitted.score(&rows[0]).is_some(), "{test:?}");
            }
            None => assert!(matches!(test, Drift::Novelty | Drift::Topics), "{test:?}"),
        }
        assert!(test.fit(&rows[..5], 1).is_none());
        assert!(!test.about().is_empty() && !test.name().is_empty());
    }
}
