//! `sprat watch calibrate`: how often the watch cries wolf on the user's own clean requests, and
//! how soon it finds shifts that are planted in them. [`rows`] collects the requests, [`replay`]
//! puts them through watches, [`report`] says what came out.

mod replay;
mod report;
mod rows;

use crate::{Done, Project, bundle};
use replay::World;
use sprat_model::Classifier;
use sprat_task::Result;
use std::path::PathBuf;

/// What is measured.
#[derive(Clone, Debug)]
pub struct CalibrateOptions {
    /// Labelled rows instead of traces.
    pub data: Option<PathBuf>,
    /// Clean requests: the rows in random order, again in another one until there are so many.
    pub requests: u64,
    /// How often each shift is planted.
    pub rounds: usize,
    /// Where the HTML report goes.
    pub html: Option<PathBuf>,
}

impl Project {
    /// Replays clean requests through a watch and plants shifts in them.
    ///
    /// # Errors
    /// `SPRAT-WATCH-NOTHING`, `SPRAT-WATCH-FEW`; those of the data, the traces and the model.
    pub fn watch_calibrate(&self, options: &CalibrateOptions) -> Result<Done> {
        let model = self.watched_classifier()?;
        let clean = self.clean_rows(options, model.as_ref())?;
        let history = (self.settings.watch.history as usize).min(clean.rows.len() / 2);
        let mut notes = Vec::new();
        let world = World {
            project: self,
            shifted: self.shifted(&clean.rows, model.as_ref(), &mut notes)?,
            clean,
            history,
            setup: self.watch_setup()?,
        };
        let rate = world.false_alarms(options.requests)?;
        let in_order = world.in_order();
        let delays = world.delays(options.rounds.max(1), &mut notes)?;
        world.done(options, &rate, in_order.as_ref(), &delays, notes)
    }

    /// The promoted classifier; none where there is none, or it writes.
    fn watched_classifier(&self) -> Result<Option<Classifier>> {
        let Some(version) = self.current()? else { return Ok(None) };
        let folder = self.registry.checkout(&version)?;
        bundle::is_bundle(&folder).then(|| bundle::open(&folder)).transpose()
    }
}
