//! What is served: the promoted release, followed as its alias moves, or one fixed model.

use sprat_flow::Project;
use sprat_infer::{EncoderEmbedder, EncoderEngine, Generator};
use sprat_serve::{Served, Source};
use sprat_task::{Result, Timestamp};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The source of the served models.
pub(super) struct Releases {
    // The registry's connection is not shared between threads.
    project: Mutex<Project>,
    fixed: Option<String>,
    task: String,
    abstain: f32,
}

/// What a reference stands for now.
struct Target {
    name: String,
    aliases: Vec<String>,
    created: Timestamp,
    folder: PathBuf,
}

impl Releases {
    /// `fixed`: the model that was asked for; without it the settings' alias is followed.
    pub(super) fn new(project: Project, fixed: Option<String>) -> Self {
        let task = project.task().to_string();
        let abstain = project.settings.task.abstain_below as f32;
        Releases { project: Mutex::new(project), fixed, task, abstain }
    }

    fn reference(&self, project: &Project) -> String {
        match &self.fixed {
            Some(fixed) => fixed.clone(),
            None => format!("{}@{}", self.task, project.settings.release.alias),
        }
    }

    fn target(&self, project: &Project) -> Result<Target> {
        let reference = self.reference(project);
        let path = PathBuf::from(reference.trim_start_matches("file:"));
        if sprat_flow::is_tuned(&path) {
            return Ok(Target {
                name: format!("{}@{}", self.task, path.display()),
                aliases: Vec::new(),
                created: Timestamp(0),
                folder: path,
            });
        }
        let version = project.version(&reference)?;
        let mut aliases = vec![version.to_string(), reference];
        aliases.retain(|alias| *alias != self.task);
        aliases.dedup();
        Ok(Target {
            name: version.to_string(),
            aliases,
            created: version.created,
            folder: project.registry.checkout(&version)?,
        })
    }
}

impl Source for Releases {
    fn revision(&self) -> Result<u64> {
        let project = self.project.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fixed.is_some() {
            return Ok(0);
        }
        let alias = project.registry.alias(&self.task, &project.settings.release.alias)?;
        let Some(alias) = alias else { return Ok(0) };
        // The alias's own counter grows with every move.
        Ok(alias.revision)
    }

    fn load(&self, present: &[Arc<Served>]) -> Result<Vec<Arc<Served>>> {
        let project = self.project.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fixed) = &self.fixed
            && let Some(writer) = project.writer(fixed)?
        {
            let version = writer.name().to_owned();
            return Ok(vec![Arc::new(Served {
                id: version.split('@').next().unwrap_or(&version).to_owned(),
                aliases: vec![version.clone()],
                version,
                created: Timestamp(0),
                generator: Some(Arc::new(writer)),
                embedder: None,
                threshold: None,
            })]);
        }
        let target = self.target(&project)?;
        if let Some(same) = present.iter().find(|served| served.version == target.name) {
            return Ok(vec![Arc::clone(same)]);
        }
        let threshold = (self.abstain > 0.0).then_some(self.abstain);
        if sprat_flow::is_writer(&target.folder) {
            let generator = project.local(&target.name, &target.folder)?;
            return Ok(vec![Arc::new(Served {
                id: self.task.clone(),
                aliases: target.aliases,
                version: target.name,
                created: target.created,
                generator: Some(generator),
                embedder: None,
                threshold,
            })]);
        }
        let model = Arc::new(sprat_flow::open_bundle(&target.folder)?);
        let limits = project.limits();
        let embedder = EncoderEmbedder::start(&*target.name, model.clone(), limits)?;
        let generator: Arc<dyn Generator> =
            Arc::new(EncoderEngine::start(&*target.name, model, limits)?);
        Ok(vec![Arc::new(Served {
            id: self.task.clone(),
            aliases: target.aliases,
            version: target.name,
            created: target.created,
            generator: Some(generator),
            embedder: Some(Arc::new(embedder)),
            threshold,
        })])
    }
}
