//! Cleaning: a new dataset version beside the old one, and a log of what was left out and why.

use crate::check::{CheckOptions, FromModel, RowRef};
use crate::evidence::{Evidence, NO_LABEL, Suspects};
use crate::example::{Dataset, Example};
use crate::part::{Part, Parts};
use crate::personal;
use crate::version;
use serde::{Deserialize, Serialize};
use sprat_task::{Clock, Digest, Interrupt, Progress, Result, write};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// What cleaning removes. The test part is never changed: what leaks is dropped from the part that
/// is trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanPolicy {
    /// Drop rows without text or, in labelled data, without a label.
    pub empty: bool,
    /// Drop rows whose text a later part holds too, exactly or nearly, or whose group does.
    pub leaks: bool,
    /// Of rows with one text and several labels keep those of a strict majority, or none.
    pub conflicts: bool,
    /// Keep the first of the rows with the same text in a part.
    pub exact_duplicates: bool,
    /// Drop training rows that are nearly the same as a kept one with the same label.
    pub near_duplicates: bool,
    /// Drop training rows whose label is probably wrong. Off by default: somebody should look.
    pub label_errors: bool,
    /// Replace personal data and secrets by their kind. Off by default: it changes texts.
    pub redact: bool,
}

impl Default for CleanPolicy {
    fn default() -> Self {
        CleanPolicy {
            empty: true,
            leaks: true,
            conflicts: true,
            exact_duplicates: true,
            near_duplicates: true,
            label_errors: false,
            redact: false,
        }
    }
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is not in the new version.
    Drop,
    /// Personal data in it was replaced.
    Redact,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The row in its old file.
    #[serde(flatten)]
    pub row: RowRef,
    /// What happened to it.
    pub action: Action,
    /// The check that gave the reason.
    pub check: String,
    /// Why, in words.
    pub why: String,
    /// The other row that it is about, such as the duplicate that was kept.
    pub of: Option<RowRef>,
}

/// A dataset version that is in memory and, after [`Cleaned::write`], in a folder.
#[derive(Clone, Debug)]
pub struct Cleaned {
    /// The rows to train on.
    pub train: Dataset,
    /// The rows to choose settings on, if there were any.
    pub validation: Option<Dataset>,
    /// What was done, in the order of the rows.
    pub log: Vec<LogEntry>,
    /// What the version was made from and how.
    pub manifest: Manifest,
}

/// The version's `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout.
    pub schema: String,
    /// Digests of the datasets that it was made from, the test part included, by part.
    pub parents: BTreeMap<String, Digest>,
    /// The new files: their part, rows and content digest.
    pub files: BTreeMap<String, ManifestFile>,
    /// What was to be removed.
    pub policy: CleanPolicy,
    /// How it was looked for.
    pub options: CheckOptions,
    /// Rows dropped or redacted, by check.
    pub counts: BTreeMap<String, u64>,
}

/// A file of a dataset version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// The part it holds.
    pub part: Part,
    /// Its rows.
    pub rows: u64,
    /// The digest of its content.
    pub digest: Digest,
}

const SCHEMA: &str = "sprat.dataset/1";
const TRAIN: &str = "data.jsonl";
const VALIDATION: &str = "validation.jsonl";

impl Cleaned {
    /// Writes `data.jsonl` (train), `validation.jsonl` if there is one, `clean-log.jsonl` and
    /// `manifest.json` into a new folder that is whole or absent.
    ///
    /// # Errors
    /// [`crate::codes::EXISTS`] when the folder exists, [`crate::codes::WRITE`].
    pub fn write(&self, folder: &Path, clock: &dyn Clock) -> Result<()> {
        version::new_folder(folder, |inside| {
            version::write_rows(&inside.join(TRAIN), &self.train.examples)?;
            if let Some(validation) = &self.validation {
                version::write_rows(&inside.join(VALIDATION), &validation.examples)?;
            }
            let log = inside.join("clean-log.jsonl");
            let written = write::atomically(&log, |file| {
                for entry in &self.log {
                    serde_json::to_writer(&mut *file, entry)?;
                    file.write_all(b"\n")?;
                }
                Ok(())
            });
            written.map_err(|why| version::failed(&log, &why))?;
            let path = inside.join("manifest.json");
            let stamped = || -> io::Result<()> {
                let mut manifest = serde_json::to_value(&self.manifest)?;
                manifest["created_at"] = clock.now().to_rfc3339().into();
                write::bytes(&path, &serde_json::to_vec_pretty(&manifest)?)
            };
            stamped().map_err(|why| version::failed(&path, &why))
        })
    }
}

/// Cleans the train and validation parts; deterministic, and nothing is changed in place.
///
/// # Errors
/// As [`crate::check`].
pub fn clean(
    parts: &Parts<'_>,
    policy: &CleanPolicy,
    options: &CheckOptions,
    model: &FromModel<'_>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Cleaned> {
    let mut needed = options.clone();
    if !policy.label_errors {
        needed.skip.push("label-errors".into());
    }
    let evidence = Evidence::gather(*parts, &needed, model, progress, interrupt)?;
    let mut cleaning = Cleaning { evidence: &evidence, dropped: Default::default() };
    if policy.empty {
        cleaning.empty();
    }
    if policy.leaks {
        cleaning.leaks();
    }
    if policy.conflicts {
        cleaning.conflicts();
    }
    if policy.label_errors {
        cleaning.label_errors();
    }
    if policy.exact_duplicates {
        cleaning.exact_duplicates();
    }
    if policy.near_duplicates {
        cleaning.near_duplicates();
    }
    Ok(cleaning.finish(policy, options))
}

/// The rows that go, each with the first reason found.
struct Cleaning<'a> {
    evidence: &'a Evidence<'a>,
    dropped: BTreeMap<u32, (&'static str, String, Option<u32>)>,
}

impl Cleaning<'_> {
    fn kept(&self, row: u32) -> bool {
        !self.dropped.contains_key(&row)
    }

    /// Drops a row unless it is a test row or gone already.
    fn drop(&mut self, row: u32, check: &'static str, why: impl Into<String>, of: Option<u32>) {
        if self.evidence.part(row) != Part::Test {
            self.dropped.entry(row).or_insert_with(|| (check, why.into(), of));
        }
    }

    fn empty(&mut self) {
        let labelled = !self.evidence.classes.is_empty();
        for row in 0..self.evidence.rows.len() as u32 {
            let example = self.evidence.rows[row as usize].1;
            if example.text.trim().is_empty() {
                self.drop(row, "empty-text", "no text", None);
            } else if labelled && example.label.is_none() {
                self.drop(row, "missing-label", "no label", None);
            }
        }
    }

    /// Drops from the earlier of two parts, so that the later one stays a fair measure.
    fn leaks(&mut self) {
        let evidence = self.evidence;
        for text in 0..evidence.members.len() as u32 {
            let rows = evidence.members.of(text);
            // Rows are in the order of the parts: the last row is in the latest part.
            let Some(last) = rows.last().copied() else { continue };
            for row in rows.iter().filter(|row| evidence.part(**row) < evidence.part(last)) {
                let why = format!("the same text is in {}", evidence.part(last));
                self.drop(*row, "leakage-exact", why, Some(last));
            }
        }
        for pair in &evidence.near {
            let [a, b] = [pair.first, pair.second].map(|text| evidence.members.of(text));
            for (own, other) in [(a, b), (b, a)] {
                let Some(last) = other.last().copied() else { continue };
                for row in own.iter().filter(|row| evidence.part(**row) < evidence.part(last)) {
                    let part = evidence.part(last);
                    let why = format!("nearly the same text ({:.2}) is in {part}", pair.similarity);
                    self.drop(*row, "leakage-near", why, Some(last));
                }
            }
        }
        let mut latest: BTreeMap<&str, u32> = BTreeMap::new();
        for (row, (_, example)) in evidence.rows.iter().enumerate() {
            if let Some(group) = example.group.as_deref() {
                latest.insert(group, row as u32);
            }
        }
        for (row, (part, example)) in evidence.rows.iter().enumerate() {
            let last = example.group.as_deref().and_then(|group| latest.get(group));
            if let Some(last) = last.filter(|last| *part < evidence.part(**last)) {
                let why = format!("the same group is in {}", evidence.part(*last));
                self.drop(row as u32, "leakage-group", why, Some(*last));
            }
        }
    }

    fn conflicts(&mut self) {
        let evidence = self.evidence;
        for text in 0..evidence.members.len() as u32 {
            let rows: Vec<u32> = evidence
                .members
                .of(text)
                .iter()
                .copied()
                .filter(|row| self.kept(*row) && evidence.class_of[*row as usize] != NO_LABEL)
                .collect();
            let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
            rows.iter()
                .for_each(|row| *votes.entry(evidence.class_of[*row as usize]).or_default() += 1);
            if votes.len() < 2 {
                continue;
            }
            let majority = votes.iter().find(|(_, count)| **count * 2 > rows.len());
            let majority = majority.map(|(class, _)| *class);
            for row in rows {
                if Some(evidence.class_of[row as usize]) != majority {
                    let why = match majority {
                        Some(_) => "most rows with this text have another label",
                        None => "rows with this text have different labels, none a majority",
                    };
                    self.drop(row, "conflicting-labels", why, None);
                }
            }
        }
    }

    fn label_errors(&mut self) {
        let evidence = self.evidence;
        let Suspects::Found { rows, .. } = &evidence.suspects else { return };
        for suspect in rows.iter().filter(|suspect| evidence.part(suspect.row) == Part::Train) {
            let why = format!("looks like `{}`", evidence.classes[suspect.suggested as usize]);
            self.drop(suspect.row, "label-errors", why, None);
        }
    }

    fn exact_duplicates(&mut self) {
        let evidence = self.evidence;
        for text in 0..evidence.members.len() as u32 {
            let mut first: [Option<u32>; 3] = [None; 3];
            for row in evidence.members.of(text) {
                if !self.kept(*row) {
                    continue;
                }
                match &mut first[evidence.part(*row) as usize] {
                    Some(first) => {
                        let of = *first;
                        self.drop(
                            *row,
                            "exact-duplicates",
                            "the same text stands before",
                            Some(of),
                        );
                    }
                    none => *none = Some(*row),
                }
            }
        }
    }

    /// Pairs are sorted by their later text, so whether the earlier one stays is decided before.
    fn near_duplicates(&mut self) {
        let evidence = self.evidence;
        for pair in &evidence.near {
            let of = evidence.members.of(pair.first).iter().copied();
            let of: Vec<u32> =
                of.filter(|row| evidence.part(*row) == Part::Train && self.kept(*row)).collect();
            for row in evidence.members.of(pair.second) {
                let class = evidence.class_of[*row as usize];
                let like = of.iter().find(|of| evidence.class_of[**of as usize] == class);
                if let Some(of) = like.filter(|_| evidence.part(*row) == Part::Train) {
                    let why =
                        format!("nearly the same text ({:.2}) stands before", pair.similarity);
                    self.drop(*row, "near-duplicates", why, Some(*of));
                }
            }
        }
    }

    fn finish(self, policy: &CleanPolicy, options: &CheckOptions) -> Cleaned {
        let evidence = self.evidence;
        let place = |row: u32| {
            let (part, example) = evidence.rows[row as usize];
            RowRef { part, row: example.row, line: example.line }
        };
        let mut kept: [Vec<Example>; 3] = Default::default();
        let mut log = Vec::new();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut note = |row, action, check: &str, why: String, of: Option<u32>| {
            *counts.entry(check.into()).or_default() += 1;
            log.push(LogEntry {
                row: place(row),
                action,
                check: check.into(),
                why,
                of: of.map(place),
            });
        };
        for (row, (part, example)) in (0_u32..).zip(&evidence.rows) {
            if *part == Part::Test {
                continue;
            }
            if let Some((check, why, of)) = self.dropped.get(&row) {
                note(row, Action::Drop, check, why.clone(), *of);
                continue;
            }
            let mut example = (*example).clone();
            if policy.redact {
                let kinds = redact(&mut example);
                if !kinds.is_empty() {
                    note(row, Action::Redact, "personal-data", kinds.join(", "), None);
                }
            }
            kept[*part as usize].push(example);
        }
        let [train, validation, _] = kept;
        let train = Dataset::new(train, TRAIN);
        let parts = &evidence.parts;
        let validation = parts.validation.map(|_| Dataset::new(validation, VALIDATION));
        let file = |part, data: &Dataset| ManifestFile {
            part,
            rows: data.len() as u64,
            digest: data.digest,
        };
        let mut files = BTreeMap::from([(TRAIN.to_owned(), file(Part::Train, &train))]);
        if let Some(validation) = &validation {
            files.insert(VALIDATION.into(), file(Part::Validation, validation));
        }
        let parents =
            parts.present().map(|(part, data)| (part.name().to_owned(), data.digest)).collect();
        let manifest = Manifest {
            schema: SCHEMA.into(),
            parents,
            files,
            policy: policy.clone(),
            options: options.clone(),
            counts,
        };
        Cleaned { train, validation, log, manifest }
    }
}

/// Hides personal data in the text and the extra columns; says which kinds there were.
fn redact(example: &mut Example) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for cell in std::iter::once(&mut example.text).chain(example.extra.values_mut()) {
        let spans = personal::find_personal(cell);
        if !spans.is_empty() {
            kinds.extend(spans.iter().map(|span| span.kind.name()));
            *cell = personal::redact(cell);
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}
