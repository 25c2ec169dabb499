//! A schema with everything that its references can reach.

use crate::codes;
use referencing::{Draft, Registry, Resolved};
use serde_json::Value;
use sprat_task::{Error, Result};

/// The base of a schema that does not name itself, as the validator has it.
const UNNAMED: &str = "json-schema:///";

/// A schema whose references can be followed. Nothing is ever fetched.
pub(super) struct Document {
    registry: Registry,
    base: String,
}

impl Document {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`codes::SCHEMA`] when a reference leads out of it, or to nowhere.
    pub(super) fn new(schema: &Value) -> Result<Self> {
        let draft = Draft::default().detect(schema).map_err(|why| {
            Error::new(&codes::SCHEMA, "the schema is of an unknown kind")
                .field("/$schema")
                .why(why.to_string())
                .help("Drafts 4, 6, 7, 2019-09 and 2020-12 of JSON Schema are known.")
        })?;
        let resource = draft.create_resource(schema.clone());
        let base = resource.id().unwrap_or(UNNAMED).to_owned();
        let registry = Registry::options()
            .draft(draft)
            .build([(base.as_str(), resource)])
            .map_err(|why| unresolved(&why))?;
        Ok(Document { registry, base })
    }

    /// The schema itself; its address is the same for as long as the document lives.
    pub(super) fn root(&self) -> Result<Resolved<'_>> {
        let resolver = self.registry.try_resolver(&self.base).map_err(|why| unresolved(&why))?;
        resolver.lookup("#").map_err(|why| unresolved(&why))
    }
}

/// A reference that leads nowhere.
pub(super) fn unresolved(why: &referencing::Error) -> Error {
    match why {
        referencing::Error::Unretrievable { uri, .. } => {
            let what = format!("the schema refers to `{uri}`, which is not part of it");
            Error::new(&codes::SCHEMA, what)
                .why("schemas are never fetched from elsewhere")
                .help("Put the schema that is referred to under `$defs` and refer to it there.")
        }
        _ => Error::new(&codes::SCHEMA, "a reference in the schema leads nowhere")
            .why(why.to_string()),
    }
}
