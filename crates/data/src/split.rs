//! Splitting: stratified by label, never tearing a group apart, seeded, and the test part sealed.

use crate::codes;
use crate::example::{Dataset, Example};
use crate::near::{self, NearOptions};
use crate::part::{Part, Parts};
use crate::same::SameText;
use crate::seal::Seal;
use crate::version;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use sprat_task::{Clock, Error, Interrupt, Quiet, Result, random};
use std::collections::BTreeMap;
use std::path::Path;

/// How a dataset is split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitOptions {
    /// Share of the rows for validation, 0 to 1; unused when a validation file is given.
    pub validation: f64,
    /// Share of the rows for the test, 0 to 1; unused when a test file is given.
    pub test: f64,
    /// Seed of the shuffle.
    pub seed: u64,
    /// Whether every part gets its share of every label.
    pub stratify: bool,
    /// Whether near-duplicates stay together, so that the split cannot leak. Exact duplicates
    /// always do.
    pub keep_near_together: bool,
    /// What near-duplicates are.
    pub near: NearOptions,
}

impl Default for SplitOptions {
    fn default() -> Self {
        SplitOptions {
            validation: 0.1,
            test: 0.2,
            seed: 0,
            stratify: true,
            keep_near_together: true,
            near: NearOptions::default(),
        }
    }
}

/// Parts that the user brought; only the missing ones are split off.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// A validation part.
    pub validation: Option<Dataset>,
    /// A test part.
    pub test: Option<Dataset>,
}

/// A dataset in three parts. The test part can be checked and sealed, not read.
#[derive(Clone, Debug)]
pub struct Split {
    /// The rows to train on.
    pub train: Dataset,
    /// The rows to choose settings on; may be empty when its share is 0.
    pub validation: Dataset,
    test: Dataset,
    /// What the split could not do, in sentences: labels too rare to appear in every part.
    pub notes: Vec<String>,
}

impl Split {
    /// All parts, for the gate's checks.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            train: &self.train,
            validation: (!self.validation.is_empty()).then_some(&self.validation),
            test: (!self.test.is_empty()).then_some(&self.test),
        }
    }

    /// How many rows the test part has.
    pub fn test_rows(&self) -> usize {
        self.test.len()
    }

    /// The digest of the test part.
    pub fn test_digest(&self) -> sprat_task::Digest {
        self.test.digest
    }

    /// Writes `train.jsonl`, `validation.jsonl` and the sealed folder `test/` into a new folder
    /// that is whole or absent.
    ///
    /// # Errors
    /// [`codes::EXISTS`] when the folder exists, [`codes::WRITE`] when it can't be written.
    pub fn write(&self, folder: &Path, clock: &dyn Clock) -> Result<Seal> {
        version::new_folder(folder, |inside| {
            version::write_rows(&inside.join("train.jsonl"), &self.train.examples)?;
            version::write_rows(&inside.join("validation.jsonl"), &self.validation.examples)?;
            Seal::create(&inside.join("test"), &self.test, clock).map(drop)
        })?;
        Seal::at(&folder.join("test"))
    }
}

/// Splits `data` into the parts that are not given.
///
/// Rows that belong together are one unit: rows of one group, rows with the same text, and (by
/// setting) near-duplicates. Units are shuffled by the seed, largest first, and each goes to the
/// part that lacks most rows of its labels (the greedy step of iterative stratification, Sechidis
/// et al. 2011). A label with one or two units goes to train whole, and a note says so.
///
/// # Errors
/// [`codes::SETTING`] for impossible shares, [`codes::SPLIT`] when a part would be empty,
/// [`sprat_task::INTERRUPTED`].
pub fn split(
    data: Dataset,
    given: Given,
    options: &SplitOptions,
    interrupt: &Interrupt,
) -> Result<Split> {
    let share = |wanted: f64, given: &Option<Dataset>| if given.is_some() { 0.0 } else { wanted };
    let validation = share(options.validation, &given.validation);
    let test = share(options.test, &given.test);
    let sound = |share: f64| (0.0..1.0).contains(&share);
    if !sound(validation) || !sound(test) || validation + test >= 1.0 {
        let what = "the shares of validation and test must be at least 0 and sum to less than 1";
        return Err(Error::new(&codes::SETTING, what).field("split"));
    }
    let shares = [1.0 - validation - test, validation, test];
    let mut notes = Vec::new();
    let assigned = assign(&data.examples, shares, options, interrupt, &mut notes)?;
    let source = data.source.clone();
    let mut parts: [Vec<Example>; 3] = Default::default();
    for (example, part) in data.examples.into_iter().zip(&assigned) {
        parts[*part].push(example);
    }
    for part in Part::ALL {
        if shares[part as usize] > 0.0 && parts[part as usize].is_empty() {
            let what = format!("the {part} part would be empty");
            let why = "there are too few independent rows: rows of one group and rows with the \
                       same text stay together, and labels with one or two of them stay in train";
            return Err(Error::new(&codes::SPLIT, what).file(&source).why(why));
        }
    }
    let [train, validation, test] = parts.map(|rows| Dataset::new(rows, &source));
    Ok(Split {
        train,
        validation: given.validation.unwrap_or(validation),
        test: given.test.unwrap_or(test),
        notes,
    })
}

/// The part of every row, as an index into `shares`.
fn assign(
    examples: &[Example],
    shares: [f64; 3],
    options: &SplitOptions,
    interrupt: &Interrupt,
    notes: &mut Vec<String>,
) -> Result<Vec<usize>> {
    let units = units(examples, options, interrupt)?;
    let strata = strata(examples, options.stratify, notes);
    // What every part still lacks, per stratum.
    let kinds = strata.iter().copied().max().map_or(0, |last| last as usize + 1);
    let mut rows = vec![0.0; kinds];
    let mut in_units = vec![0_usize; kinds];
    for unit in &units {
        let mut own: Vec<u32> = unit.iter().map(|row| strata[*row as usize]).collect();
        own.iter().for_each(|stratum| rows[*stratum as usize] += 1.0);
        own.sort_unstable();
        own.dedup();
        own.iter().for_each(|stratum| in_units[*stratum as usize] += 1);
    }
    let mut lacks: Vec<[f64; 3]> = rows.iter().map(|rows| shares.map(|s| s * rows)).collect();
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.shuffle(&mut random::stream(options.seed, "data.split"));
    order.sort_by_key(|unit| std::cmp::Reverse(units[*unit].len()));
    let mut assigned = vec![0; examples.len()];
    for unit in order {
        let mut score = [0.0; 3];
        let mut rare = false;
        for row in &units[unit] {
            let stratum = strata[*row as usize] as usize;
            rare |= kinds > 1 && in_units[stratum] <= 2;
            for part in 0..3 {
                score[part] += lacks[stratum][part];
            }
        }
        let mut best = 0;
        for part in 1..3 {
            if !rare && shares[part] > 0.0 && score[part] > score[best] {
                best = part;
            }
        }
        for row in &units[unit] {
            assigned[*row as usize] = best;
            lacks[strata[*row as usize] as usize][best] -= 1.0;
        }
    }
    note_rare(examples, &strata, &in_units, shares, notes);
    Ok(assigned)
}

/// The stratum of every row: its label's number, or 0 for all when labels do not repeat.
fn strata(examples: &[Example], stratify: bool, notes: &mut Vec<String>) -> Vec<u32> {
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    for example in examples {
        names.entry(example.label.as_deref().unwrap_or("")).or_insert(0);
    }
    names.values_mut().zip(0..).for_each(|(number, at)| *number = at);
    if !stratify || names.len() * 3 > examples.len() {
        if stratify && names.len() > 1 {
            notes.push(format!(
                "not stratified: {} labels over {} rows are fewer than 3 rows a label",
                names.len(),
                examples.len()
            ));
        }
        return vec![0; examples.len()];
    }
    examples.iter().map(|row| names[row.label.as_deref().unwrap_or("")]).collect()
}

fn note_rare(
    examples: &[Example],
    strata: &[u32],
    in_units: &[usize],
    shares: [f64; 3],
    notes: &mut Vec<String>,
) {
    if in_units.len() < 2 || shares[1] + shares[2] == 0.0 {
        return;
    }
    let mut named = vec![false; in_units.len()];
    for (example, stratum) in examples.iter().zip(strata) {
        let stratum = *stratum as usize;
        if in_units[stratum] <= 2 && !std::mem::replace(&mut named[stratum], true) {
            let label = example.label.as_deref().unwrap_or("(none)");
            let rows = in_units[stratum];
            notes.push(format!(
                "label `{label}` has only {rows} independent row(s): all stay in train, so \
                 nothing measures it"
            ));
        }
    }
}

/// The rows that must stay together, each unit ascending, units by their first row.
fn units(
    examples: &[Example],
    options: &SplitOptions,
    interrupt: &Interrupt,
) -> Result<Vec<Vec<u32>>> {
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    let same = SameText::find(&texts, interrupt)?;
    let mut sets = Sets((0..examples.len() as u32).collect());
    for (row, text) in same.text_of.iter().enumerate() {
        sets.join(row as u32, same.first[*text as usize]);
    }
    let mut groups: BTreeMap<&str, u32> = BTreeMap::new();
    for (row, example) in examples.iter().enumerate() {
        if let Some(group) = example.group.as_deref() {
            let first = *groups.entry(group).or_insert(row as u32);
            sets.join(row as u32, first);
        }
    }
    if options.keep_near_together {
        let distinct: Vec<&str> = same.first.iter().map(|row| texts[*row as usize]).collect();
        let parts = vec![0; distinct.len()];
        let near = near::pairs(&distinct, &parts, &options.near, &Quiet, interrupt)?;
        for pair in near {
            sets.join(same.first[pair.first as usize], same.first[pair.second as usize]);
        }
    }
    let mut units: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for row in 0..examples.len() as u32 {
        units.entry(sets.root(row)).or_default().push(row);
    }
    Ok(units.into_values().collect())
}

/// Disjoint sets of rows; the root of a set is its smallest row.
struct Sets(Vec<u32>);

impl Sets {
    fn root(&mut self, mut row: u32) -> u32 {
        while self.0[row as usize] != row {
            let parent = self.0[row as usize];
            self.0[row as usize] = self.0[parent as usize];
            row = self.0[row as usize];
        }
        row
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sprat_task::FakeClock;

    fn rows(spec: &[(u8, u8)]) -> Dataset {
        let one = |(at, (label, group)): (usize, &(u8, u8))| Example {
            row: at as u64 + 1,
            text: format!("text number {at} {}", at * 7919),
            label: Some(format!("label{label}")),
            group: (*group > 0).then(|| format!("g{group}")),
            ..Example::default()
        };
        Dataset::new(spec.iter().enumerate().map(one).collect(), "made up")
    }

    fn options(seed: u64) -> SplitOptions {
        SplitOptions { seed, keep_near_together: false, ..SplitOptions::default() }
    }

    fn run(data: &Dataset, options: &SplitOptions) -> Result<Split> {
        split(data.clone(), Given::default(), options, &Interrupt::default())
    }

    #[test]
    fn every_part_gets_its_share_of_every_label() {
        let spec: Vec<_> = (0..1000).map(|at| ((at % 10) as u8, 0)).collect();
        let split = run(&rows(&spec), &options(1)).unwrap();
        for (part, data) in split.parts().present() {
            let each = [70, 10, 20][part as usize];
            assert!(data.label_counts().values().all(|count| *count == each), "{part}");
        }
    }

    #[test]
    fn labels_of_one_or_two_rows_stay_in_train_and_are_named() {
        let mut spec: Vec<_> = (0..100).map(|at| ((at % 2) as u8, 0)).collect();
        spec.extend([(7, 0), (8, 0), (8, 0)]);
        let split = run(&rows(&spec), &options(1)).unwrap();
        assert_eq!(split.train.label_counts()["label7"], 1);
        assert_eq!(split.train.label_counts()["label8"], 2);
        assert_eq!(split.notes.len(), 2);
        let error = run(&rows(&[(1, 0), (1, 0)]), &options(1)).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-DATA-SPLIT");
    }

    #[test]
    fn near_duplicates_are_not_torn_apart() {
        let mut data = rows(&[(0, 0); 60]);
        for at in (0..60).step_by(2) {
            let text = format!("the customer {} asks about order {}", at * 7919, at * 104_729);
            data.examples[at].text.clone_from(&text);
            data.examples[at + 1].text = format!("{text}!");
        }
        let together = SplitOptions { keep_near_together: true, ..options(3) };
        let split = run(&data, &together).unwrap();
        for (_, data) in split.parts().present() {
            let mut pairs: Vec<_> = data.examples.iter().map(|row| (row.row - 1) / 2).collect();
            pairs.dedup();
            assert_eq!(pairs.len() * 2, data.len());
        }
    }

    #[test]
    fn the_test_part_is_written_sealed_and_opening_it_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let spec: Vec<_> = (0..100).map(|at| ((at % 2) as u8, 0)).collect();
        let split = run(&rows(&spec), &options(1)).unwrap();
        let path = folder.path().join("split");
        let clock = FakeClock::default();
        let seal = split.write(&path, &clock).unwrap();
        assert_eq!(seal.openings().unwrap(), []);
        let test = seal.open("release gate", "tests", &clock).unwrap();
        assert_eq!(test.digest, split.test_digest());
        assert_eq!(seal.openings().unwrap()[0].reason, "release gate");
        assert_eq!(split.write(&path, &clock).unwrap_err().code().id, "SPRAT-DATA-EXISTS");
        let file = path.join("test/test.jsonl");
        let changed = std::fs::read_to_string(&file).unwrap().replace("label0", "label1");
        std::fs::write(&file, changed).unwrap();
        assert_eq!(seal.open("again", "tests", &clock).unwrap_err().code().id, "SPRAT-DATA-SEAL");
    }

    proptest! {
        #[test]
        fn a_split_is_a_partition_that_tears_no_group_and_repeats(
            spec in prop::collection::vec((0_u8..4, 0_u8..20), 60..150),
            seed in 0_u64..50,
        ) {
            let data = rows(&spec);
            let Ok(split) = run(&data, &options(seed)) else { return Ok(()) };
            let mut all: Vec<u64> = Vec::new();
            let mut home = BTreeMap::new();
            for (part, data) in split.parts().present() {
                for row in &data.examples {
                    all.push(row.row);
                    if let Some(group) = &row.group {
                        prop_assert_eq!(*home.entry(group.clone()).or_insert(part), part);
                    }
                }
            }
            all.sort_unstable();
            prop_assert_eq!(all, (1..=spec.len() as u64).collect::<Vec<_>>());
            let again = run(&data, &options(seed)).unwrap();
            prop_assert_eq!(again.train.digest, split.train.digest);
            prop_assert_eq!(again.test_digest(), split.test_digest());
        }
    }
}
