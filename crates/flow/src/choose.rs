//! `sprat choose`: the measured candidates against the needs, by the four factors.

use crate::bench::BenchRecord;
use crate::prepare::Prepared;
use crate::shrink::ShrinkRecord;
use crate::tune::TuneRecord;
use crate::{Done, Project, codes};
use serde_json::json;
use sprat_eval::{Choice, Measurement, Needs, Privacy, Scope, choose};
use sprat_task::{Error, Result, settings};

impl Project {
    /// The verdict over the measured candidates. A variant that the check of shrinking refused is
    /// shown with the reason and never chosen.
    ///
    /// # Errors
    /// Those of `eval`.
    pub(crate) fn chosen(
        &self,
        prepared: &Prepared,
        tuned: &TuneRecord,
        shrunk: &ShrinkRecord,
        bench: &BenchRecord,
    ) -> Result<Choice> {
        let scope = Scope {
            labels: prepared.labels().len() as u64,
            training_rows: prepared.train.len() as u64,
            test_rows: bench.bench.rows,
        };
        let mut measurements = bench.bench.measurements();
        for variant in &shrunk.variants {
            let objections = variant.retention.objections();
            let name = variant.name(tuned);
            let measured = measurements.iter_mut().find(|measured| measured.name == name);
            if let (false, Some(measured)) = (objections.is_empty(), measured) {
                measured.refusal = Some(format!("refused by shrink: {}", objections.join(", ")));
            }
        }
        choose(self.needs(), "accuracy", scope, measurements)
    }

    fn needs(&self) -> Needs {
        let needs = &self.settings.needs;
        Needs {
            p95_latency_ms: needs.p95_latency_ms,
            requests_per_day: needs.requests_per_day,
            privacy: match needs.privacy {
                settings::Privacy::OnPremise => Privacy::OnPremise,
                settings::Privacy::Any => Privacy::Any,
            },
            min_quality: needs.min_quality,
        }
    }

    /// The verdict over measured candidates of any kind, as the command shows it.
    ///
    /// # Errors
    /// Those of `eval`.
    pub(crate) fn choice(
        &self,
        metric: &str,
        labels: usize,
        prepared: &Prepared,
        test_rows: u64,
        measurements: Vec<Measurement>,
    ) -> Result<Done> {
        let training_rows = prepared.train.len() as u64;
        let scope = Scope { labels: labels as u64, training_rows, test_rows };
        let choice = choose(self.needs(), metric, scope, measurements)?;
        self.choice_done(&choice)
    }

    fn choice_done(&self, choice: &Choice) -> Result<Done> {
        let file = self.reports().join("choose.html");
        let page = choice.page();
        page.write(&file)?;
        let page = page.paragraph(format!("The same as a page: {}", file.display()));
        let body = json!({ "choice": choice, "html": file });
        Ok(Done::new("sprat.choose/1", body, page).refused_by(refusal(choice)))
    }

    /// `sprat choose`.
    ///
    /// # Errors
    /// Those of all steps before.
    pub fn choose(&self) -> Result<Done> {
        if self.writes()? {
            return self.choose_writer();
        }
        let prepared = self.prepared()?;
        let tuned = self.tuned(&prepared)?;
        let shrunk = self.shrunk(&tuned, &prepared)?;
        let bench = self.benched(&prepared, &tuned, &shrunk, &[], None)?;
        let choice = self.chosen(&prepared, &tuned.value, &shrunk.value, &bench.value)?;
        self.choice_done(&choice)
    }
}

/// The refusal, where no candidate meets the needs.
pub(crate) fn refusal(choice: &Choice) -> Option<Error> {
    let error = choice.require().err()?;
    let refused = Error::new(&codes::CHOICE_REFUSED, error.what());
    Some(match error.reason() {
        Some(why) => refused.why(why),
        None => refused,
    })
}
