//! `sprat tune`: the base model on the clean training part, stopped early on the validation part.

use crate::prepare::Prepared;
use crate::project::short_name;
use crate::step::Stepped;
use crate::{Done, Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_hub::Pulled;
use sprat_model::BaseModel;
use sprat_registry::Tree;
use sprat_report::chart::{Axis, Lines, Series, Unit};
use sprat_report::{Page, number};
use sprat_task::settings::{Candidate, Method, Tune};
use sprat_task::{Digest, Error, Result};
use sprat_train::{Job, MODEL_FOLDER, Outcome, Point};
use std::path::PathBuf;

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TuneRecord {
    /// The candidate's name.
    pub(crate) name: String,
    /// The base model.
    pub(crate) base: Base,
    /// The digest of the run's artefact: the same recipe on the same data gives the same.
    pub(crate) artefact: Digest,
    /// The trainer's record.
    pub(crate) outcome: Outcome,
}

/// A base model, pinned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Base {
    /// The reference.
    pub(crate) reference: String,
    /// The digest of its files.
    pub(crate) digest: Digest,
    /// Where it lies on this machine.
    pub(crate) dir: PathBuf,
}

impl Base {
    pub(crate) fn of(candidate: &Candidate, pulled: &Pulled) -> Self {
        Base { reference: candidate.model.clone(), digest: pulled.digest, dir: pulled.dir.clone() }
    }

    pub(crate) fn for_manifest(&self) -> BaseModel {
        BaseModel { reference: self.reference.clone(), digest: self.digest.to_string() }
    }
}

impl Stepped<TuneRecord> {
    /// The tuned classifier's folder.
    pub(crate) fn model(&self) -> PathBuf {
        self.folder.join(MODEL_FOLDER)
    }
}

impl Project {
    /// Tunes the base candidate as the settings say; a run that has finished on the same data
    /// with the same recipe is not repeated, one that was stopped goes on.
    ///
    /// # Errors
    /// Those of the data gate and of the trainer.
    pub(crate) fn tuned(&self, prepared: &Prepared) -> Result<Stepped<TuneRecord>> {
        let candidate = self.base_candidate()?.clone();
        self.trained(&candidate, &self.settings.tune, prepared)
    }

    /// A new head on a candidate's frozen embeddings: the candidate as it is, measured fairly.
    ///
    /// # Errors
    /// Those of the trainer.
    pub(crate) fn frozen(
        &self,
        candidate: &Candidate,
        prepared: &Prepared,
    ) -> Result<Stepped<TuneRecord>> {
        let recipe = Tune {
            method: Method::Head,
            budget: None,
            learning_rate: None,
            ..self.settings.tune.clone()
        };
        self.trained(candidate, &recipe, prepared)
    }

    /// Trains a candidate by a recipe.
    ///
    /// # Errors
    /// Those of the trainer.
    pub(crate) fn trained(
        &self,
        candidate: &Candidate,
        recipe: &Tune,
        prepared: &Prepared,
    ) -> Result<Stepped<TuneRecord>> {
        let pulled = self.fetched(&candidate.model)?;
        let base = Base::of(candidate, &pulled);
        let train = prepared.train();
        let valid = prepared.validation();
        let recipe_digest = sprat_train::recipe_digest(recipe);
        let inputs = json!({
            "base": base.digest,
            "train": sprat_train::data_digest(&train, prepared.labels()),
            "validation": sprat_train::data_digest(&valid, prepared.labels()),
            "recipe": recipe_digest,
            // A search may choose other settings than the recipe's own.
            "budget": recipe.budget.map(|budget| budget.to_string()),
        });
        self.steps().run("tune", &inputs, |folder| {
            let base_model = base.for_manifest();
            let cache = self.state.join("embeddings");
            std::fs::create_dir_all(&cache)
                .map_err(|why| Error::io(&codes::WRITE, "make a folder", &cache, &why))?;
            let outcome = sprat_train::tune(&Job {
                base: &base.dir,
                base_model: &base_model,
                train: &train,
                valid: &valid,
                labels: prepared.labels(),
                recipe,
                folder,
                cache: Some(&cache),
                progress: self.progress.as_ref(),
                interrupt: &self.interrupt,
            })?;
            let artefact = Tree::of_folder(&folder.join(MODEL_FOLDER))?.digest();
            Ok(TuneRecord { name: short_name(candidate), base, artefact, outcome })
        })
    }

    /// `sprat tune`.
    ///
    /// # Errors
    /// Those of the data gate and of the trainer.
    pub fn tune(&self) -> Result<Done> {
        if self.writes()? {
            return self.tune_writer();
        }
        let prepared = self.prepared()?;
        let tuned = self.tuned(&prepared)?;
        let page = page(&tuned);
        page.write(&self.reports().join("tune.html"))?;
        let body = json!({
            "skipped": tuned.skipped,
            "folder": tuned.model(),
            "artefact": tuned.value.artefact,
            "base": tuned.value.base,
            "outcome": tuned.value.outcome,
        });
        Ok(Done::new("sprat.tune/1", body, page))
    }
}

/// The run for people: what was trained, how it went, what came out.
fn page(tuned: &Stepped<TuneRecord>) -> Page {
    let outcome = &tuned.value.outcome;
    let recipe = &outcome.recipe;
    let method = match recipe.method {
        Method::Head => "a head on frozen embeddings".to_string(),
        Method::Lora => format!("LoRA, rank {}, alpha {}", recipe.rank, recipe.alpha),
        Method::Full => "full fine-tuning".to_string(),
    };
    let share = number::percent(outcome.trainable_share());
    let gain = outcome.validation.accuracy - outcome.frozen_head.accuracy;
    let mut facts = vec![
        ("base".to_string(), tuned.value.base.reference.clone()),
        ("method".into(), method),
        ("learning rate".into(), recipe.learning_rate.map_or("–".into(), number::significant)),
        (
            "trained weights".into(),
            format!(
                "{} of {} ({share})",
                number::count(outcome.trainable_parameters),
                number::count(outcome.total_parameters)
            ),
        ),
        (
            "examples".into(),
            format!("{} to train, {} to validate", outcome.train_examples, outcome.valid_examples),
        ),
        (
            "steps".into(),
            format!(
                "{} of {} planned, best at {}",
                outcome.steps, outcome.planned_steps, outcome.best_step
            ),
        ),
        (
            "validation accuracy".into(),
            format!(
                "{} (frozen head {}, {})",
                number::percent(outcome.validation.accuracy),
                number::percent(outcome.frozen_head.accuracy),
                number::points(gain),
            ),
        ),
        ("temperature".into(), number::significant(outcome.temperature)),
        ("time".into(), number::duration(outcome.seconds)),
    ];
    if let Some(peak) = outcome.peak_memory_bytes {
        facts.push(("peak memory".into(), number::bytes(peak)));
    }
    if let Some(found) = &outcome.search {
        facts.push(("search".into(), format!("{} trials", found.trials.len())));
    }
    facts.push(("artefact".into(), tuned.value.artefact.short()));
    let title = if tuned.skipped { "Tune (nothing had changed)" } else { "Tune" };
    let chart = losses(
        &outcome.history,
        |point| point.validation.as_ref().map(|m| m.loss),
        (outcome.best_step, outcome.validation.loss),
    );
    Page::new(title).facts(facts).chart(chart).list(outcome.notes.clone())
}

/// The losses over the steps, with the weights that were kept marked.
pub(crate) fn losses<M>(
    history: &[Point<M>],
    validated: impl Fn(&Point<M>) -> Option<f64>,
    (step, loss): (u64, f64),
) -> Lines {
    let points = |y: &dyn Fn(&Point<M>) -> Option<f64>| {
        history.iter().filter_map(|p| Some((p.step as f64, y(p)?))).collect()
    };
    Lines {
        title: "Loss over the steps".into(),
        x: Axis::new("step", Unit::Count),
        y: Axis::new("loss (nats)", Unit::Number),
        series: vec![
            Series { name: "training".into(), points: points(&|p| p.train_loss) },
            Series { name: "validation".into(), points: points(&validated) },
        ],
        marked: Some((step as f64, loss, "kept".into())),
    }
}
