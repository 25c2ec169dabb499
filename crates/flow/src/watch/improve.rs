//! `sprat improve`: the next version from what production taught.
//!
//! Traces that somebody labelled are divided by their text: one half joins the training part, the
//! other is kept to compare on. Answers that a large model gave join the training part too. Data
//! gate, tuning, shrinking and the release gate are those of `sprat up`, on the validation and the
//! sealed test part of before.

mod candidate;
mod dataset;
mod outcome;

use crate::release::refusal as release_refusal;
use crate::up::{Path as Steps, data_line};
use crate::{Done, Project, codes};
use dataset::Next;
use outcome::Outcome;
use serde_json::{Value, json};
use sprat_data::read_rows;
use sprat_eval::Comparison;
use sprat_report::{Page, Tone, number};
use sprat_task::settings::Settings;
use sprat_task::{Error, Result};

/// The one-sided error of the test by which a version is promoted without asking.
const ALPHA: f64 = 0.05;

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
    /// puts it on trial as a canary where the labelled traces show it beyond doubt.
    ///
    /// # Errors
    /// `SPRAT-WATCH-FEW`, `SPRAT-WATCH-NO-TEXTS`, those of the steps; that the new version is not
    /// better is in the result.
    pub fn improve(&self, auto: bool) -> Result<Done> {
        let Some(production) = self.current()? else {
            return Err(Error::new(&codes::WATCH_NOTHING, "no version is promoted to improve on"));
        };
        let auto = auto || self.settings.watch.auto;
        if auto {
            // Before the work: two can't be on trial.
            self.canary_free()?;
        }
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
        let candidate = project.candidate(&prepared, &mut steps)?;
        let kept = read_rows(&folder.join("kept.jsonl"))?;
        let fresh = steps.step(
            "compare",
            || project.on_kept(&candidate, &prepared, &production, &kept),
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
        let release = match project.released_candidate(&candidate, &prepared, &note)? {
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
        let outcome = match shown && auto {
            true => self.put_on_trial(&version, &production, &note)?,
            false => Outcome::Released { shown },
        };
        let page = Page::new("Improve").verdict(Tone::Good, outcome.verdict(&version, &production));
        let page = page
            .facts([
                ("on labelled traces", sentence(&fresh)),
                ("sealed test", release.value.gate.evidence.quality.value.percent()),
                ("dataset", folder.display().to_string()),
            ])
            .table(steps.table())
            .table(release.value.gate.table());
        let page = page.paragraph(outcome.paragraph(&version, self.settings.watch.history));
        page.write(&self.reports().join("improve.html"))?;
        let mut body = body(Some(&version.to_string()), matches!(outcome, Outcome::Promoted));
        body["shown"] = json!(shown);
        body["canary"] = match &outcome {
            Outcome::Canary(canary) => json!(canary),
            _ => Value::Null,
        };
        body["gate"] = json!(release.value.gate);
        Ok(Done::new("sprat.improve/1", body, page))
    }
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
