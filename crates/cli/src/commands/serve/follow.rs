//! What is served: the promoted release, followed as its alias moves, or fixed models, with
//! adapters beside a base model.

use super::shadow::Recorded;
use super::traces;
use serde_json::{Value, json};
use sprat_flow::{AdapterRef, Came, Project, RouteState, Subject};
use sprat_infer::{DecoderModel, Embedder, Generator};
use sprat_monitor::Recorder;
use sprat_route::Upstreams;
use sprat_route::policy::shadow::Shadow;
use sprat_route::policy::split::{Part, Split};
use sprat_serve::{Served, Shadowed, Source};
use sprat_task::{Result, SystemClock, Timestamp};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The source of the served models.
pub(super) struct Releases {
    // The registry's connection is not shared between threads.
    project: Mutex<Project>,
    fixed: Vec<String>,
    adapters: Vec<AdapterRef>,
    /// The large models behind whatever is served: they outlive each of its versions.
    large: Option<Arc<Upstreams>>,
    /// Where traces go, and the comparisons of shadowed requests.
    recorder: Arc<Recorder>,
    /// The tuned models that are open, the one that was asked for first before all others.
    open: Mutex<Vec<Answering>>,
    /// Everything that asked large models in the background since the start, by version: what was
    /// counted must not fall when an alias moves.
    shadows: Mutex<Vec<(String, Arc<Shadow>)>>,
    /// A canary could not be opened, and what is served goes on without it.
    lacking: AtomicBool,
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
    aliases: Vec<String>,
    created: Timestamp,
    subject: Subject,
}

impl Releases {
    /// `fixed`: the models that were asked for; without any the settings' alias is followed.
    ///
    /// # Errors
    /// Those of the route's settings and of the traces' file.
    pub(super) fn new(
        project: Project,
        fixed: Vec<String>,
        adapters: Vec<AdapterRef>,
    ) -> Result<Self> {
        let recorder = Arc::new(traces::recorder(&project, Arc::new(SystemClock))?);
        let large = project.upstreams(Arc::new(SystemClock))?;
        Ok(Releases {
            project: Mutex::new(project),
            fixed,
            adapters,
            large,
            recorder,
            open: Mutex::default(),
            shadows: Mutex::default(),
            lacking: AtomicBool::new(false),
        })
    }

    /// Where traces go.
    pub(super) fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.recorder)
    }

    /// The document of `/v1/route`, as of now: of the first model's route.
    pub(super) fn route(&self) -> Option<Value> {
        lock(&self.open).first().and_then(|first| first.route.as_ref()).map(RouteState::document)
    }

    /// What became of shadowed requests since the start.
    pub(super) fn shadowed(&self) -> Vec<Shadowed> {
        let mut counts: BTreeMap<(String, &str), u64> = BTreeMap::new();
        for (version, shadow) in lock(&self.shadows).iter() {
            for (outcome, count) in shadow.counts().outcomes() {
                *counts.entry((version.clone(), outcome)).or_default() += count;
            }
        }
        let one = |((version, outcome), count)| Shadowed { version, outcome, count };
        counts.into_iter().map(one).collect()
    }

    /// The project, for as long as the guard lives.
    pub(super) fn project(&self) -> MutexGuard<'_, Project> {
        lock(&self.project)
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
                Place::Tuned(target) if target.subject.name == new.subject.name => Some(target),
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
        let subject = project.subject(Some(reference))?;
        return Ok(Target { task, aliases: Vec::new(), created: Timestamp(0), subject });
    }
    let version = project.version(reference)?;
    Ok(Target {
        task: version.task.clone(),
        aliases: vec![version.to_string(), reference.to_owned()],
        created: version.created,
        subject: project.subject(Some(&version.to_string()))?,
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

impl Releases {
    /// A small model that answers, with the large ones behind it where there are any: the one that
    /// is open already, or a new one, which then stands in `open`.
    fn answering(
        &self,
        project: &Project,
        subject: &Subject,
        came: Came,
        open: &mut Vec<Answering>,
    ) -> Result<Answering> {
        let known = |all: &[Answering]| all.iter().find(|one| one.name == subject.name).cloned();
        if let Some(known) = known(open) {
            return Ok(known);
        }
        // A statement of its own gives the lock back: `/v1/route` must not wait while a model is
        // opened.
        let before = known(&lock(&self.open));
        let answering = match before {
            Some(known) => known,
            None => self.opened(project, subject, came)?,
        };
        open.push(answering.clone());
        Ok(answering)
    }

    fn opened(&self, project: &Project, subject: &Subject, came: Came) -> Result<Answering> {
        let opened = project.opened(subject)?;
        let name = subject.name.clone();
        let Some(large) = &self.large else {
            let (generator, embedder) = (opened.generator, opened.embedder);
            return Ok(Answering { name, generator, embedder, route: None });
        };
        let sink =
            Arc::new(Recorded::new(Arc::clone(&self.recorder), project.task(), &subject.name));
        let (routed, state) = project.routed(subject, &opened, large, Some(sink), came)?;
        if let Some(shadow) = state.shadow() {
            lock(&self.shadows).push((subject.name.clone(), Arc::clone(shadow)));
        }
        if let Some(why) = state.unfitted() {
            tracing::warn!(model = subject.name, why, "run `sprat route fit`");
        }
        let (embedder, route) = (opened.embedder, Some(state));
        Ok(Answering { name, generator: routed, embedder, route })
    }

    /// A tuned model under `id`, with the versions of a split and a canary beside it.
    fn tuned(
        &self,
        project: &Project,
        target: Target,
        id: String,
        beside: &[Beside],
        came: Came,
        open: &mut Vec<Answering>,
    ) -> Result<Arc<Served>> {
        let Target { mut aliases, created, subject, .. } = target;
        let mut seen = std::collections::HashSet::from([id.clone()]);
        aliases.retain(|alias| seen.insert(alias.clone()));
        let abstain = project.settings.task.abstain_below as f32;
        let threshold = (abstain > 0.0).then_some(abstain);
        let Answering { mut generator, embedder, .. } =
            self.answering(project, &subject, came, open)?;
        let mut parts = Vec::new();
        for Beside { subject: other, share, canary } in beside {
            // A version that was promoted is no part of its own any more.
            if other.name == subject.name {
                continue;
            }
            // A canary came by itself, and can't stop what is served without it.
            let came = if *canary { Came::Moved } else { came };
            match self.answering(project, other, came, open) {
                Ok(Answering { generator: model, .. }) => {
                    parts.push(Part { name: other.name.clone(), share: *share, model });
                }
                Err(error) if *canary => {
                    self.lacking.store(true, Ordering::Relaxed);
                    tracing::error!(code = error.code().id, %error, "the canary is not served");
                }
                Err(error) => return Err(error),
            }
        }
        if !parts.is_empty() {
            let (name, sticky) = (subject.name.as_str(), project.settings.route.sticky);
            generator = Arc::new(Split::new(name, generator, parts, sticky)?);
        }
        let (version, generator) = (subject.name, Some(generator));
        Ok(Arc::new(Served { id, aliases, version, created, generator, embedder, threshold }))
    }
}

impl Releases {
    /// The versions beside the one that is followed: those of the settings, and a canary.
    fn beside(&self, project: &Project) -> Result<Vec<Beside>> {
        let of = |canary| move |(subject, share)| Beside { subject, share, canary };
        let mut all: Vec<Beside> = project.split_versions()?.into_iter().map(of(false)).collect();
        match project.canary_part() {
            Ok(Some(canary)) if all.iter().all(|one| one.subject.name != canary.0.name) => {
                all.push(of(true)(canary));
            }
            Ok(_) => {}
            Err(error) => {
                self.lacking.store(true, Ordering::Relaxed);
                tracing::error!(code = error.code().id, %error, "the canary is not served");
            }
        }
        Ok(all)
    }
}

/// A version beside the served one.
struct Beside {
    subject: Subject,
    share: f64,
    canary: bool,
}

/// A tuned model that is open.
#[derive(Clone)]
struct Answering {
    /// Its version.
    name: String,
    generator: Arc<dyn Generator>,
    embedder: Option<Arc<dyn Embedder>>,
    route: Option<RouteState>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for Releases {
    fn revision(&self) -> Result<u64> {
        if !self.fixed.is_empty() {
            return Ok(0);
        }
        let project = self.project();
        let alias = project.registry.alias(project.task(), &project.settings.release.alias)?;
        let Some(alias) = alias else { return Ok(0) };
        // Each alias's own counter grows with every move.
        let mut revisions = vec![alias.revision];
        for part in &project.settings.route.split {
            let Some((task, name)) = part.version.split_once('@') else { continue };
            if let Some(beside) = project.registry.alias(task, name)? {
                revisions.push(beside.revision);
            }
        }
        let mut hasher = std::hash::DefaultHasher::new();
        // A canary that can't be read must not keep the aliases from being followed.
        (revisions, json!(project.canary().ok().flatten()).to_string()).hash(&mut hasher);
        Ok(hasher.finish())
    }

    fn load(&self, present: &[Arc<Served>]) -> Result<Vec<Arc<Served>>> {
        let project = self.project();
        self.lacking.store(false, Ordering::Relaxed);
        let references = match &self.fixed[..] {
            [] => vec![format!("{}@{}", project.task(), project.settings.release.alias)],
            fixed => fixed.to_vec(),
        };
        // Known before anything is opened, for opening takes its time.
        let adapted = match self.adapters[..] {
            [] => None,
            _ => Some(project.adapted(&references)?),
        };
        let came = match (present, &self.fixed[..]) {
            ([], []) => Came::Promoted,
            ([], _) => Came::Named,
            _ => Came::Moved,
        };
        // Only the followed release is split: whoever names versions means them.
        let beside = if self.fixed.is_empty() { self.beside(&project)? } else { Vec::new() };
        let mut open = Vec::new();
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
                    // The task's bare name means the first of its versions.
                    let first = models.iter().all(|served| served.id != target.task);
                    let id = if first { &target.task } else { &target.subject.name }.clone();
                    let model = self.tuned(&project, target, id, &beside, came, &mut open)?;
                    models.push(model);
                }
            }
        }
        sprat_serve::unambiguous(&models)?;
        *lock(&self.open) = open;
        Ok(models)
    }

    fn lacking(&self) -> bool {
        self.lacking.load(Ordering::Relaxed)
    }

    fn refresh(&self) -> Result<()> {
        let project = self.project();
        for state in lock(&self.open).iter().filter_map(|one| one.route.as_ref()) {
            if project.refresh_raise(state)? {
                tracing::info!(model = state.model(), "the threshold of the route changed");
            }
        }
        Ok(())
    }
}
