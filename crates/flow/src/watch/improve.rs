//! `sprat improve`: the next version from what production taught.
//!
//! Traces that somebody labelled are divided by their text: one half joins the training part, the
//! other is kept to compare on. Answers that a large model gave join the training part too. Data
//! gate, tuning, shrinking and the release gate are those of `sprat up`, on the validation and the
//! sealed test part of before.

use crate::answers::{Given, Questions};
use crate::project::{read_json, write_json};
use crate::release::{Subject, refusal as release_refusal};
use crate::up::{Path as Steps, data_line, shrink_line, tune_line};
use crate::versions::who;
use crate::{Done, Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_data::{
    CheckOptions, CleanPolicy, Dataset, Example, FromModel, Parts, normalized, read_rows,
    write_rows,
};
use sprat_eval::{Comparison, compare};
use sprat_monitor::{TraceFilter, gold_label};
use sprat_registry::Version;
use sprat_report::{Page, Tone, number};
use sprat_task::settings::{Settings, TaskKind};
use sprat_task::{Digest, Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The fewest labelled traces to compare on.
const FEWEST: usize = 20;
/// Resamples of the paired bootstrap.
const RESAMPLES: usize = 2000;
/// The one-sided error of the test by which a version is promoted without asking.
const ALPHA: f64 = 0.05;

/// The next version of the dataset, as it lies in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Next {
    schema: String,
    /// The version that it is to improve on.
    production: String,
    /// The split of before.
    split: Digest,
    /// Labelled traces in the training part.
    labelled: usize,
    /// Answers of the large model in the training part.
    large: usize,
    /// Labelled traces that are kept to compare on.
    kept: usize,
}

/// A version that was promoted without asking, and until when an alarm takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probation {
    /// The version.
    pub(super) version: String,
    /// So many tested requests.
    pub(super) requests: u64,
}

/// What the traces hold for training and for comparing.
#[derive(Default)]
struct Fresh {
    train: Vec<Example>,
    labelled: usize,
    large: usize,
    kept: Vec<Example>,
}

impl Project {
    /// The same project under other settings.
    fn with_settings(&self, settings: Settings) -> Project {
        Project {
            settings,
            state: self.state.clone(),
            registry: self.registry.clone(),
            offline: self.offline,
            clock: self.clock.clone(),
            progress: self.progress.clone(),
            interrupt: self.interrupt.clone(),
            executable: self.executable.clone(),
            models: Default::default(),
            engines: Default::default(),
        }
    }

    /// Makes the next dataset version, tunes and shrinks on it, compares with production on the
    /// labelled traces that were kept and on the sealed test, and releases what is better. `auto`:
    /// promotes it where the labelled traces show it beyond doubt.
    ///
    /// # Errors
    /// `SPRAT-WATCH-FEW`, `SPRAT-WATCH-NO-TEXTS`, those of the steps; that the new version is not
    /// better is in the result.
    pub fn improve(&self, auto: bool) -> Result<Done> {
        if self.settings.task.kind != TaskKind::Classify || self.writes()? {
            let what = "only tasks of classifiers are improved from traces so far";
            return Err(Error::new(&codes::KIND, what));
        }
        let Some(production) = self.current()? else {
            return Err(Error::new(&codes::WATCH_NOTHING, "no version is promoted to improve on"));
        };
        let mut steps = Steps::default();
        let (next, folder) = steps.step(
            "dataset",
            || self.next_dataset(&production),
            |(next, _)| {
                let Next { labelled, large, kept, .. } = next;
                let text = format!(
                    "{labelled} labelled traces and {large} large answers to train on, {kept} to \
                     compare on"
                );
                (false, text)
            },
        )?;
        let project = self.with_settings(self.settings_over(&folder));
        let prepared =
            steps.step("data", || project.prepared(), |p| (p.step.skipped, data_line(p)))?;
        let tuned =
            steps.step("tune", || project.tuned(&prepared), |t| (t.skipped, tune_line(t)))?;
        let shrunk = steps.step(
            "shrink",
            || project.shrunk(&tuned, &prepared),
            |s| (s.skipped, shrink_line(s)),
        )?;
        let subject = Subject { prepared: &prepared, tuned: &tuned, shrunk: &shrunk };
        let kept = read_rows(&folder.join("kept.jsonl"))?;
        let fresh = steps.step(
            "compare",
            || project.on_kept(&subject.bundle(), &production, &kept, prepared.labels()),
            |found| (false, sentence(found)),
        )?;
        let body = |version: Option<&str>, promoted: bool| {
            json!({ "production": production.to_string(), "version": version,
                "promoted": promoted, "dataset": next, "folder": folder, "fresh": fresh,
                "steps": steps.lines() })
        };
        if fresh.candidate_only <= fresh.reference_only {
            // The sealed test is not opened for what labelled traces already speak against.
            let page = Page::new("Improve")
                .verdict(Tone::Bad, format!("not better than {production}: {}", sentence(&fresh)))
                .table(steps.table());
            let error = Error::new(&codes::NOT_BETTER, "the new version is not better")
                .why(sentence(&fresh));
            return Ok(
                Done::new("sprat.improve/1", body(None, false), page).refused_by(Some(error))
            );
        }
        let note = format!("sprat improve over {production}");
        let release = match project.released(&subject, &note)? {
            Ok(release) => release,
            Err(record) => {
                let page = record.page().section("Steps").table(steps.table());
                return Ok(Done::new("sprat.improve/1", body(None, false), page)
                    .refused_by(Some(release_refusal(&record))));
            }
        };
        let number = release.value.version;
        let version = self.registry.version(self.task(), number)?;
        // Half of the two-sided value: the candidate is the better one.
        let shown = fresh.mcnemar.exact_p / 2.0 <= ALPHA;
        let promote = shown && (auto || self.settings.watch.auto);
        if promote {
            let requests = self.settings.watch.history;
            self.begin_probation(&Probation { version: version.to_string(), requests })?;
            self.promote_from(&version, production.number, &note)?;
        }
        let page = Page::new("Improve").verdict(
            Tone::Good,
            match promote {
                true => format!("{version} is promoted over {production}"),
                false => format!("{version} is released and better than {production}"),
            },
        );
        let page = page
            .facts([
                ("on labelled traces", sentence(&fresh)),
                ("sealed test", release.value.gate.evidence.quality.value.percent()),
                ("dataset", folder.display().to_string()),
            ])
            .table(steps.table())
            .table(release.value.gate.table());
        let page = match promote {
            true => page.paragraph(format!(
                "An alarm among its first {} tested requests moves the alias back.",
                self.settings.watch.history
            )),
            false => page.paragraph(format!(
                "Next: `sprat promote v{number}`{}. To go on from this dataset, name \
                 train.jsonl, validation.jsonl and test.jsonl of its folder under [data].",
                if shown { "" } else { "; the labelled traces alone do not prove the gain" }
            )),
        };
        page.write(&self.reports().join("improve.html"))?;
        let mut body = body(Some(&version.to_string()), promote);
        body["shown"] = json!(shown);
        body["gate"] = json!(release.value.gate);
        Ok(Done::new("sprat.improve/1", body, page))
    }

    fn probation_file(&self) -> PathBuf {
        self.watch_folder().join("probation.json")
    }

    fn begin_probation(&self, probation: &Probation) -> Result<()> {
        write_json(&self.probation_file(), probation)
    }

    /// The version that an alarm takes back, whatever the actions are.
    pub(super) fn probation(&self) -> Result<Option<Probation>> {
        let file = self.probation_file();
        if file.exists() { read_json(&file).map(Some) } else { Ok(None) }
    }

    /// The settings of before over the files of the next dataset.
    fn settings_over(&self, folder: &Path) -> Settings {
        let mut settings = self.settings.clone();
        let here = folder.strip_prefix(&self.settings.folder).unwrap_or(folder);
        settings.task.input = "text".into();
        settings.task.target = "label".into();
        settings.task.group = settings.task.group.map(|_| "group".into());
        settings.data.train = Some(here.join("train.jsonl"));
        settings.data.validation = Some(here.join("validation.jsonl"));
        settings.data.test = Some(here.join("test.jsonl"));
        settings
    }

    /// Writes the next dataset version, or finds it written already.
    fn next_dataset(&self, production: &Version) -> Result<(Next, PathBuf)> {
        let before = self.prepared()?;
        let fresh = self.fresh(before.labels())?;
        let digest = Digest::of_json(&json!([
            production.digest,
            before.split,
            Dataset::new(fresh.train.clone(), "fresh").digest,
            Dataset::new(fresh.kept.clone(), "kept").digest,
        ]));
        let folder = self.state.join("improve").join(digest.short());
        let manifest = folder.join("dataset.json");
        let next = Next {
            schema: "sprat.dataset/1".into(),
            production: production.to_string(),
            split: before.split,
            labelled: fresh.labelled,
            large: fresh.large,
            kept: fresh.kept.len(),
        };
        if manifest.exists() && read_json::<Next>(&manifest)? == next {
            return Ok((next, folder));
        }
        let parts = before.step.folder.join("parts");
        let mut train = read_rows(&parts.join("train.jsonl"))?.examples;
        train.extend(fresh.train);
        write_rows(&folder.join("train.jsonl"), &train)?;
        let validation = read_rows(&parts.join("validation.jsonl"))?;
        write_rows(&folder.join("validation.jsonl"), &validation.examples)?;
        // Through the one door: it is sealed again by the split of the next version.
        let purpose = "carried over into the next dataset version";
        self.registry.record_opening(self.task(), &before.split, purpose, &who())?;
        let test = before.seal.open(purpose, &who(), self.clock.as_ref())?;
        write_rows(&folder.join("test.jsonl"), &test.examples)?;
        write_rows(&folder.join("kept.jsonl"), &fresh.kept)?;
        // Last: a folder with a manifest is whole.
        write_json(&manifest, &next)?;
        Ok((next, folder))
    }

    /// What the traces hold: one example a text; what was said last counts.
    fn fresh(&self, labels: &[String]) -> Result<Fresh> {
        let said = self.said()?;
        let (mut gold, mut large) = (BTreeMap::new(), BTreeMap::new());
        let mut texts = 0u64;
        self.traces()?.each_at(&TraceFilter::default(), |position, row| {
            self.interrupt.check()?;
            let Some(text) = row.text.as_deref() else { return Ok(()) };
            texts += 1;
            let example = |label: &str| Example {
                text: text.to_owned(),
                label: Some(label.to_owned()),
                ..Example::default()
            };
            let last = said.get(&position).and_then(|said| said.last());
            match last.map(|last| gold_label(last, &row)) {
                Some(Some(label)) => {
                    gold.insert(normalized(text), example(label));
                }
                // Wrong, and nobody said what is right: no example.
                Some(None) => {}
                None => {
                    let by_large = row.route.as_deref() == Some("large");
                    let label = row.label.as_deref().filter(|_| by_large);
                    if let Some(label) = label.filter(|label| known(labels, label)) {
                        large.insert(normalized(text), example(label));
                    }
                }
            }
            Ok(())
        })?;
        if texts == 0 {
            return Err(Error::new(&codes::NO_TEXTS, "no trace holds its text"));
        }
        let mut fresh = Fresh::default();
        for (key, example) in &gold {
            large.remove(key);
            // By the text alone, so that a row stays on its side when others come.
            let even = Digest::of(key.as_bytes())
                .to_string()
                .ends_with(|digit: char| digit.to_digit(16).is_some_and(|digit| digit % 2 == 0));
            let label = example.label.as_deref().unwrap_or_default();
            // A label that nobody has trained is learned first and compared on later.
            if even && known(labels, label) {
                fresh.kept.push(example.clone());
            } else {
                fresh.train.push(example.clone());
            }
        }
        // What is nearly the same as a row to compare on would tell the candidate its answer.
        let kept = Dataset::new(fresh.kept.clone(), "kept");
        fresh.train = self.apart(std::mem::take(&mut fresh.train), &kept)?;
        let large = self.apart(large.into_values().collect(), &kept)?;
        (fresh.labelled, fresh.large) = (fresh.train.len(), large.len());
        fresh.train.extend(large);
        if fresh.kept.len() < FEWEST {
            let what = format!(
                "{} labelled traces are too few: about {} are needed, half of them to compare on",
                gold.len(),
                2 * FEWEST
            );
            return Err(Error::new(&codes::WATCH_FEW, what)
                .help("Label more: `sprat label`, or `sprat watch feedback FILE`."));
        }
        Ok(fresh)
    }

    /// The rows without those that are near-duplicates of some others.
    fn apart(&self, rows: Vec<Example>, others: &Dataset) -> Result<Vec<Example>> {
        if rows.is_empty() || others.is_empty() {
            return Ok(rows);
        }
        let only_leaks = CleanPolicy {
            empty: false,
            leaks: true,
            conflicts: false,
            exact_duplicates: false,
            near_duplicates: false,
            label_errors: false,
            redact: false,
        };
        let rows = Dataset::new(rows, "fresh");
        let parts = Parts { train: &rows, validation: None, test: Some(others) };
        let options = CheckOptions::default();
        let (progress, interrupt) = (self.progress.as_ref(), &self.interrupt);
        let model = FromModel::default();
        let cleaned =
            sprat_data::clean(&parts, &only_leaks, &options, &model, progress, interrupt)?;
        Ok(cleaned.train.examples)
    }

    /// The candidate against production on the labelled traces that were kept.
    fn on_kept(
        &self,
        candidate: &Path,
        production: &Version,
        kept: &Dataset,
        labels: &[String],
    ) -> Result<Comparison> {
        let questions = Questions::of(kept, labels);
        let answers = |folder: &Path| -> Result<Given> {
            let measured = self.measured(folder, &questions.texts)?;
            Ok(Given::of(&measured.labels, &measured.probabilities, &questions.labels))
        };
        let ours = answers(candidate)?;
        let theirs = answers(&self.registry.checkout(production)?)?;
        compare(
            ("candidate", &ours.answers(&questions)?),
            (&production.to_string(), &theirs.answers(&questions)?),
            RESAMPLES,
            0,
        )
    }
}

fn known(labels: &[String], label: &str) -> bool {
    labels.binary_search_by(|known| known.as_str().cmp(label)).is_ok()
}

/// The comparison in a sentence.
fn sentence(found: &Comparison) -> String {
    format!(
        "{} on {} labelled traces ({} better, {} worse; p = {})",
        found.accuracy.points(),
        found.rows,
        found.candidate_only,
        found.reference_only,
        number::p_value(found.mcnemar.exact_p)
    )
}
