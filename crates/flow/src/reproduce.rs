//! `sprat reproduce`: a version's recipe run again from its recorded inputs, and the bits compared.

use crate::prepare::Prepared;
use crate::project::short_name;
use crate::tune::Base;
use crate::{Done, Project, bundle, codes};
use serde_json::json;
use sprat_model::Stored;
use sprat_registry::{Tree, Version};
use sprat_report::{Page, Table, Tone};
use sprat_task::settings::{Settings, Tune};
use sprat_task::{Digest, Error, Result};
use std::path::Path;

impl Project {
    /// Runs the version's recipe again, away from all cached steps, and compares the digests.
    ///
    /// # Errors
    /// `SPRAT-FLOW-INPUTS-GONE` when the data or the base model is another one now; those of the
    /// steps.
    pub fn reproduce(mut self, reference: &str) -> Result<Done> {
        let version = self.version(reference)?;
        let recipe = self.recall(&version)?;
        let prepared = self.prepared()?;
        same("data", version.content.data, prepared.data)?;
        same("split", version.content.split, prepared.split)?;
        let work = tempfile::tempdir_in(&self.state)
            .map_err(|why| Error::io(&codes::WRITE, "make a folder", &self.state, &why))?;
        let folder = self.make_again(&version, &recipe, &prepared, work.path())?;
        let again = Tree::of_folder(&folder)?;
        let recorded = &version.content.artefact;
        let mut table = Table::new("Files", &["file", "recorded", "again", "verdict"]);
        let mut names: Vec<&String> = recorded.0.keys().chain(again.0.keys()).collect();
        names.sort();
        names.dedup();
        for file in names {
            let digest = |tree: &Tree| {
                tree.0.get(file).map_or("–".to_string(), |file| file.digest.short())
            };
            let (before, after) = (digest(recorded), digest(&again));
            let verdict = if before == after { "same bits" } else { "different" };
            table.push([file.clone(), before, after, verdict.to_string()]);
        }
        let reproduced = recorded.digest() == again.digest();
        let page = Page::new(format!("Reproduce {version}")).table(table);
        let (page, refused) = if reproduced {
            (page.verdict(Tone::Good, "reproduced bit for bit"), None)
        } else {
            let error = Error::new(&codes::NOT_REPRODUCED, format!("{version} came out different"));
            (page.verdict(Tone::Bad, "the bits differ"), Some(error))
        };
        let body = json!({
            "version": version.to_string(),
            "reproduced": reproduced,
            "recorded": recorded.digest(),
            "again": again.digest(),
        });
        Ok(Done::new("sprat.reproduce/1", body, page).refused_by(refused))
    }

    /// Puts the version's settings in the place of the file's, and gives its recipe.
    fn recall(&mut self, version: &Version) -> Result<Tune> {
        let damaged = |why: serde_json::Error| {
            Error::new(&codes::READ, "the version's settings can't be read").why(why.to_string())
        };
        let recorded = &version.content.settings;
        let mut settings: Settings =
            serde_json::from_value(recorded["settings"].clone()).map_err(damaged)?;
        settings.folder.clone_from(&self.settings.folder);
        self.settings = settings;
        serde_json::from_value(recorded["recipe"].clone()).map_err(damaged)
    }

    fn make_again(
        &self,
        version: &Version,
        recipe: &Tune,
        prepared: &Prepared,
        work: &Path,
    ) -> Result<std::path::PathBuf> {
        let candidate = self.base_candidate()?;
        let pulled = self.fetched(&candidate.model)?;
        same("base model", version.content.base.digest, pulled.digest)?;
        let variant = version.content.settings["variant"].as_str();
        if self.writes()? {
            let base = Base::of(candidate, &pulled);
            let run = work.join("run");
            self.make_writer((short_name(candidate), base), recipe, prepared, &run)?;
            let to = work.join("shrunk");
            return self.released_bundle(&run, variant, &prepared.train, &to);
        }
        let base_model = sprat_model::BaseModel {
            reference: candidate.model.clone(),
            digest: pulled.digest.to_string(),
        };
        let run = work.join("run");
        sprat_train::train(&sprat_train::Job {
            base: &pulled.dir,
            base_model: &base_model,
            train: &prepared.train(),
            valid: &prepared.validation(),
            labels: prepared.labels(),
            recipe,
            folder: &run,
            cache: None,
            progress: self.progress.as_ref(),
            interrupt: &self.interrupt,
        })?;
        let full = work.join("full");
        bundle::assemble(&run.join(sprat_train::MODEL_FOLDER), &pulled.dir, &full)?;
        let stored = match variant {
            Some("int8") => Stored::Int8,
            Some("bf16") => Stored::Bf16,
            _ => return Ok(full),
        };
        let shrunk = work.join("shrunk");
        bundle::shrink(&full, stored, &shrunk)?;
        Ok(shrunk)
    }
}

fn same(what: &str, recorded: Digest, now: Digest) -> Result<()> {
    if recorded == now {
        return Ok(());
    }
    let message = format!("the {what} is not what the version was made from");
    Err(Error::new(&codes::INPUTS_GONE, message).why(format!(
        "recorded is {}, here is {}",
        recorded.short(),
        now.short()
    )))
}
