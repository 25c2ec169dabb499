//! `sprat release`: opens the sealed test once, judges, and makes an immutable version.

use crate::answers::{Given, Questions};
use crate::measure::Measured;
use crate::prepare::Prepared;
use crate::shrink::{ShrinkRecord, name};
use crate::step::Stepped;
use crate::tune::TuneRecord;
use crate::versions::who;
use crate::{Done, Project, bundle, codes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sprat_data::Dataset;
use sprat_eval::{
    Comparison, Entry, Evidence, Gate, GateRecord, Leakage, NotWorse, Place, Quality, Resources,
    Rules, Scored, Setup, TestSeal, Verdict, Weights, bench, compare, equivalence, wilson,
};
use sprat_registry::{Base, Release, Tree, Version};
use sprat_report::{Page, Tone};
use sprat_task::{Digest, Error, Result};
use std::path::{Path, PathBuf};

/// How far probabilities may move between what was verified and what will be served.
const TOLERANCE: f64 = 1e-6;
/// Resamples of the paired bootstrap.
const RESAMPLES: usize = 2000;

/// A release as a finished step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReleaseRecord {
    /// The version's number.
    pub(crate) version: u32,
    /// Whether this run made it.
    pub(crate) new: bool,
    /// The gate's judgement.
    pub(crate) gate: GateRecord,
}

/// What is to be released.
pub(crate) struct Subject<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) tuned: &'a Stepped<TuneRecord>,
    pub(crate) shrunk: &'a Stepped<ShrinkRecord>,
}

impl Subject<'_> {
    /// The bundle: the chosen variant, or the tuned model where none passed.
    pub(crate) fn bundle(&self) -> PathBuf {
        match self.shrunk.winner() {
            Some(winner) => self.shrunk.bundle(winner.stored),
            None => self.shrunk.full(),
        }
    }

    fn weights(&self) -> Weights {
        match self.shrunk.winner() {
            Some(winner) => Weights::Shrunk { retention: Box::new(winner.retention.clone()) },
            None => Weights::AsTrained,
        }
    }

    fn variant(&self) -> &'static str {
        self.shrunk.winner().map_or("as trained", |winner| name(winner.stored))
    }
}

/// The judged candidate: the gate's record, and the version where it passed.
pub(crate) type Judged = std::result::Result<Stepped<ReleaseRecord>, GateRecord>;

impl Project {
    /// Judges and releases; exactly the same subject is not judged twice.
    ///
    /// # Errors
    /// Those of the models and the registry; a refusal is a value.
    pub(crate) fn released(&self, subject: &Subject<'_>, note: &str) -> Result<Judged> {
        self.judged_once("release", &subject.bundle(), subject.prepared, || {
            self.judge_and_release(subject, note)
        })
    }

    /// Runs a gate as a step: what it released is kept, and a refusal is judged again next time.
    ///
    /// # Errors
    /// Those of `judge`; a refusal is a value.
    pub(crate) fn judged_once(
        &self,
        step: &str,
        bundle: &Path,
        prepared: &Prepared,
        judge: impl FnOnce() -> Result<std::result::Result<ReleaseRecord, GateRecord>>,
    ) -> Result<Judged> {
        let inputs = json!({
            "artefact": Tree::of_folder(bundle)?.digest(),
            "split": prepared.split,
            "needs": self.settings.needs,
            "release": self.settings.release,
        });
        let mut refused = None;
        let stepped = self.steps().run(step, &inputs, |_| match judge()? {
            Ok(record) => Ok(record),
            Err(record) => {
                refused = Some(record);
                // Not a result: the step runs again next time.
                Err(Error::new(&codes::RELEASE_REFUSED, "the release gate refused"))
            }
        });
        match (stepped, refused) {
            (_, Some(record)) => Ok(Err(record)),
            (stepped, None) => Ok(Ok(stepped?)),
        }
    }

    /// Opens the sealed test for a candidate, and records who did it and why.
    ///
    /// # Errors
    /// Those of the registry and of the seal.
    pub(crate) fn open_test(
        &self,
        prepared: &Prepared,
        artefact: Digest,
        variant: &str,
    ) -> Result<Dataset> {
        let purpose = format!("release of {} ({variant})", artefact.short());
        self.registry.record_opening(self.task(), &prepared.split, &purpose, &who())?;
        prepared.seal.open(&purpose, &who(), self.clock.as_ref())
    }

    /// What the gate is told of the test part: what leaked into it, and how often it was opened.
    ///
    /// # Errors
    /// Those of the registry.
    pub(crate) fn test_part(&self, prepared: &Prepared) -> Result<(Leakage, TestSeal)> {
        let openings = self.registry.openings(Some(self.task()))?;
        let openings = openings.iter().filter(|o| o.split == prepared.split).count() as u64;
        let waived = (prepared.leaked > 0).then(|| "waived by name in the settings".into());
        let leakage = Leakage { rows: prepared.leaked, waived };
        Ok((leakage, TestSeal { sealed: true, openings, waived: None }))
    }

    fn judge_and_release(
        &self,
        subject: &Subject<'_>,
        note: &str,
    ) -> Result<std::result::Result<ReleaseRecord, GateRecord>> {
        let prepared = subject.prepared;
        let folder = subject.bundle();
        let artefact = Tree::of_folder(&folder)?.digest();
        let current = self.current()?;
        let test = self.open_test(prepared, artefact, subject.variant())?;
        let questions = Questions::of(&test, prepared.labels());
        self.progress.start("release gate", None, "models");
        let measured = self.measured(&folder, &questions.texts)?;
        let given = self.given(&measured, &questions);
        let answers = given.answers(&questions)?;
        let against_current = match &current {
            Some(version) => Some(self.against(version, &questions, &given)?),
            None => None,
        };
        let right = answers.right().iter().filter(|right| **right).count() as u64;
        let rows = questions.gold.len() as u64;
        let accuracy = wilson(right, rows, sprat_eval::LEVEL);
        let (leakage, seal) = self.test_part(prepared)?;
        let evidence = Evidence {
            subject: artefact,
            test_data: prepared.seal.digest(),
            quality: Quality { metric: "accuracy".into(), value: accuracy, rows },
            against_current,
            equivalence: self.replay(&folder, &questions, &measured)?,
            weights: subject.weights(),
            leakage,
            seal,
        };
        self.progress.finish();
        let passed = match (Gate { rules: self.gate_rules() }).judge(&evidence) {
            Ok(passed) => passed,
            Err(refusal) => return Ok(Err(refusal.record().clone())),
        };
        let scored = self.scored(&questions, &given)?;
        let metrics = json!({
            "test": {
                "rows": rows,
                "accuracy": accuracy,
                "macro_f1": scored.macro_f1,
                "calibration": scored.calibration,
                "per_class": scored.classes,
            },
            "validation": subject.tuned.value.outcome.validation,
            "variant": subject.variant(),
        });
        let tuned = &subject.tuned.value;
        let released = self.registry.release(
            &Release {
                task: self.task(),
                base: Base { reference: tuned.base.reference.clone(), digest: tuned.base.digest },
                data: prepared.data,
                split: prepared.split,
                settings: self.recorded_settings(subject)?,
                template: template(&folder)?,
                code: env!("CARGO_PKG_VERSION").into(),
                metrics,
                artefact: &folder,
                parent: current.map(|version| version.digest),
                who: who(),
                note: note.into(),
            },
            &passed,
            self.progress.as_ref(),
            &self.interrupt,
        )?;
        Ok(Ok(ReleaseRecord {
            version: released.version.number,
            new: released.new,
            gate: passed.record().clone(),
        }))
    }

    /// The rules that the settings set.
    pub(crate) fn gate_rules(&self) -> Rules {
        let release = &self.settings.release;
        let rules = Rules {
            min_quality: self.settings.needs.min_quality,
            not_worse: NotWorse::NonInferior { margin: release.max_drop },
        };
        // Without a proof of "not worse by more than the margin" small tests would refuse every
        // release; what is refused is evidence that the new one is worse.
        match release.strict {
            true => rules,
            false => {
                let alpha = 1.0 - release.confidence;
                Rules { not_worse: NotWorse::NotShownWorse { alpha }, ..rules }
            }
        }
    }

    /// All figures of the candidate on the test part; none of them depends on the machine, so that
    /// the same release has the same digest everywhere.
    fn scored(&self, questions: &Questions, given: &Given) -> Result<Scored> {
        let setup = Setup {
            task: self.task(),
            data: "sealed test part",
            machine: "",
            labels: &questions.labels,
            gold: &questions.gold,
            slices: &[],
            reference: None,
            seed: 0,
            resamples: RESAMPLES,
        };
        let entry = Entry {
            name: "candidate",
            place: Place::Local,
            predicted: &given.predicted,
            probabilities: given.probabilities.as_deref(),
            resources: &Resources::default(),
        };
        let mut bench = bench(&setup, &[entry])?;
        bench
            .candidates
            .pop()
            .ok_or_else(|| Error::new(&codes::RELEASE_REFUSED, "the candidate was not scored"))
    }

    /// The version behind the release alias.
    pub(crate) fn current(&self) -> Result<Option<Version>> {
        match self.registry.alias(self.task(), &self.settings.release.alias)? {
            Some(alias) => self.registry.version(self.task(), alias.version).map(Some),
            None => Ok(None),
        }
    }

    fn given(&self, measured: &Measured, questions: &Questions) -> Given {
        Given::of(&measured.labels, &measured.probabilities, &questions.labels)
    }

    fn against(
        &self,
        version: &Version,
        questions: &Questions,
        candidate: &Given,
    ) -> Result<Comparison> {
        let folder = self.registry.checkout(version)?;
        let theirs = self.given(&self.measured(&folder, &questions.texts)?, questions);
        compare(
            ("candidate", &candidate.answers(questions)?),
            (&version.to_string(), &theirs.answers(questions)?),
            RESAMPLES,
            0,
        )
    }

    /// What was measured, in a process of its own and in one batch, against a fresh start here
    /// with one text at a time: what is measured is what is served.
    fn replay(
        &self,
        folder: &Path,
        questions: &Questions,
        measured: &Measured,
    ) -> Result<sprat_eval::Equivalence> {
        const REPLAYED: usize = 200;
        let model = bundle::open(folder)?;
        let mut after = Vec::new();
        for text in questions.texts.iter().take(REPLAYED) {
            after.extend(model.predict(&[text])?.into_iter().map(|p| p.probabilities));
        }
        let before = &measured.probabilities[..after.len()];
        equivalence("measured → served one at a time", before, &after, TOLERANCE)
    }

    /// The settings under which a version can be made again: those of the file, and the recipe
    /// with what the search chose.
    fn recorded_settings(&self, subject: &Subject<'_>) -> Result<Value> {
        let settings = serde_json::to_value(&self.settings).map_err(|why| {
            Error::new(&codes::WRITE, "the settings can't be kept").why(why.to_string())
        })?;
        Ok(json!({
            "settings": settings,
            "recipe": subject.tuned.value.outcome.recipe,
            "variant": subject.variant(),
        }))
    }

    /// `sprat release`.
    ///
    /// # Errors
    /// Those of all steps before.
    pub fn release(&self, note: &str) -> Result<Done> {
        if self.writes()? {
            return self.release_writer(note);
        }
        let prepared = self.prepared()?;
        let tuned = self.tuned(&prepared)?;
        let shrunk = self.shrunk(&tuned, &prepared)?;
        let subject = Subject { prepared: &prepared, tuned: &tuned, shrunk: &shrunk };
        let judged = self.released(&subject, note)?;
        self.release_done(&judged)
    }

    /// What `sprat release` shows of a judgement.
    ///
    /// # Errors
    /// Those of writing the report.
    pub(crate) fn release_done(&self, judged: &Judged) -> Result<Done> {
        let record = match judged {
            Ok(stepped) => &stepped.value.gate,
            Err(record) => record,
        };
        let mut page = Page::new("Release").table(record.table());
        let version = judged.as_ref().ok().map(|s| format!("{}@v{}", self.task(), s.value.version));
        page = match (&version, judged) {
            (Some(version), Ok(stepped)) if stepped.skipped || !stepped.value.new => {
                page.verdict(Tone::Good, format!("released already as {version}"))
            }
            (Some(version), _) => page
                .verdict(Tone::Good, format!("released as {version}"))
                .paragraph("Next: `sprat promote latest` points the alias at it."),
            (None, _) => page.verdict(Tone::Bad, "refused"),
        };
        page.write(&self.reports().join("release.html"))?;
        let refused = judged.as_ref().err().map(refusal);
        let body = json!({ "version": version, "gate": record });
        Ok(Done::new("sprat.release/1", body, page).refused_by(refused))
    }
}

/// The gate's refusal as an error that names the rules.
pub(crate) fn refusal(record: &GateRecord) -> Error {
    let why: Vec<String> = record
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Refused)
        .map(|f| format!("{}: {}, required: {}", f.rule, f.figure, f.threshold))
        .collect();
    Error::new(&codes::RELEASE_REFUSED, "the release gate refused").why(why.join("; "))
}

/// The text that is put before every input, as the bundle's manifest says.
fn template(folder: &Path) -> Result<String> {
    Ok(sprat_model::Manifest::read(folder)?.prefix)
}
