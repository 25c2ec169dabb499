//! How results are shown: pages for browser and terminal. JSON is the results themselves.

mod bench;
mod choose;
mod gate;
mod retention;

use crate::bench::Place;

/// A place as people read it.
fn place_name(place: Place) -> &'static str {
    match place {
        Place::Local => "local",
        Place::Hosted => "hosted",
    }
}

/// A value that may be missing.
fn or_dash<T>(value: Option<T>, write: impl Fn(T) -> String) -> String {
    value.map_or_else(|| sprat_report::number::MISSING.to_owned(), write)
}

#[cfg(test)]
pub(crate) mod tests {
    /// Leaves a rendered page for a person to look at, when `SPRAT_KEEP_PAGES` names a folder.
    pub(crate) fn keep(name: &str, html: &str, text: &str) {
        if let Some(folder) = std::env::var_os("SPRAT_KEEP_PAGES") {
            let folder = std::path::PathBuf::from(folder);
            sprat_task::write::bytes(&folder.join(format!("{name}.html")), html.as_bytes())
                .unwrap();
            sprat_task::write::bytes(&folder.join(format!("{name}.txt")), text.as_bytes()).unwrap();
        }
    }
}
