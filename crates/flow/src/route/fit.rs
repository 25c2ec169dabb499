//! `sprat route fit`: a threshold with a bound, found on graded requests.

use super::document::{FitReport, FittedHead, FittedRoute, asks_small};
use super::graded::{Grades, Rows};
use super::large::{Large, LargeAnswer};
use super::page;
use super::report::View;
use super::serving::{Opened, Subject};
use crate::prepare::Prepared;
use crate::project::is_hosted;
use crate::{Done, Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_eval::Pricing;
use sprat_infer::Embedder;
use sprat_route::bound::{Bound, Shortfall, Tested};
use sprat_route::{Failure, FitOptions, Fitted, Graded, Head};
use sprat_task::settings::{Privacy, RouteFailure, RoutePolicy};
use sprat_task::{Error, Result};
use std::collections::VecDeque;
use std::path::PathBuf;

/// The share of graded requests that trains scores, calibration and the family of thresholds.
const FIT_SHARE: f64 = 0.3;
/// The share that tests the thresholds; the rest is sealed.
const CALIBRATION_SHARE: f64 = 0.5;
/// Texts on their way to the encoder at once.
const WINDOW: usize = 64;
/// Traced texts that the large model is asked about at most, besides its own limit.
const TRACED: usize = 10_000;

/// What `sprat route fit` is asked.
#[derive(Clone, Debug, Default)]
pub struct RouteFitOptions {
    /// The small model: a version or a folder; none: the released one.
    pub model: Option<String>,
    /// A file of graded requests; none: the validation part.
    pub data: Option<PathBuf>,
    /// The texts of the traces, graded by agreement with the large model.
    pub traces: bool,
    /// The large model is not asked.
    pub gold_only: bool,
    /// The judge of the settings grades, by the large model's answers; where that is not asked, by
    /// the wanted ones.
    pub judge: bool,
    /// Where the report goes.
    pub html: Option<PathBuf>,
}

/// A fit as a finished step: a route, or what is missing for one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FitRecord {
    pub(crate) options: FitOptions,
    pub(crate) route: Option<FittedRoute>,
    /// What is expected, where a route was found; otherwise only what was measured.
    pub(crate) report: FitReport,
    pub(crate) tested: Vec<Tested>,
    pub(crate) shortfall: Option<Shortfall>,
    pub(crate) head: Option<Head>,
}

impl Project {
    /// `sprat route fit`.
    ///
    /// # Errors
    /// Those of the data, the models and the settings. A bound that the data can't support is a
    /// refusal in what comes back.
    pub fn route_fit(&self, asked: &RouteFitOptions) -> Result<Done> {
        let subject = self.subject(asked.model.as_deref())?;
        let prepared = self.prepared()?;
        let large = self.large_to_ask(asked)?;
        let mut rows = self.rows_to_grade(asked, &prepared)?;
        if asked.judge {
            self.check_judge()?;
            rows.at_most(self.settings.judge.rows);
        }
        if let Some(candidate) = large
            && (asked.traces || asked.judge || self.settings.route.failure == RouteFailure::Regret)
        {
            // Every row needs the large model's answer.
            rows.at_most(candidate.max_examples);
        }
        let inputs = json!({
            "model": subject.digest,
            "rows": rows.digest,
            "source": rows.source,
            "private": self.settings.route.keep_personal,
            "policy": self.settings.route.policy,
            "score": self.settings.route.score,
            "encoder": self.encoder_digest()?,
            "options": self.fit_options(),
            "right_from": self.settings.route.right_from,
            "large": large,
            "judge": asked.judge.then_some(&self.settings.judge),
            "instruction": self.settings.task.instruction,
            "cost": self.settings.cost,
        });
        let stepped = self.steps().run("route-fit", &inputs, |folder| {
            let record = self.fitted(&subject, &prepared, rows, large, asked.judge)?;
            if let Some(route) = &record.route {
                crate::project::write_json(&folder.join("route.json"), route)?;
            }
            Ok(record)
        })?;
        let record = &stepped.value;
        let file = record.route.as_ref().map(|route| self.keep_route(route)).transpose()?;
        // Whoever fits anew trusts the new threshold more than an alarm about the old one.
        let lowered = match &record.route {
            Some(route) => self.lower_routes(Some(&route.digest), "sprat route fit")?,
            None => Vec::new(),
        };
        let mut page = page::of(&subject, record);
        let html = asked.html.clone().unwrap_or_else(|| self.reports().join("route.html"));
        page.write(&html)?;
        page = page.paragraph(format!("The same as a page: {}", html.display()));
        if let Some(file) = &file {
            page = page.paragraph(format!(
                "Kept in {}. `sprat serve` uses it for {} where `route.keep_above` is not set.",
                file.display(),
                subject.name
            ));
        }
        if !lowered.is_empty() {
            page = page.paragraph("What an alarm had raised the threshold to is taken back.");
        }
        let refused = record.route.is_none().then(|| refusal(record));
        let body = json!({
            "skipped": stepped.skipped,
            "model": subject.name,
            "digest": subject.digest,
            "policy": self.settings.route.policy,
            "score": record.route.as_ref().map(|route| route.score),
            "options": record.options,
            "threshold": record.route.as_ref().map(|route| route.fit.threshold),
            "sealed": record.route.as_ref().map(|route| &route.fit.sealed),
            "report": record.report,
            "tested": record.tested,
            "shortfall": record.shortfall,
            "file": file,
            "lowered": !lowered.is_empty(),
            "html": html,
        });
        Ok(Done::new("sprat.route-fit/1", body, page).refused_by(refused))
    }

    pub(crate) fn fit_options(&self) -> FitOptions {
        let route = &self.settings.route;
        FitOptions {
            failure: match route.failure {
                RouteFailure::Wrong => Failure::Wrong,
                RouteFailure::Regret => Failure::Regret,
            },
            bound: Bound { alpha: route.alpha, delta: route.delta },
            fit_share: FIT_SHARE,
            calibration_share: CALIBRATION_SHARE,
            seed: route.seed,
        }
    }

    /// The large model that is asked for its grades, if one is.
    fn large_to_ask(
        &self,
        asked: &RouteFitOptions,
    ) -> Result<Option<&sprat_task::settings::Candidate>> {
        let wrong = |field: &str, what: &str| {
            Err(Error::new(&sprat_route::codes::SETTINGS, what).field(field.to_owned()))
        };
        let needed = asked.traces || self.settings.route.failure == RouteFailure::Regret;
        let named = self.settings.route.large.first();
        let large = match named {
            Some(name) if !asked.gold_only => Some(self.large_candidate(name)?),
            _ => None,
        };
        debug_assert!(large.is_none_or(is_hosted));
        if needed && large.is_none() {
            let what = "agreement and regret need the large model's answers, and none is asked";
            return wrong("route.large", what);
        }
        if large.is_some() && self.settings.needs.privacy == Privacy::OnPremise {
            let what = "requests may not leave the user's machines: fit with --gold-only";
            return wrong("needs.privacy", what);
        }
        Ok(large)
    }

    /// A judge that is to grade can be asked.
    fn check_judge(&self) -> Result<()> {
        let judge = &self.settings.judge;
        let wrong = |field: &str, what: &str| {
            Error::new(&sprat_route::codes::SETTINGS, what).field(field.to_owned())
        };
        if judge.model.is_none() {
            let what =
                "the settings name no judge; one compares free texts, of `kind = \"generate\"`";
            let help = "Name a hosted candidate under `judge.model`.";
            return Err(wrong("judge.model", what).help(help));
        }
        if self.settings.needs.privacy == Privacy::OnPremise {
            let what = "requests may not leave the user's machines, so no judge can be asked";
            return Err(wrong("needs.privacy", what));
        }
        Ok(())
    }

    fn rows_to_grade(&self, asked: &RouteFitOptions, prepared: &Prepared) -> Result<Rows> {
        let personal = self.settings.route.keep_personal;
        if asked.traces {
            let texts = self.traced_texts(TRACED)?;
            let source = format!("{} texts of the traces", texts.len());
            return Ok(Rows::ungraded(&texts, source, personal));
        }
        let of = |data, source| Rows::of(data, source, &prepared.train, personal);
        match &asked.data {
            Some(path) => {
                let data = self.labelled_file(path)?;
                Ok(of(&data, path.display().to_string()))
            }
            None => Ok(of(&prepared.validation, "the validation part".into())),
        }
    }

    /// The work itself.
    fn fitted(
        &self,
        subject: &Subject,
        prepared: &Prepared,
        mut rows: Rows,
        large: Option<&sprat_task::settings::Candidate>,
        judge: bool,
    ) -> Result<FitRecord> {
        let options = self.fit_options();
        let (policy, score) = (self.settings.route.policy, self.settings.route.score);
        let opened = self.opened(subject)?;
        let said = self.small_says(opened.generator.as_ref(), &rows)?;
        let large_answers = match large {
            Some(candidate) => Some(self.large_says(
                candidate,
                opened.generator.labels(),
                &rows,
                options.failure,
            )?),
            None => None,
        };
        let answers = large_answers.as_deref();
        let (worth, judge) = match judge {
            true => {
                let (worth, report) = self.worth_by_judge(&rows, &said, answers)?;
                (worth, Some(report))
            }
            false => (self.worth_by_answers(prepared, &rows, &said, answers)?, None),
        };
        let mut grades = self.grades(&mut rows, &said, answers, &worth)?;
        drop_ungraded(&mut grades, options.failure);
        rows.counts.graded = grades.rows.len() as u64;
        let head = match policy {
            RoutePolicy::After => None,
            RoutePolicy::Before => Some(self.head(&opened, &rows, &mut grades, options)?),
        };
        let result = sprat_route::fit(&grades.rows, &grades.scores, options)?;
        let small_pricing = Pricing::Machine {
            usd_per_hour: self.settings.cost.usd_per_machine_hour,
            requests_per_s: said.requests_per_s,
            utilisation: self.settings.cost.utilization,
        };
        let prices = (small_pricing.usd_per_1000(), grades.large_usd.map(|usd| usd * 1e3));
        let view = View {
            rows: &rows,
            grades: &grades,
            options,
            asks_small: asks_small(policy, self.settings.route.encoder.as_ref()),
            large: large.map(|candidate| candidate.model.clone()),
            judge,
            prices,
        };
        let head_alone = head.as_ref().map(|head| head.head.clone());
        Ok(match result {
            Fitted::Route(fit) => {
                let report = view.report(Some(&fit));
                let tested = fit.tested.clone();
                let parts = (*fit, head, report.clone());
                let route = FittedRoute::new(&subject.name, subject.digest, (policy, score), parts);
                let (route, shortfall) = (Some(route), None);
                FitRecord { options, route, report, tested, shortfall, head: head_alone }
            }
            Fitted::Refused { shortfall, tested } => {
                let (report, shortfall) = (view.report(None), Some(shortfall));
                FitRecord { options, route: None, report, tested, shortfall, head: head_alone }
            }
        })
    }

    /// The large model's answers, each asked once; where it is not needed for every row, no more
    /// rows than the candidate's `max_examples`.
    fn large_says(
        &self,
        candidate: &sprat_task::settings::Candidate,
        labels: &[String],
        rows: &Rows,
        failure: Failure,
    ) -> Result<Vec<Option<LargeAnswer>>> {
        let mut large = Large::open(self, candidate, labels)?;
        let all = rows.texts.len();
        let most = match failure {
            Failure::Regret => all,
            Failure::Wrong => candidate.max_examples.min(all),
        };
        let chosen: Vec<usize> = (0..most).map(|at| at * all / most.max(1)).collect();
        let texts: Vec<&str> = chosen.iter().map(|at| rows.texts[*at].as_str()).collect();
        let mut answers = vec![None; all];
        for (at, answer) in chosen.into_iter().zip(large.answers(&texts)?) {
            answers[at] = answer;
        }
        Ok(answers)
    }

    /// Trains the difficulty head on the fit part, and gives every row its score.
    fn head(
        &self,
        opened: &Opened,
        rows: &Rows,
        grades: &mut Grades,
        options: FitOptions,
    ) -> Result<FittedHead> {
        let encoder = self.before_encoder(opened)?;
        let texts: Vec<&String> = grades.at.iter().map(|at| &rows.texts[*at]).collect();
        let embeddings = self.embeddings(encoder.as_ref(), &texts)?;
        let fit = options.parts(&grades.rows).fit;
        let chosen: Vec<Graded> = fit.iter().map(|at| grades.rows[*at]).collect();
        let good: Vec<bool> =
            chosen.iter().map(|row| row.fails(options.failure) == Some(false)).collect();
        let views: Vec<&[f32]> = fit.iter().map(|at| embeddings[*at].as_slice()).collect();
        let trained = Head::train(&chosen, &good, &views, options.seed, &self.interrupt)?;
        // Scores are compared in single precision when requests are served.
        let single = |score: f64| f64::from(score as f32);
        grades.scores = embeddings.iter().map(|row| single(trained.head.score(row))).collect();
        for (at, score) in fit.iter().zip(&trained.scores) {
            grades.scores[*at] = single(*score);
        }
        Ok(FittedHead {
            head: trained.head,
            encoder: self.settings.route.encoder.clone(),
            encoder_digest: self.encoder_digest()?,
        })
    }

    /// The embeddings of texts, through the engine that serves.
    fn embeddings(&self, encoder: &dyn Embedder, texts: &[&String]) -> Result<Vec<Vec<f32>>> {
        self.progress.start("embedding the requests", Some(texts.len() as u64), "requests");
        let mut waiting = VecDeque::new();
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            self.interrupt.check()?;
            if waiting.len() >= WINDOW
                && let Some(first) = waiting.pop_front()
            {
                vectors.push(receive(first)?);
                self.progress.advance(1);
            }
            waiting.push_back(encoder.submit((*text).clone(), None)?);
        }
        for pending in waiting {
            vectors.push(receive(pending)?);
            self.progress.advance(1);
        }
        self.progress.finish();
        Ok(vectors)
    }
}

fn receive(pending: sprat_infer::PendingEmbedding) -> Result<Vec<f32>> {
    Ok(pending.wait_until(None)?.vector)
}

/// Leaves out the rows that can't be judged for want of the large model's grade.
fn drop_ungraded(grades: &mut Grades, failure: Failure) {
    let known: Vec<bool> = grades.rows.iter().map(|row| row.fails(failure).is_some()).collect();
    let mut keep = known.iter();
    grades.rows.retain(|_| *keep.next().unwrap_or(&false));
    let mut keep = known.iter();
    grades.scores.retain(|_| *keep.next().unwrap_or(&false));
    let mut keep = known.iter();
    grades.at.retain(|_| *keep.next().unwrap_or(&false));
}

/// What is missing, as an error with exit code 3.
fn refusal(record: &FitRecord) -> Error {
    let bound = record.options.bound;
    let what = format!(
        "the graded requests can't support a failure rate of at most {} with probability {}",
        bound.alpha,
        1.0 - bound.delta
    );
    let error = Error::new(&codes::ROUTE_REFUSED, what);
    let Some(shortfall) = record.shortfall else { return error };
    let rate = sprat_report::number::percent(shortfall.lowest_rate);
    let share = sprat_report::number::percent(shortfall.share);
    let graded = record.report.rows.graded;
    match more_needed(record) {
        Some(more) => error
            .why(format!(
                "{graded} graded requests are too few: the lowest failure rate seen, about {rate} \
                 among the {share} that score highest, is not far enough below {}",
                bound.alpha
            ))
            .help(format!(
                "About {more} more graded requests would do (with a chance of 80 % if the rates \
                 are what they seem){}; or allow more failures: --alpha.",
                match record.report.judge {
                    Some(_) => ", within `judge.rows`",
                    None => "",
                }
            )),
        None => error
            .why(format!(
                "at every threshold the failure rate seems to be above {}: the lowest is about \
                 {rate}, among the {share} that score highest",
                bound.alpha
            ))
            .help(
                "No number of graded requests will do. Allow more failures (--alpha), or tune a \
                   better small model.",
            ),
    }
}

/// How many more graded requests the bound takes, of all parts together.
pub(crate) fn more_needed(record: &FitRecord) -> Option<u64> {
    let needed = record.shortfall?.calibration_rows? as f64 / record.options.calibration_share;
    Some((needed.ceil() as u64).saturating_sub(record.report.rows.graded).max(1))
}
