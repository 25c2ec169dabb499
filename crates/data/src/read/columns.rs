//! Which column is what.

use super::Sink;
use crate::codes;
use crate::example::Example;
use sprat_task::{Error, Result};
use std::collections::BTreeMap;

/// The places of the named columns in a header.
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    text: usize,
    label: Option<usize>,
    group: Option<usize>,
    extra: Vec<usize>,
}

impl Columns {
    /// Finds the columns that the options name.
    ///
    /// # Errors
    /// [`codes::HEADER`] for a name that stands twice, [`codes::COLUMN`] for one that is missing.
    pub(super) fn resolve(names: Vec<String>, line: u64, sink: &Sink<'_>) -> Result<Self> {
        let mut seen = BTreeMap::new();
        for (at, name) in names.iter().enumerate() {
            if let Some(first) = seen.insert(name.as_str(), at) {
                let what = format!(
                    "the header names the column `{name}` twice: columns {} and {}",
                    first + 1,
                    at + 1
                );
                return Err(sink.error(&codes::HEADER, what).line(line).field(name));
            }
        }
        let find = |name: &str| match names.iter().position(|known| known == name) {
            Some(at) => Ok(at),
            None => Err(missing(sink, name, names.iter().map(String::as_str)).line(line)),
        };
        let options = sink.options;
        let text = find(&options.text)?;
        let label = options.label.as_deref().map(find).transpose()?;
        let group = options.group.as_deref().map(find).transpose()?;
        let taken = [Some(text), label, group];
        let mut extra = match &options.extra {
            Some(kept) => kept.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?,
            None => (0..names.len()).collect(),
        };
        extra.retain(|at| !taken.contains(&Some(*at)));
        Ok(Columns { names, text, label, group, extra })
    }

    /// Makes an example of a record's cells; `cell(i)` gives the i-th, none for a null.
    pub(super) fn example<'c>(
        &self,
        line: u64,
        cell: impl Fn(usize) -> Option<&'c str>,
    ) -> Example {
        let own = |at: usize| cell(at).unwrap_or_default().to_owned();
        let named = |at: &usize| Some((self.names[*at].clone(), cell(*at)?.to_owned()));
        Example {
            row: 0,
            line,
            text: own(self.text),
            label: self.label.and_then(|at| label(cell(at)?)),
            group: self.group.and_then(|at| label(cell(at)?)),
            extra: self.extra.iter().filter_map(named).collect(),
        }
    }
}

/// A trimmed label; an empty one is none.
pub(super) fn label(cell: &str) -> Option<String> {
    let cell = cell.trim();
    (!cell.is_empty()).then(|| cell.to_owned())
}

/// The error for a missing column, which names the nearest one.
pub(super) fn missing<'n>(
    sink: &Sink<'_>,
    name: &str,
    known: impl Iterator<Item = &'n str>,
) -> Error {
    let known: Vec<_> = known.collect();
    let lower = name.to_lowercase();
    let nearest = known
        .iter()
        .map(|other| (strsim::jaro_winkler(&lower, &other.to_lowercase()), *other))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let error = sink.error(&codes::COLUMN, format!("there is no column `{name}`")).field(name);
    let error = error.why(format!("the columns are: {}", known.join(", ")));
    match nearest {
        Some((likeness, other)) if likeness > 0.7 => {
            error.help(format!("Did you mean `{other}`? Name an existing column in `sprat.toml`."))
        }
        _ => error,
    }
}
