//! A canary: a new version that gets a share of the requests beside the promoted one, until so many
//! of them have said nothing against it. Then it is promoted wholly, by the one move of the alias;
//! before that an alarm, what people say of its answers, or a request takes it away.
//!
//! All that is known of it is one file beside the watch's state, which the server follows. It holds
//! only while the alias stands where it stood at the beginning: whoever moves it ends the canary.

mod evidence;

pub(super) use evidence::CanaryState;

use crate::project::{read_json_if_any, write_json};
use crate::versions::who;
use crate::writer::{WriterManifest, is_writer};
use crate::{Done, Project, Subject, codes};
use evidence::Against;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_model::Manifest;
use sprat_monitor::{Alarm, TraceFilter};
use sprat_registry::Version;
use sprat_report::{Page, Tone, number};
use sprat_task::{Error, Result, Timestamp};
use std::path::{Path, PathBuf};

/// The form and version of the file.
const SCHEMA: &str = "sprat.canary/1";
/// The name under which a canary's alarms are raised.
pub(super) const TEST: &str = "canary";

/// A version on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    schema: String,
    /// It, such as `task@v4`.
    pub version: String,
    /// The promoted version that it is to take the place of.
    pub over: String,
    /// The share of the requests that it gets.
    pub share: f64,
    /// After so many answers it is promoted.
    pub requests: u64,
    /// How often the alias had moved: another move ends it.
    revision: u64,
    /// Traces after this position are of its time.
    from: u64,
    /// Since when.
    since: Timestamp,
    who: String,
    why: String,
}

impl Project {
    fn canary_file(&self) -> PathBuf {
        self.watch_folder().join("canary.json")
    }

    fn canary_kept(&self) -> Result<Option<Canary>> {
        let file = self.canary_file();
        let Some(kept) = read_json_if_any::<Canary>(&file)? else { return Ok(None) };
        if kept.schema != SCHEMA {
            let what = "the canary's file is of another version";
            return Err(Error::new(&codes::READ, what).file(&file).why(kept.schema));
        }
        Ok(Some(kept))
    }

    /// The version on trial, while the alias stands where it stood at its beginning.
    ///
    /// # Errors
    /// Those of the file and the registry.
    pub fn canary(&self) -> Result<Option<Canary>> {
        let Some(kept) = self.canary_kept()? else { return Ok(None) };
        Ok((self.alias_revision()? == kept.revision).then_some(kept))
    }

    fn alias_revision(&self) -> Result<u64> {
        let alias = self.registry.alias(self.task(), &self.settings.release.alias)?;
        Ok(alias.map_or(0, |alias| alias.revision))
    }

    /// The version on trial with its share, as a part of what is served.
    ///
    /// # Errors
    /// Those of the file and the registry.
    pub fn canary_part(&self) -> Result<Option<(Subject, f64)>> {
        let Some(canary) = self.canary()? else { return Ok(None) };
        Ok(Some((self.subject(Some(&canary.version))?, canary.share)))
    }

    /// `sprat promote VERSION --canary`.
    ///
    /// # Errors
    /// `SPRAT-WATCH-CANARY` where one is on trial or can't stand beside the promoted version.
    pub fn promote_canary(&self, reference: &str, why: &str) -> Result<Done> {
        let _lock = self.watch_lock()?;
        let version = self.version(reference)?;
        let canary = self.begin_canary(&version, why)?;
        let page = Page::new("Canary").verdict(Tone::Good, canary.sentence()).paragraph(ENDS);
        Ok(Done::new("sprat.canary/1", json!({ "canary": canary }), page))
    }

    /// `sprat rollback --canary`.
    ///
    /// # Errors
    /// `SPRAT-WATCH-CANARY` where none is on trial.
    pub fn rollback_canary(&self, why: &str) -> Result<Done> {
        let _lock = self.watch_lock()?;
        let Some(canary) = self.canary_kept()? else {
            return Err(Error::new(&codes::WATCH_CANARY, "no version is on trial").help(
                "Nothing is to be taken away; `sprat promote VERSION --canary` begins one.",
            ));
        };
        self.end_canary(&canary, "taken away", why)?;
        let page = Page::new("Canary")
            .verdict(Tone::Good, format!("{} is taken away", canary.version))
            .paragraph("A running server picks this up within a second.");
        Ok(Done::new("sprat.canary/1", json!({ "canary": null, "ended": canary.version }), page))
    }

    /// That a version can't be put on trial now, and why.
    ///
    /// # Errors
    /// `SPRAT-WATCH-CANARY`; those of the files and the registry.
    pub(super) fn canary_free(&self) -> Result<()> {
        match self.canary()? {
            None => Ok(()),
            Some(canary) => {
                let what = format!("{} is on trial already", canary.version);
                Err(Error::new(&codes::WATCH_CANARY, what))
            }
        }
    }

    /// Puts a version on trial beside the promoted one.
    ///
    /// # Errors
    /// `SPRAT-WATCH-CANARY` where another one is, where nothing is promoted, and for versions that
    /// do not answer alike; those of the files, the traces and the registry.
    pub(super) fn begin_canary(&self, version: &Version, why: &str) -> Result<Canary> {
        let wrong = |what: String| Error::new(&codes::WATCH_CANARY, what);
        self.canary_free()?;
        // Read first: a move in between ends the trial at once.
        let revision = self.alias_revision()?;
        let Some(over) = self.current()? else {
            let what = "no version is promoted that a canary could stand beside";
            return Err(wrong(what.into()).help("Promote one first: `sprat promote`."));
        };
        if over.number == version.number {
            let help = "Name another version: `sprat log` lists them.";
            return Err(wrong(format!("{version} is promoted already")).help(help));
        }
        let labels = |version: &Version| labels(&self.registry.checkout(version)?);
        if labels(&over)? != labels(version)? {
            return Err(wrong(format!("{version} and {over} do not answer alike"))
                .why("their labels differ, or only one of them writes")
                .help("Promote it wholly: `sprat promote`."));
        }
        let mut from = 0;
        let filter = TraceFilter { version: Some(over.to_string()), ..TraceFilter::default() };
        self.traces()?.each_at(&filter, |position, _| {
            from = position;
            self.interrupt.check()
        })?;
        let canary = Canary {
            schema: SCHEMA.to_owned(),
            version: version.to_string(),
            over: over.to_string(),
            share: self.settings.watch.canary_share,
            requests: self.settings.watch.canary_requests,
            revision,
            from,
            since: self.clock.now(),
            who: who(),
            why: why.to_owned(),
        };
        write_json(&self.canary_file(), &canary)?;
        self.note_canary(&canary, "begun", why)?;
        Ok(canary)
    }

    fn note_canary(&self, canary: &Canary, what: &str, why: &str) -> Result<()> {
        let body = json!({ "what": what, "version": canary.version, "over": canary.over,
            "share": canary.share, "why": why, "who": who() });
        self.registry.record_event(self.task(), "watch-canary", &body).map(drop)
    }

    /// Takes the canary's file away, and writes down why.
    pub(super) fn end_canary(&self, canary: &Canary, what: &str, why: &str) -> Result<()> {
        self.note_canary(canary, what, why)?;
        let file = self.canary_file();
        std::fs::remove_file(&file)
            .map_err(|why| Error::io(&codes::WRITE, "take the canary away", &file, &why))
    }

    /// Takes the canary away that an alarm is about, if it is still there.
    pub(super) fn withdraw(&self, alarm: &Alarm) -> Result<String> {
        match self.canary_kept()? {
            Some(canary) if canary.version == alarm.version => {
                self.end_canary(&canary, "taken away", &alarm.what)?;
                Ok(format!("{} gets no requests any more", alarm.version))
            }
            _ => Ok(format!("{} was on trial no more", alarm.version)),
        }
    }

    /// Looks at the canary's answers: gives how it stands, and an alarm for what speaks against it.
    /// One that has answered enough is promoted. `dry_run`: nothing is, whatever was found.
    ///
    /// # Errors
    /// Those of the traces, the files and the registry.
    pub(super) fn look_at_canary(
        &self,
        dry_run: bool,
    ) -> Result<(Option<CanaryState>, Option<Alarm>)> {
        let Some(kept) = self.canary_kept()? else { return Ok((None, None)) };
        if self.canary()?.is_none() {
            // Somebody moved the alias; perhaps to the canary itself.
            let current = self.current()?.map(|version| version.to_string());
            let promoted = current.as_deref() == Some(&kept.version);
            let what = if promoted { "promoted" } else { "ended" };
            self.end_canary(&kept, what, "the alias moved")?;
            return Ok((None, None));
        }
        let mut state = self.canary_state(kept)?;
        if let Some(Against { what, evidence, threshold, position, at }) = state.against.clone() {
            let version = state.canary.version.clone();
            let alarm = Alarm {
                test: TEST.to_owned(),
                version,
                evidence,
                threshold,
                request: state.answered,
                position,
                at: if position == 0 { self.clock.now() } else { at },
                what,
                ..Alarm::default()
            };
            return Ok((Some(state), Some(alarm)));
        }
        if state.proven() && !(dry_run || self.settings.watch.dry_run) {
            self.promote_whole(&state)?;
            state.promoted = true;
        }
        Ok((Some(state), None))
    }

    /// Promotes the canary wholly. A process that dies on the way leaves a file that holds no more,
    /// because the alias has moved.
    fn promote_whole(&self, state: &CanaryState) -> Result<()> {
        let canary = &state.canary;
        let (version, over) = (self.version(&canary.version)?, self.version(&canary.over)?);
        self.begin_probation(&version)?;
        let why = format!("canary: {}", state.sentence());
        self.promote_from(&version, over.number, &why)?;
        self.end_canary(canary, "promoted", &state.sentence())
    }
}

/// Who ends a trial, for people.
pub(super) const ENDS: &str = "The watch ends the trial: the server's (`watch.enabled`), or \
     `sprat watch`. `sprat rollback --canary` takes it away.";

impl Canary {
    /// What it gets, in words.
    pub(super) fn sentence(&self) -> String {
        format!(
            "{} gets {} of the requests beside {}; after {} of them without an alarm it is promoted",
            self.version,
            number::percent(self.share),
            self.over,
            number::count(self.requests)
        )
    }
}

/// The labels that a version answers with, and whether it writes.
fn labels(folder: &Path) -> Result<(bool, Vec<String>)> {
    Ok(match is_writer(folder) {
        true => (true, WriterManifest::read(folder)?.labels),
        false => (false, Manifest::read(folder)?.labels),
    })
}
