//! Rows in memory, for tests of the crates above; held to the same contract as the databases.

use crate::{
    Added, AliasRow, Aliases, EventRow, Journal, MoveRow, NewAliasMove, NewOpening, NewVersion,
    OpeningRow, Rows, StepRow, Steps, VersionRow, Versions, codes,
};
use sprat_task::{Digest, Error, Result, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Tables {
    versions: BTreeMap<(String, u32), (VersionRow, BTreeSet<Digest>)>,
    aliases: BTreeMap<(String, String), AliasRow>,
    moves: Vec<MoveRow>,
    steps: BTreeMap<(String, Digest), StepRow>,
    openings: Vec<OpeningRow>,
    events: Vec<EventRow>,
}

/// Rows that last as long as the process.
#[derive(Debug, Default)]
pub struct MemoryRows(Mutex<Tables>);

impl MemoryRows {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn matches(wanted: Option<&str>, found: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

impl Versions for MemoryRows {
    fn add_version(&self, new: &NewVersion<'_>) -> Result<Added> {
        let mut tables = self.lock();
        let of_task =
            || tables.versions.values().map(|(row, _)| row).filter(|r| r.task == new.task);
        if let Some(row) = of_task().find(|row| row.digest == new.digest) {
            return Ok(Added { row: row.clone(), new: false });
        }
        let row = VersionRow {
            task: new.task.to_owned(),
            number: of_task().map(|row| row.number).max().unwrap_or(0) + 1,
            digest: new.digest,
            parent: new.parent,
            created: new.created,
            body: new.body.to_owned(),
        };
        let key = (row.task.clone(), row.number);
        tables.versions.insert(key, (row.clone(), new.blobs.clone()));
        Ok(Added { row, new: true })
    }

    fn version(&self, task: &str, number: u32) -> Result<Option<VersionRow>> {
        Ok(self.lock().versions.get(&(task.to_owned(), number)).map(|(row, _)| row.clone()))
    }

    fn versions(&self, task: Option<&str>) -> Result<Vec<VersionRow>> {
        let tables = self.lock();
        let rows = tables.versions.values().map(|(row, _)| row);
        Ok(rows.filter(|row| matches(task, &row.task)).cloned().collect())
    }

    fn versions_by_digest(&self, task: &str, prefix: &str) -> Result<Vec<VersionRow>> {
        let mut rows = self.versions(Some(task))?;
        rows.retain(|row| row.digest.to_string().starts_with(prefix));
        Ok(rows)
    }

    fn blobs_of(&self, task: &str, number: u32) -> Result<BTreeSet<Digest>> {
        let tables = self.lock();
        let found = tables.versions.get(&(task.to_owned(), number));
        Ok(found.map(|(_, blobs)| blobs.clone()).unwrap_or_default())
    }

    fn used_blobs(&self) -> Result<BTreeSet<Digest>> {
        Ok(self.lock().versions.values().flat_map(|(_, blobs)| blobs).copied().collect())
    }
}

impl Aliases for MemoryRows {
    fn alias(&self, task: &str, name: &str) -> Result<Option<AliasRow>> {
        Ok(self.lock().aliases.get(&(task.to_owned(), name.to_owned())).cloned())
    }

    fn aliases(&self, task: Option<&str>) -> Result<Vec<AliasRow>> {
        let tables = self.lock();
        Ok(tables.aliases.values().filter(|row| matches(task, &row.task)).cloned().collect())
    }

    fn move_alias(&self, wanted: &NewAliasMove<'_>) -> Result<Option<MoveRow>> {
        let mut tables = self.lock();
        let key = (wanted.task.to_owned(), wanted.alias.to_owned());
        let present = tables.aliases.get(&key);
        if present.map_or(0, |row| row.revision) != wanted.expected {
            return Ok(None);
        }
        if !tables.versions.contains_key(&(wanted.task.to_owned(), wanted.to)) {
            return Err(Error::new(&codes::QUERY, "could not move the alias")
                .why(format!("{} has no version {}", wanted.task, wanted.to)));
        }
        let row = MoveRow {
            task: key.0.clone(),
            alias: key.1.clone(),
            revision: wanted.expected + 1,
            from: present.map(|row| row.version),
            to: wanted.to,
            kind: wanted.kind.to_owned(),
            who: wanted.who.to_owned(),
            why: wanted.why.to_owned(),
            at: wanted.at,
        };
        let alias = AliasRow {
            task: key.0.clone(),
            name: key.1.clone(),
            version: wanted.to,
            revision: row.revision,
            moved: wanted.at,
        };
        tables.aliases.insert(key, alias);
        tables.moves.push(row.clone());
        Ok(Some(row))
    }

    fn moves(&self, task: &str, alias: Option<&str>) -> Result<Vec<MoveRow>> {
        let tables = self.lock();
        let wanted = |row: &&MoveRow| row.task == task && matches(alias, &row.alias);
        let mut moves: Vec<MoveRow> = tables.moves.iter().filter(wanted).cloned().collect();
        moves.sort_by(|a, b| (a.at, &a.alias, a.revision).cmp(&(b.at, &b.alias, b.revision)));
        Ok(moves)
    }
}

impl Steps for MemoryRows {
    fn step(&self, step: &str, inputs: &Digest) -> Result<Option<StepRow>> {
        Ok(self.lock().steps.get(&(step.to_owned(), *inputs)).cloned())
    }

    fn put_step(&self, row: &StepRow) -> Result<()> {
        self.lock().steps.insert((row.step.clone(), row.inputs), row.clone());
        Ok(())
    }

    fn forget_step(&self, step: &str, inputs: &Digest) -> Result<bool> {
        Ok(self.lock().steps.remove(&(step.to_owned(), *inputs)).is_some())
    }

    fn steps(&self) -> Result<Vec<StepRow>> {
        let mut rows: Vec<StepRow> = self.lock().steps.values().cloned().collect();
        rows.sort_by(|a, b| (a.at, &a.step, a.inputs).cmp(&(b.at, &b.step, b.inputs)));
        Ok(rows)
    }
}

impl Journal for MemoryRows {
    fn add_opening(&self, new: &NewOpening<'_>) -> Result<OpeningRow> {
        let mut tables = self.lock();
        let row = OpeningRow {
            id: tables.openings.len() as u64 + 1,
            task: new.task.to_owned(),
            split: new.split,
            purpose: new.purpose.to_owned(),
            who: new.who.to_owned(),
            at: new.at,
        };
        tables.openings.push(row.clone());
        Ok(row)
    }

    fn openings(&self, task: Option<&str>) -> Result<Vec<OpeningRow>> {
        let tables = self.lock();
        Ok(tables.openings.iter().filter(|row| matches(task, &row.task)).cloned().collect())
    }

    fn add_event(&self, task: &str, label: &str, body: &str, at: Timestamp) -> Result<EventRow> {
        let mut tables = self.lock();
        let id = tables.events.len() as u64 + 1;
        let row = EventRow { id, task: task.into(), label: label.into(), body: body.into(), at };
        tables.events.push(row.clone());
        Ok(row)
    }

    fn events(&self, task: &str, label: Option<&str>) -> Result<Vec<EventRow>> {
        let tables = self.lock();
        let wanted = |row: &&EventRow| row.task == task && matches(label, &row.label);
        Ok(tables.events.iter().filter(wanted).cloned().collect())
    }
}

impl Rows for MemoryRows {
    fn check(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
