//! Aliases: names that move from version to version, atomically, and back.

use crate::{Alias, Move, Registry, Version, codes, names};
use serde::{Deserialize, Serialize};
use sprat_store::NewAliasMove;
use sprat_task::{Error, Result};

/// The alias that a bare task name stands for, once it is set.
pub const DEFAULT_ALIAS: &str = "production";

/// What kind of move it was; decides what a later rollback goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveKind {
    /// To a version that somebody chose.
    Promote,
    /// Back to where the alias stood before the last promotion that is still in force.
    Rollback,
}

impl MoveKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            MoveKind::Promote => "promote",
            MoveKind::Rollback => "rollback",
        }
    }
}

/// Where the caller believes the alias to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anywhere: the last one to move it wins.
    Any,
    /// Not set yet.
    Unset,
    /// At this version.
    Version(u32),
    /// At this revision (see [`Alias::revision`]); the strictest expectation.
    Revision(u64),
}

impl Expect {
    fn holds(self, present: Option<&Alias>) -> bool {
        match self {
            Expect::Any => true,
            Expect::Unset => present.is_none(),
            Expect::Version(number) => present.is_some_and(|alias| alias.version == number),
            Expect::Revision(revision) => present.map_or(0, |alias| alias.revision) == revision,
        }
    }
}

impl Registry {
    /// Where an alias stands.
    ///
    /// # Errors
    /// The store's.
    pub fn alias(&self, task: &str, alias: &str) -> Result<Option<Alias>> {
        self.rows.alias(task, alias)
    }

    /// The aliases of a task, or of all tasks.
    ///
    /// # Errors
    /// The store's.
    pub fn aliases(&self, task: Option<&str>) -> Result<Vec<Alias>> {
        self.rows.aliases(task)
    }

    /// The moves of a task's aliases, or of one of them, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn moves(&self, task: &str, alias: Option<&str>) -> Result<Vec<Move>> {
        self.rows.moves(task, alias)
    }

    /// Points an alias to a version. `None` when it points there already.
    ///
    /// # Errors
    /// [`codes::CONFLICT`] when the alias is not where it was expected, [`codes::NAME`], or the
    /// store's; nothing has changed then.
    pub fn promote(
        &self,
        version: &Version,
        alias: &str,
        expect: Expect,
        who: &str,
        why: &str,
    ) -> Result<Option<Move>> {
        names::alias(alias)?;
        loop {
            let present = self.alias(&version.task, alias)?;
            if !expect.holds(present.as_ref()) {
                return Err(conflict(&version.task, alias, present.as_ref()));
            }
            if present.as_ref().is_some_and(|present| present.version == version.number) {
                return Ok(None);
            }
            let to = (version.number, MoveKind::Promote);
            if let Some(moved) = self.swap(&version.task, alias, present.as_ref(), to, who, why)? {
                return Ok(Some(moved));
            }
            // Somebody was faster: look again whether the expectation still holds.
        }
    }

    /// Moves an alias back to where it stood before its last promotion; rolling back twice goes
    /// back two promotions.
    ///
    /// # Errors
    /// [`codes::UNKNOWN`] for an alias that is not set, [`codes::NO_PREVIOUS`],
    /// [`codes::CONFLICT`] when somebody moves it at the same moment, or the store's.
    pub fn rollback(&self, task: &str, alias: &str, who: &str, why: &str) -> Result<Move> {
        self.rollback_from(task, alias, Expect::Any, who, why)
    }

    /// The same, provided that the alias stands where the caller believes it to stand: two people
    /// who press the button at once go back one version, not two.
    ///
    /// # Errors
    /// Those of [`Registry::rollback`]; [`codes::CONFLICT`] also when the expectation fails.
    pub fn rollback_from(
        &self,
        task: &str,
        alias: &str,
        expect: Expect,
        who: &str,
        why: &str,
    ) -> Result<Move> {
        names::alias(alias)?;
        let Some(present) = self.alias(task, alias)? else {
            return Err(Error::new(
                &codes::UNKNOWN,
                format!("the alias {task}@{alias} is not set"),
            ));
        };
        if !expect.holds(Some(&present)) {
            return Err(conflict(task, alias, Some(&present)));
        }
        let moves = self.moves(task, Some(alias))?;
        let Some(previous) = previous(&moves, present.revision) else {
            let what = format!("{task}@{alias} has no version before v{}", present.version);
            return Err(Error::new(&codes::NO_PREVIOUS, what));
        };
        let to = (previous, MoveKind::Rollback);
        match self.swap(task, alias, Some(&present), to, who, why)? {
            Some(moved) => Ok(moved),
            None => Err(conflict(task, alias, self.alias(task, alias)?.as_ref())),
        }
    }

    fn swap(
        &self,
        task: &str,
        alias: &str,
        present: Option<&Alias>,
        (to, kind): (u32, MoveKind),
        who: &str,
        why: &str,
    ) -> Result<Option<Move>> {
        let expected = present.map_or(0, |present| present.revision);
        let (kind, at) = (kind.name(), self.now());
        self.rows.move_alias(&NewAliasMove { task, alias, expected, to, kind, who, why, at })
    }
}

/// The version before the one in force at `revision`: each promotion stacks a version up, each
/// rollback takes one off.
pub(crate) fn previous(moves: &[Move], revision: u64) -> Option<u32> {
    let mut moves: Vec<&Move> = moves.iter().filter(|m| m.revision <= revision).collect();
    moves.sort_by_key(|m| m.revision);
    let mut stack = Vec::new();
    for m in moves {
        if m.kind == MoveKind::Rollback.name() {
            stack.pop();
        } else {
            stack.push(m.to);
        }
    }
    stack.pop();
    stack.pop()
}

fn conflict(task: &str, alias: &str, present: Option<&Alias>) -> Error {
    let stands = match present {
        Some(present) => {
            format!("it points to v{} since revision {}", present.version, present.revision)
        }
        None => "it is not set".to_owned(),
    };
    Error::new(&codes::CONFLICT, format!("the alias {task}@{alias} is not where it was expected"))
        .why(stands)
}
