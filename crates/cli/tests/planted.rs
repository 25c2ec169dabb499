//! The gate finds what was planted into the support-tickets example (`planted.json`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use support::{minilm, root, sprat, tickets};

/// A row as the report names it.
type Row = (String, u64);

/// Which rows the findings of a check name.
fn named(report: &Value, check: &str) -> BTreeSet<Row> {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|one| one["id"] == check).unwrap();
    let rows = check["findings"].as_array().unwrap().iter();
    rows.flat_map(|finding| finding["rows"].as_array().unwrap())
        .map(|row| (row["part"].as_str().unwrap().to_string(), row["row"].as_u64().unwrap()))
        .collect()
}

/// Where each message stands: its part and row. The identifier opens each record and has no
/// comma, so that a line that begins like one begins a record.
fn places() -> BTreeMap<String, Row> {
    let mut places = BTreeMap::new();
    for (part, file) in [("train", "tickets.csv"), ("test", "tickets-test.csv")] {
        let path = root().join("examples/support-tickets").join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let begins = |line: &&str| line.starts_with('T') && line.as_bytes().get(5) == Some(&b',');
        for (at, line) in text.lines().filter(begins).enumerate() {
            places.insert(line[..5].to_string(), (part.to_string(), at as u64 + 1));
        }
    }
    places
}

#[test]
fn the_gate_finds_what_was_planted() {
    let Some(minilm) = minilm() else { return };
    let folder = tickets(&minilm);
    let example = root().join("examples/support-tickets");
    let args = ["data", "check", "--json", "--quiet", "--offline"];
    let report = sprat(folder.path(), &args).exits(3).json();
    let planted = std::fs::read_to_string(example.join("planted.json")).unwrap();
    let planted: Value = serde_json::from_str(&planted).unwrap();
    let places = places();
    let rows = |list: &str, key: &str| -> BTreeSet<Row> {
        let items = planted[list].as_array().unwrap().iter();
        items.map(|item| places[item[key].as_str().unwrap()].clone()).collect()
    };
    let found = |checks: &[&str]| -> BTreeSet<Row> {
        checks.iter().flat_map(|check| named(&report, check)).collect()
    };
    let leaks = found(&["leakage-exact", "leakage-near"]);
    assert!(rows("leaks", "train").is_subset(&leaks) && rows("leaks", "test").is_subset(&leaks));
    assert!(rows("conflicting_labels", "id").is_subset(&found(&["conflicting-labels"])));
    let repeated = found(&["exact-duplicates", "near-duplicates", "leakage-exact", "leakage-near"]);
    for list in ["exact_duplicates", "near_duplicates"] {
        let pairs = planted[list].as_array().unwrap();
        for pair in pairs {
            let either = ["id", "of"].map(|key| places[pair[key].as_str().unwrap()].clone());
            assert!(either.iter().any(|row| repeated.contains(row)), "{list}: {pair}");
        }
    }
    // All but the postal address, which no check looks for.
    let personal = rows("personal_data", "id");
    let missed: Vec<_> =
        personal.difference(&found(&["personal-data", "secrets"])).cloned().collect();
    assert!(missed.len() <= 1, "{missed:?}");
    let wrong = rows("wrong_labels", "id");
    let suspected = found(&["label-errors"]);
    let hits = wrong.intersection(&suspected).count();
    assert!(hits * 10 >= wrong.len() * 7, "{hits} of {} wrong labels suspected", wrong.len());
}
