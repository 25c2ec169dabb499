//! From a reference to a version.

use crate::{DEFAULT_ALIAS, Registry, Version, codes, names};
use serde::Serialize;
use sprat_task::{Error, Result};

/// How a reference led to its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Through this alias; it may point elsewhere later.
    Alias(String),
    /// As the newest version: `task@latest`, or a bare task whose default alias is not set.
    Latest,
    /// By number: for ever the same.
    Number,
    /// By digest: for ever the same.
    Digest,
}

/// A resolved reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resolved {
    /// The version.
    pub version: Version,
    /// How it was found.
    pub via: Via,
}

impl Registry {
    /// Resolves `task` (its alias [`DEFAULT_ALIAS`] or, while that is not set, its newest
    /// version), `task@latest`, `task@alias`, `task@v3`, `task@3`, or `task@` with six or more
    /// digits of the digest.
    ///
    /// # Errors
    /// [`codes::UNKNOWN`], [`codes::AMBIGUOUS`], [`codes::NAME`], or the store's.
    pub fn resolve(&self, reference: &str) -> Result<Resolved> {
        let (task, which) = match reference.split_once('@') {
            Some((task, which)) => (task, Some(which)),
            None => (reference, None),
        };
        names::task(task)?;
        let Some(which) = which else {
            return match self.alias(task, DEFAULT_ALIAS)? {
                Some(_) => self.by_alias(task, DEFAULT_ALIAS),
                None => self.latest(task),
            };
        };
        if which == names::LATEST {
            return self.latest(task);
        }
        if let Some(number) = names::number(which) {
            let version = self.version(task, number)?;
            return Ok(Resolved { version, via: Via::Number });
        }
        if names::digits(which) {
            return self.by_prefix(task, which);
        }
        names::alias(which)?;
        self.by_alias(task, which)
    }

    fn by_alias(&self, task: &str, name: &str) -> Result<Resolved> {
        let Some(alias) = self.alias(task, name)? else {
            let set = self.aliases(Some(task))?;
            let set: Vec<&str> = set.iter().map(|alias| alias.name.as_str()).collect();
            let error = Error::new(&codes::UNKNOWN, format!("the alias {task}@{name} is not set"));
            return Err(match set.is_empty() {
                true => error.why("the task has no alias yet"),
                false => error.why(format!("the task has {}", set.join(", "))),
            });
        };
        let version = self.version(task, alias.version)?;
        Ok(Resolved { version, via: Via::Alias(name.to_owned()) })
    }

    fn latest(&self, task: &str) -> Result<Resolved> {
        match self.rows.versions(Some(task))?.pop() {
            Some(row) => Ok(Resolved { version: Version::from_row(row)?, via: Via::Latest }),
            None => Err(Error::new(&codes::UNKNOWN, format!("nothing is released for `{task}`"))
                .help("Release a version first: `sprat release`, or the whole path: `sprat up`.")),
        }
    }

    fn by_prefix(&self, task: &str, prefix: &str) -> Result<Resolved> {
        let mut rows = self.rows.versions_by_digest(task, prefix)?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => {
                Ok(Resolved { version: Version::from_row(row)?, via: Via::Digest })
            }
            (None, _) => {
                let what = format!("no version of `{task}` has a digest that begins with {prefix}");
                Err(Error::new(&codes::UNKNOWN, what))
            }
            (Some(_), false) => {
                let what = format!("several versions of `{task}` begin with {prefix}");
                Err(Error::new(&codes::AMBIGUOUS, what))
            }
        }
    }
}
