use super::*;
use crate::clean::{Action, CleanPolicy, clean};
use crate::example::{Dataset, Example};
use crate::pick::pick;
use crate::report::Status;
use crate::{ReadOptions, read};
use sprat_task::{FakeClock, Quiet};
use std::path::PathBuf;

/// Training rows with one of everything wrong, from line 2 on as in a CSV file.
fn data(name: &str, rows: &[(&str, &str)]) -> Dataset {
    let example = |(at, (text, label)): (usize, &(&str, &str))| Example {
        row: at as u64 + 1,
        line: at as u64 + 2,
        text: (*text).into(),
        label: (!label.is_empty()).then(|| (*label).into()),
        ..Example::default()
    };
    Dataset::new(rows.iter().enumerate().map(example).collect(), name)
}

fn planted() -> (Dataset, Dataset) {
    let train = data(
        "train.csv",
        &[
            ("Where is my parcel, it should have come on Monday", "delivery"), // 1
            ("where is my  parcel, it should have come on monday", "delivery"), // 2: exact
            ("Where is my parcel? It should have come on Mondays", "delivery"), // 3: near
            ("I want my money back for the broken lamp", "refund"),            // 4
            ("i want my money back for the broken lamp", "delivery"),          // 5: conflict with 4
            ("Please cancel my subscription today", "cancel"),                 // 6: leaks exactly
            ("The invoice for March has a wrong total on it, please check", "billing"), // 7: leaks nearly
            ("write to jane@example.org about the offer", "cancel"),                    // 8: e-mail
            ("", "cancel"),                                                             // 9: empty
            ("This row has no label at all", ""), // 10: unlabelled
            ("cafÃ© is closed again", "refund"),  // 11: mojibake
        ],
    );
    let test = data(
        "test.csv",
        &[
            ("please cancel my subscription today", "cancel"),
            ("The invoice for March has a wrong total on it, please check!!", "billing"),
            ("Do you ship to the moon", "space"),
        ],
    );
    (train, test)
}

fn run(options: &CheckOptions) -> Report {
    let (train, test) = planted();
    let parts = Parts { train: &train, validation: None, test: Some(&test) };
    let limit =
        LengthLimit { length: &|text: &str| text.split_whitespace().count(), max_tokens: 10 };
    let model = FromModel { limit: Some(limit), ..FromModel::default() };
    check(&parts, options, &model, &Quiet, &Interrupt::default()).unwrap()
}

#[test]
fn targets_that_are_no_answers_block_and_are_named() {
    let train = data("train.csv", &[("a table for two", "{}"), ("two at eight", "nothing")]);
    let rule = |target: &str| (target != "{}").then(|| "no JSON".to_owned());
    let model = FromModel { answers: Some(&rule), ..FromModel::default() };
    let options = CheckOptions::default();
    let report =
        check(&Parts::whole(&train), &options, &model, &Quiet, &Interrupt::default()).unwrap();
    let found = report.check("invalid-answer").unwrap();
    assert_eq!((found.status, found.total), (Status::Blocked, 1));
    assert_eq!(found.findings[0].rows[0].row, 2);
    assert_eq!(found.findings[0].message, "no JSON");
}

#[test]
fn everything_planted_is_found_at_its_row() {
    let report = run(&CheckOptions::default());
    for (id, status, rows) in [
        ("leakage-exact", Status::Blocked, &[6, 1][..]),
        ("leakage-near", Status::Blocked, &[7, 2]),
        ("leakage-group", Status::Skipped, &[]),
        ("label-only-in-test", Status::Blocked, &[3]),
        ("missing-label", Status::Blocked, &[10]),
        ("empty-text", Status::Warned, &[9]),
        ("conflicting-labels", Status::Warned, &[4, 5]),
        ("exact-duplicates", Status::Warned, &[1, 2, 4, 5]),
        ("near-duplicates", Status::Warned, &[1, 3]),
        ("personal-data", Status::Warned, &[8]),
        ("secrets", Status::Passed, &[]),
        ("encoding", Status::Warned, &[11]),
        ("too-long", Status::Warned, &[7, 2]),
        ("imbalance", Status::Passed, &[]),
    ] {
        let check = report.check(id).unwrap();
        let named: Vec<u64> =
            check.findings.iter().flat_map(|finding| &finding.rows).map(|row| row.row).collect();
        assert_eq!((check.status, &named[..]), (status, rows), "{id}: {check:?}");
    }
    assert_eq!(report.verdict.blocking.len(), 4);
    let error = report.gate().unwrap_err();
    assert_eq!((error.code().id, error.code().kind.exit_code()), ("SPRAT-DATA-BLOCKED", 3));
    assert!(error.to_string().contains("train:7, test:2"), "{error}");
    let json = report.to_json();
    assert!(!json.to_string().contains("jane@"), "personal data stays out of the report");
    assert_eq!(json["schema"], "sprat.data-check/1");
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    let text = report.text(&sprat_report::Terminal::plain(100));
    assert!(text.contains("leakage-exact") && text.contains("blocked"), "{text}");
    assert!(report.html().unwrap().contains("leakage-exact"));
}

#[test]
fn a_check_is_waived_by_name_and_a_misspelt_name_is_an_error() {
    let ids = ["leakage-exact", "leakage-near", "label-only-in-test", "missing-label"];
    let waive = ids.map(str::to_owned).to_vec();
    let report = run(&CheckOptions { waive, ..CheckOptions::default() });
    assert!(report.gate().is_ok());
    assert_eq!(report.verdict.waived.len(), 4);
    assert_eq!(report.check("leakage-exact").unwrap().total, 1, "waived, not forgotten");
    let wrong = CheckOptions { waive: vec!["leakage-exakt".into()], ..CheckOptions::default() };
    let (train, _) = planted();
    let error =
        check(&Parts::whole(&train), &wrong, &FromModel::default(), &Quiet, &Interrupt::default())
            .unwrap_err();
    assert!(error.remedy().contains("leakage-exact"), "{error:?}");
}

#[test]
fn cleaned_data_passes_the_gate_and_the_log_says_what_went_and_why() {
    let (train, test) = planted();
    let parts = Parts { train: &train, validation: None, test: Some(&test) };
    let policy = CleanPolicy { redact: true, ..CleanPolicy::default() };
    let options = CheckOptions::default();
    let model = FromModel::default();
    let interrupt = Interrupt::default();
    let cleaned = clean(&parts, &policy, &options, &model, &Quiet, &interrupt).unwrap();
    let went: Vec<_> = cleaned
        .log
        .iter()
        .map(|entry| (entry.row.row, entry.action, entry.check.as_str()))
        .collect();
    assert_eq!(
        went,
        [
            (2, Action::Drop, "exact-duplicates"),
            (3, Action::Drop, "near-duplicates"),
            (4, Action::Drop, "conflicting-labels"),
            (5, Action::Drop, "conflicting-labels"),
            (6, Action::Drop, "leakage-exact"),
            (7, Action::Drop, "leakage-near"),
            (8, Action::Redact, "personal-data"),
            (9, Action::Drop, "empty-text"),
            (10, Action::Drop, "missing-label"),
        ]
    );
    let texts: Vec<_> = cleaned.train.examples.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(texts[1], "write to [email] about the offer");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v2");
    cleaned.write(&path, &FakeClock::default()).unwrap();
    assert_eq!(crate::read_rows(&path.join("data.jsonl")).unwrap().digest, cleaned.train.digest);
    let manifest = std::fs::read_to_string(path.join("manifest.json")).unwrap();
    assert!(manifest.contains(&train.digest.to_string()));
    let again = cleaned.write(&path, &FakeClock::default()).unwrap_err();
    assert_eq!(again.code().id, "SPRAT-DATA-EXISTS");
    let parts = Parts { train: &cleaned.train, validation: None, test: Some(&test) };
    let report = check(&parts, &options, &model, &Quiet, &interrupt).unwrap();
    for id in ["leakage-exact", "leakage-near", "exact-duplicates", "near-duplicates"] {
        assert_eq!(report.check(id).unwrap().status, Status::Passed, "{id}");
    }
}

fn shared(file: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let shared = std::env::var("SPRAT_SHARED").unwrap_or(beside.into());
    let path = PathBuf::from(shared).join(file);
    if !path.exists() {
        eprintln!("SKIPPED: {} is missing; set SPRAT_SHARED", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn banking77_is_checked_and_planted_label_noise_in_it_is_found() {
    let Some(path) = shared("data/banking77/train.csv") else { return };
    let options = ReadOptions { label: Some("category".into()), ..ReadOptions::default() };
    let mut train = read(&path, &options).unwrap();
    let test = read(&path.with_file_name("test.csv"), &options).unwrap();
    assert_eq!((train.len(), test.len(), train.labels().len()), (10_003, 3_080, 77));
    let parts = Parts { train: &train, validation: None, test: Some(&test) };
    let defaults = CheckOptions::default();
    let run = |parts: &Parts<'_>| {
        check(parts, &defaults, &FromModel::default(), &Quiet, &Interrupt::default()).unwrap()
    };
    let report = run(&parts);
    eprintln!("{}", report.page(3).text(&sprat_report::Terminal::plain(120)));
    // Every 20th row gets the label of the row 4,001 further on.
    let labels: Vec<_> = train.examples.iter().map(|row| row.label.clone()).collect();
    let mut planted = 0;
    let mut wrong = vec![false; train.len()];
    for at in (0..train.len()).step_by(20) {
        let other = &labels[(at + 4001) % labels.len()];
        wrong[at] = *other != labels[at];
        planted += usize::from(wrong[at]);
        train.examples[at].label.clone_from(other);
    }
    let options = CheckOptions { max_findings: 20_000, ..CheckOptions::default() };
    let parts = Parts::whole(&train);
    let report =
        check(&parts, &options, &FromModel::default(), &Quiet, &Interrupt::default()).unwrap();
    let found = &report.check("label-errors").unwrap().findings;
    let hit = |found: &[Finding]| {
        found.iter().filter(|finding| wrong[finding.rows[0].row as usize - 1]).count()
    };
    let recall = hit(found) as f64 / planted as f64;
    let precision = hit(found) as f64 / found.len() as f64;
    let first = hit(&found[..planted]) as f64 / planted as f64;
    eprintln!(
        "banking77, {planted} labels planted: {} suspects, recall {recall:.3}, precision \
         {precision:.3}, of the first {planted} suspects {first:.3} are planted",
        found.len()
    );
    assert!(recall >= 0.8 && first >= 0.6, "recall {recall}, precision at top {first}");
    let picked =
        pick(&train, 770, &options, &FromModel::default(), &Quiet, &Interrupt::default()).unwrap();
    assert_eq!(picked.data.len(), 770);
    assert!(picked.data.label_counts().values().all(|rows| *rows == 10));
    let noisy = picked.data.examples.iter().filter(|row| wrong[row.row as usize - 1]).count();
    assert!(noisy <= 15, "{noisy} of 770 picked rows have a planted label; 38 by chance");
}
