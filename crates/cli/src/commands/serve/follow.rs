//! What is served: the promoted release, followed as its alias moves, or fixed models, with
//! adapters beside a base model.

use sprat_flow::{AdapterRef, Project};
use sprat_infer::{
    DecoderModel, EncoderEmbedder, EncoderEngine, Generator, TextClassifier, WithEmbeddings,
};
use sprat_route::Upstreams;
use sprat_serve::{Served, Source};
use sprat_task::{Result, SystemClock, Timestamp};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The source of the served models.
pub(super) struct Releases {
    // The registry's connection is not shared between threads.
    project: Mutex<Project>,
    fixed: Vec<String>,
    adapters: Vec<AdapterRef>,
    /// The large models behind whatever is served: they outlive each of its versions.
    large: Option<Arc<Upstreams>>,
}

/// What a reference stands for.
enum Place {
    /// A base model that writes, as it is.
    Base(String),
    /// A tuned model.
    Tuned(Target),
}

/// What the reference of a tuned model stands for now.
struct Target {
    task: String,
    name: String,
    aliases: Vec<String>,
    created: Timestamp,
    folder: PathBuf,
}

impl Releases {
    /// `fixed`: the models that were asked for; without any the settings' alias is followed.
    ///
    /// # Errors
    /// Those of the route's settings.
    pub(super) fn new(
        project: Project,
        fixed: Vec<String>,
        adapters: Vec<AdapterRef>,
    ) -> Result<Self> {
        let large = project.upstreams(Arc::new(SystemClock))?;
        Ok(Releases { project: Mutex::new(project), fixed, adapters, large })
    }

    /// The project, for as long as the guard lives.
    pub(super) fn project(&self) -> MutexGuard<'_, Project> {
        self.project.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be served, in the order in which it was asked for. Versions that several
    /// references name stand there once.
    fn places(&self, project: &Project, references: &[String]) -> Result<Vec<Place>> {
        let mut places: Vec<Place> = Vec::new();
        for reference in references {
            if !self.fixed.is_empty() && project.is_writer_as_it_is(reference)? {
                places.push(Place::Base(reference.clone()));
                continue;
            }
            let new = target(project, reference)?;
            let known = places.iter_mut().find_map(|place| match place {
                Place::Tuned(target) if target.name == new.name => Some(target),
                _ => None,
            });
            match known {
                Some(target) => target.aliases.extend(new.aliases),
                None => places.push(Place::Tuned(new)),
            }
        }
        Ok(places)
    }
}

fn target(project: &Project, reference: &str) -> Result<Target> {
    let path = PathBuf::from(reference.trim_start_matches("file:"));
    if sprat_flow::is_tuned(&path) {
        let task = project.task().to_owned();
        let name = format!("{task}@{}", path.display());
        return Ok(Target { task, name, aliases: Vec::new(), created: Timestamp(0), folder: path });
    }
    let version = project.version(reference)?;
    Ok(Target {
        task: version.task.clone(),
        name: version.to_string(),
        aliases: vec![version.to_string(), reference.to_owned()],
        created: version.created,
        folder: project.registry.checkout(&version)?,
    })
}

/// A model that writes, under the first part of its name.
fn written(model: DecoderModel, abstain: f32) -> Arc<Served> {
    let version = model.name().to_owned();
    let chooses = !model.labels().is_empty();
    Arc::new(Served {
        id: version.split('@').next().unwrap_or(&version).to_owned(),
        aliases: vec![version.clone()],
        version,
        created: Timestamp(0),
        generator: Some(Arc::new(model)),
        embedder: None,
        threshold: (chooses && abstain > 0.0).then_some(abstain),
    })
}

/// A tuned model under `id`.
fn tuned(
    project: &Project,
    large: Option<&Arc<Upstreams>>,
    target: Target,
    id: String,
) -> Result<Arc<Served>> {
    let Target { name, mut aliases, created, folder, .. } = target;
    let mut seen = std::collections::HashSet::from([id.clone()]);
    aliases.retain(|alias| seen.insert(alias.clone()));
    let abstain = project.settings.task.abstain_below as f32;
    let threshold = (abstain > 0.0).then_some(abstain);
    let (generator, embedder): (Arc<dyn Generator>, _) = if sprat_flow::is_writer(&folder) {
        (project.local(&name, &folder)?, None)
    } else {
        let model = Arc::new(sprat_flow::open_bundle(&folder)?);
        let limits = project.limits();
        let embedder = EncoderEmbedder::start(&*name, model.clone(), limits)?;
        let classifier: Arc<dyn TextClassifier> =
            if project.sketches() { Arc::new(WithEmbeddings(model)) } else { model };
        (Arc::new(EncoderEngine::start(&*name, classifier, limits)?), Some(Arc::new(embedder) as _))
    };
    let generator = Some(match large {
        Some(large) => project.routed(generator, large)?,
        None => generator,
    });
    Ok(Arc::new(Served { id, aliases, version: name, created, generator, embedder, threshold }))
}

impl Source for Releases {
    fn revision(&self) -> Result<u64> {
        if !self.fixed.is_empty() {
            return Ok(0);
        }
        let project = self.project();
        let alias = project.registry.alias(project.task(), &project.settings.release.alias)?;
        let Some(alias) = alias else { return Ok(0) };
        // The alias's own counter grows with every move.
        Ok(alias.revision)
    }

    fn load(&self, present: &[Arc<Served>]) -> Result<Vec<Arc<Served>>> {
        let project = self.project();
        let references = match &self.fixed[..] {
            [] => vec![format!("{}@{}", project.task(), project.settings.release.alias)],
            fixed => fixed.to_vec(),
        };
        // Known before anything is opened, for opening takes its time.
        let adapted = match self.adapters[..] {
            [] => None,
            _ => Some(project.adapted(&references)?),
        };
        let mut models: Vec<Arc<Served>> = Vec::new();
        for place in self.places(&project, &references)? {
            match place {
                Place::Base(reference) => {
                    let Some(base) = project.writer(&reference)? else { continue };
                    let beside = match adapted == Some(reference.as_str()) {
                        true => project.beside(&reference, &base, &self.adapters)?,
                        false => Vec::new(),
                    };
                    let abstain = project.settings.task.abstain_below as f32;
                    let all = std::iter::once(base).chain(beside);
                    models.extend(all.map(|model| written(model, abstain)));
                }
                Place::Tuned(target) => {
                    let same = present.iter().find(|served| served.version == target.name);
                    if let Some(same) = same {
                        models.push(Arc::clone(same));
                        continue;
                    }
                    // The task's bare name means the first of its versions.
                    let first = models.iter().all(|served| served.id != target.task);
                    let id = if first { &target.task } else { &target.name }.clone();
                    models.push(tuned(&project, self.large.as_ref(), target, id)?);
                }
            }
        }
        sprat_serve::unambiguous(&models)?;
        Ok(models)
    }
}
