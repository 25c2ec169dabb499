//! The candidate: what tuning and shrinking make of the next dataset, of a classifier or of a model
//! that writes.

use crate::Project;
use crate::answers::{Given, Questions};
use crate::prepare::Prepared;
use crate::release::{Judged, Subject};
use crate::shrink::ShrinkRecord;
use crate::step::Stepped;
use crate::tune::TuneRecord;
use crate::up::{self, Path as Steps};
use crate::writer::{self, Asked, Judge, WriterRecord, WriterShrink, WriterSubject};
use sprat_data::Dataset;
use sprat_eval::{Comparison, compare};
use sprat_registry::Version;
use sprat_task::Result;
use std::path::Path;

/// Resamples of the paired bootstrap.
const RESAMPLES: usize = 2000;

/// What was tuned and shrunk.
pub(super) enum Candidate {
    /// A classifier.
    Classifier(Box<(Stepped<TuneRecord>, Stepped<ShrinkRecord>)>),
    /// A model that writes.
    Writer(Box<(Stepped<WriterRecord>, Stepped<WriterShrink>)>),
}

impl Project {
    /// Tunes and shrinks on the next dataset, of which this is the project.
    pub(super) fn candidate(&self, prepared: &Prepared, steps: &mut Steps) -> Result<Candidate> {
        if self.writes()? {
            let tuned = steps.step(
                "tune",
                || self.tuned_writer(prepared),
                |tuned| (tuned.skipped, writer::tune_line(tuned)),
            )?;
            let shrunk = steps.step(
                "shrink",
                || self.shrunk_writer(&tuned, prepared),
                |shrunk| (shrunk.skipped, writer::shrink_line(shrunk)),
            )?;
            return Ok(Candidate::Writer(Box::new((tuned, shrunk))));
        }
        let tuned =
            steps.step("tune", || self.tuned(prepared), |t| (t.skipped, up::tune_line(t)))?;
        let shrunk = steps.step(
            "shrink",
            || self.shrunk(&tuned, prepared),
            |shrunk| (shrunk.skipped, up::shrink_line(shrunk)),
        )?;
        Ok(Candidate::Classifier(Box::new((tuned, shrunk))))
    }

    /// The candidate against production on the labelled traces that were kept.
    pub(super) fn on_kept(
        &self,
        candidate: &Candidate,
        prepared: &Prepared,
        production: &Version,
        kept: &Dataset,
    ) -> Result<Comparison> {
        let theirs = self.registry.checkout(production)?;
        let (ours, production) = ("candidate", production.to_string());
        match candidate {
            Candidate::Classifier(made) => {
                let (tuned, shrunk) = &**made;
                let bundle = Subject { prepared, tuned, shrunk }.bundle();
                let questions = Questions::of(kept, prepared.labels());
                let answers = |folder: &Path| -> Result<Given> {
                    let measured = self.measured(folder, &questions.texts)?;
                    Ok(Given::of(&measured.labels, &measured.probabilities, &questions.labels))
                };
                compare(
                    (ours, &answers(&bundle)?.answers(&questions)?),
                    (&production, &answers(&theirs)?.answers(&questions)?),
                    RESAMPLES,
                    0,
                )
            }
            Candidate::Writer(made) => {
                let (tuned, shrunk) = &**made;
                let bundle = WriterSubject { prepared, tuned, shrunk }.bundle();
                let asked = Asked::of(kept);
                let schema = self.answer_schema()?;
                let judge = Judge {
                    kind: self.settings.task.kind,
                    schema: schema.as_ref(),
                    labels: prepared.labels(),
                    gold: &asked.gold,
                };
                let mine = self.answers_in(ours, &bundle, &asked)?;
                let theirs = self.answers_in(&production, &theirs, &asked)?;
                judge.compare((ours, &mine), (&production, &theirs))
            }
        }
    }

    /// Judges the candidate on the sealed test, and releases it.
    pub(super) fn released_candidate(
        &self,
        candidate: &Candidate,
        prepared: &Prepared,
        note: &str,
    ) -> Result<Judged> {
        match candidate {
            Candidate::Classifier(made) => {
                let (tuned, shrunk) = &**made;
                self.released(&Subject { prepared, tuned, shrunk }, note)
            }
            Candidate::Writer(made) => {
                let (tuned, shrunk) = &**made;
                self.released_writer(&WriterSubject { prepared, tuned, shrunk }, note)
            }
        }
    }
}
