//! Fields taken out of texts: which values were found, which were missed, which were made up.

use crate::bootstrap;
use crate::codes::{EMPTY, INPUT};
use crate::interval::{Interval, LEVEL, wilson};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sprat_task::{Error, Result};
use std::collections::BTreeMap;

/// Values of one field, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Values that are there.
    pub gold: u64,
    /// Values that were answered.
    pub predicted: u64,
    /// Answered values that are there.
    pub right: u64,
}

impl Counts {
    /// The share of the answered values that are right; 1 where none was answered and none is
    /// there.
    pub fn precision(self) -> f64 {
        share(self.right, self.predicted, self.gold)
    }

    /// The share of the values there that were answered; 1 where none is there and none was
    /// answered.
    pub fn recall(self) -> f64 {
        share(self.right, self.gold, self.predicted)
    }

    /// The harmonic mean of both: `2 right / (gold + predicted)`.
    pub fn f1(self) -> f64 {
        match self.gold + self.predicted {
            0 => 1.0,
            all => 2.0 * self.right as f64 / all as f64,
        }
    }

    fn add(&mut self, other: Counts, times: u64) {
        self.gold += times * other.gold;
        self.predicted += times * other.predicted;
        self.right += times * other.right;
    }
}

fn share(right: u64, of: u64, other: u64) -> f64 {
    match (of, other) {
        (0, 0) => 1.0,
        (0, _) => 0.0,
        _ => right as f64 / of as f64,
    }
}

/// How one field was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldScore {
    /// The field's path: `guest.name`, `items[].price`.
    pub field: String,
    /// Its values.
    pub counts: Counts,
    /// The share of the answered values that are right.
    pub precision: f64,
    /// The share of the values there that were answered.
    pub recall: f64,
    /// The harmonic mean of both, with its bootstrap interval.
    pub f1: Interval,
}

/// How well fields were taken out of texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extraction {
    /// Rows.
    pub rows: u64,
    /// The share of answers that are right as a whole (Wilson).
    pub exact: Interval,
    /// The share of answers that satisfy the schema (Wilson).
    pub valid: Interval,
    /// Precision over all values of all fields.
    pub precision: f64,
    /// Recall over all values of all fields.
    pub recall: f64,
    /// F1 over all values of all fields (bootstrap).
    pub micro_f1: Interval,
    /// The mean of the fields' F1 (bootstrap). Fields that no row has and no answer names are not
    /// among them.
    pub macro_f1: Interval,
    /// Every field, by its path.
    pub fields: Vec<FieldScore>,
}

/// The answers to the rows of an extraction task.
#[derive(Clone, Copy, Debug)]
pub struct Extracted<'a> {
    /// The right answers.
    pub gold: &'a [Value],
    /// What was answered; none where the answer is no JSON.
    pub predicted: &'a [Option<Value>],
    /// For each answer, whether it satisfies the schema.
    pub valid: &'a [bool],
}

type Fields = BTreeMap<String, Counts>;

impl Extracted<'_> {
    /// # Errors
    /// [`EMPTY`] without rows, [`INPUT`] where the lists differ in length.
    fn check(&self) -> Result<()> {
        if self.gold.is_empty() {
            return Err(Error::new(&EMPTY, "there are no rows to score"));
        }
        if self.gold.len() != self.predicted.len() || self.gold.len() != self.valid.len() {
            return Err(Error::new(&INPUT, "there are not as many answers as rows"));
        }
        Ok(())
    }

    /// For each row, whether the answer is right as a whole: the same JSON, in whatever order the
    /// members of objects stand.
    pub fn exact(&self) -> Vec<bool> {
        let pairs = self.gold.iter().zip(self.predicted);
        pairs.map(|(gold, predicted)| predicted.as_ref().is_some_and(|p| same(gold, p))).collect()
    }

    fn fields(&self) -> Vec<Fields> {
        let pairs = self.gold.iter().zip(self.predicted);
        pairs.map(|(gold, predicted)| compare(gold, predicted.as_ref())).collect()
    }
}

/// Scores the answers to an extraction task. The counted values are the leaves of the JSON: a
/// field without a value (missing, `null`, an empty list) has none, and the values of a list are
/// compared without their order.
///
/// # Errors
/// [`EMPTY`] without rows, [`INPUT`] where the lists differ in length.
pub fn extraction(answers: Extracted<'_>, resamples: usize, seed: u64) -> Result<Extraction> {
    answers.check()?;
    let rows = answers.fields();
    let whole = total(&rows, None);
    let (mut micro, mut mean) = (Vec::new(), Vec::new());
    let mut by_field: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    bootstrap::resample(rows.len(), resamples, seed, "eval extraction", |counts| {
        let fields = total(&rows, Some(counts));
        micro.push(all(&fields).f1());
        mean.push(mean_f1(&fields));
        for field in whole.keys() {
            let counts = fields.get(field).copied().unwrap_or_default();
            by_field.entry(field).or_default().push(counts.f1());
        }
    });
    let of = |shares: &[bool]| {
        let right = shares.iter().filter(|share| **share).count() as u64;
        wilson(right, shares.len() as u64, LEVEL)
    };
    let fields = whole.iter().map(|(field, counts)| {
        let replicates = by_field.get(field).map_or(&[][..], Vec::as_slice);
        FieldScore {
            field: field.clone(),
            counts: *counts,
            precision: counts.precision(),
            recall: counts.recall(),
            f1: bootstrap::percentile(counts.f1(), replicates, LEVEL),
        }
    });
    let sum = all(&whole);
    Ok(Extraction {
        rows: rows.len() as u64,
        exact: of(&answers.exact()),
        valid: of(answers.valid),
        precision: sum.precision(),
        recall: sum.recall(),
        micro_f1: bootstrap::percentile(sum.f1(), &micro, LEVEL),
        macro_f1: bootstrap::percentile(mean_f1(&whole), &mean, LEVEL),
        fields: fields.collect(),
    })
}

/// The difference in micro-F1 of two models on the same rows, first minus second (paired
/// bootstrap).
///
/// # Errors
/// As [`extraction`]; [`INPUT`] when the two were not asked the same rows.
pub fn extraction_difference(
    first: Extracted<'_>,
    second: Extracted<'_>,
    resamples: usize,
    seed: u64,
) -> Result<Interval> {
    first.check()?;
    second.check()?;
    if first.gold != second.gold {
        return Err(Error::new(&INPUT, "the two were not asked the same rows"));
    }
    let (ours, theirs) = (first.fields(), second.fields());
    let difference = |counts: Option<&[u32]>| {
        all(&total(&ours, counts)).f1() - all(&total(&theirs, counts)).f1()
    };
    let mut replicates = Vec::with_capacity(resamples);
    bootstrap::resample(ours.len(), resamples, seed, "eval extraction paired", |counts| {
        replicates.push(difference(Some(counts)));
    });
    Ok(bootstrap::percentile(difference(None), &replicates, LEVEL))
}

fn total(rows: &[Fields], counts: Option<&[u32]>) -> Fields {
    let mut sum = Fields::new();
    for (at, row) in rows.iter().enumerate() {
        let times = counts.map_or(1, |counts| u64::from(counts[at]));
        for (field, counts) in row {
            if times == 0 {
                continue;
            }
            match sum.get_mut(field) {
                Some(known) => known.add(*counts, times),
                None => {
                    let mut fresh = Counts::default();
                    fresh.add(*counts, times);
                    sum.insert(field.clone(), fresh);
                }
            }
        }
    }
    sum
}

fn all(fields: &Fields) -> Counts {
    let mut sum = Counts::default();
    fields.values().for_each(|counts| sum.add(*counts, 1));
    sum
}

fn mean_f1(fields: &Fields) -> f64 {
    if fields.is_empty() {
        return 1.0;
    }
    fields.values().map(|counts| counts.f1()).sum::<f64>() / fields.len() as f64
}

/// The counts of one row, by field.
fn compare(gold: &Value, predicted: Option<&Value>) -> Fields {
    let there = leaves(gold);
    let mut answered = predicted.map(leaves).unwrap_or_default();
    let mut fields = Fields::new();
    for (field, values) in &there {
        let own = answered.entry(field.clone()).or_default();
        let counts = fields.entry(field.clone()).or_default();
        counts.gold = values.len() as u64;
        counts.predicted = own.len() as u64;
        for value in values {
            // Each answered value counts for one that is there.
            if let Some(at) = own.iter().position(|one| one == value) {
                own.swap_remove(at);
                counts.right += 1;
            }
        }
    }
    for (field, values) in answered {
        fields
            .entry(field)
            .or_insert(Counts { predicted: values.len() as u64, ..Counts::default() });
    }
    fields.retain(|_, counts| counts.gold + counts.predicted > 0);
    fields
}

/// The leaves of a JSON value by their path, each as JSON text.
fn leaves(value: &Value) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    collect(value, &mut String::new(), &mut found);
    found
}

fn collect(value: &Value, path: &mut String, found: &mut BTreeMap<String, Vec<String>>) {
    let length = path.len();
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, value) in members {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                collect(value, path, found);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            path.push_str("[]");
            items.iter().for_each(|item| collect(item, path, found));
            path.truncate(length);
        }
        leaf => found.entry(path.clone()).or_default().push(number(leaf)),
    }
}

/// A leaf as text; numbers that are equal have the same.
fn number(leaf: &Value) -> String {
    match leaf.as_f64() {
        Some(number) => number.to_string(),
        None => leaf.to_string(),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn score(gold: &[Value], predicted: &[Option<Value>]) -> Extraction {
        let valid: Vec<bool> = predicted.iter().map(Option::is_some).collect();
        extraction(Extracted { gold, predicted, valid: &valid }, 200, 1).unwrap()
    }

    #[test]
    fn fields_are_counted_by_value() {
        let gold = [
            json!({"day": "Monday", "people": 2}),
            json!({"day": "Friday", "people": 4}),
            json!({"day": null, "people": 3}),
        ];
        let answers = [
            Some(json!({"people": 2.0, "day": "Monday"})),
            Some(json!({"day": "Sunday", "people": 4})),
            None,
        ];
        let found = score(&gold, &answers);
        // day: 2 there, 2 answered, 1 right; people: 3 there, 2 answered, 2 right.
        let day = &found.fields[0];
        assert_eq!(day.counts, Counts { gold: 2, predicted: 2, right: 1 });
        assert_eq!((day.precision, day.recall, day.f1.estimate), (0.5, 0.5, 0.5));
        let people = &found.fields[1];
        assert_eq!(people.counts, Counts { gold: 3, predicted: 2, right: 2 });
        assert_eq!((people.precision, people.f1.estimate), (1.0, 0.8));
        assert_eq!((found.precision, found.recall), (0.75, 0.6));
        assert!((found.micro_f1.estimate - 2.0 * 3.0 / 9.0).abs() < 1e-12);
        assert!((found.macro_f1.estimate - 0.65).abs() < 1e-12);
        assert!((found.exact.estimate - 1.0 / 3.0).abs() < 1e-12);
        assert!((found.valid.estimate - 2.0 / 3.0).abs() < 1e-12);
        assert!(found.micro_f1.low < found.micro_f1.estimate);
    }

    #[test]
    fn lists_are_compared_without_their_order_and_each_value_once() {
        let gold = [json!({"tags": ["a", "a", "b"], "items": [{"price": 1}, {"price": 2}]})];
        let answers = [Some(json!({"tags": ["b", "a", "c"], "items": [{"price": 2}]}))];
        let found = score(&gold, &answers);
        let names: Vec<_> = found.fields.iter().map(|field| field.field.as_str()).collect();
        assert_eq!(names, ["items[].price", "tags[]"]);
        assert_eq!(found.fields[0].counts, Counts { gold: 2, predicted: 1, right: 1 });
        assert_eq!(found.fields[1].counts, Counts { gold: 3, predicted: 3, right: 2 });
        assert_eq!(found.exact.estimate, 0.0);
    }

    #[test]
    fn nothing_there_and_nothing_answered_is_right() {
        let found = score(&[json!({"a": null})], &[Some(json!({}))]);
        assert_eq!((found.micro_f1.estimate, found.macro_f1.estimate), (1.0, 1.0));
        assert!(found.fields.is_empty());
        let made_up = score(&[json!({})], &[Some(json!({"a": 1}))]);
        assert_eq!((made_up.precision, made_up.recall, made_up.micro_f1.estimate), (0.0, 0.0, 0.0));
        assert!(extraction(Extracted { gold: &[], predicted: &[], valid: &[] }, 1, 0).is_err());
    }

    #[test]
    fn a_difference_is_paired() {
        let gold = vec![json!({"a": 1}); 8];
        let right = vec![Some(json!({"a": 1})); 8];
        let wrong = vec![Some(json!({"a": 2})); 8];
        let valid = [true; 8];
        let of = |predicted| Extracted { gold: &gold, predicted, valid: &valid };
        let found = extraction_difference(of(&right), of(&wrong), 100, 0).unwrap();
        assert_eq!((found.low, found.estimate, found.high), (1.0, 1.0, 1.0));
    }
}
