//! What a command hands back: a document for scripts, a page for people, and a gate's refusal.

use serde_json::Value;
use sprat_report::Page;
use sprat_task::Error;

/// The result of a command that ran.
#[derive(Clone, Debug)]
pub struct Done {
    /// The JSON document; its `schema` field names its form and version.
    pub document: Value,
    /// The same for people; the terminal and the HTML reports show it.
    pub page: Page,
    /// Set where the work ran and a gate refused its result.
    pub refused: Option<Error>,
}

impl Done {
    /// A document under `schema` (such as `sprat.tune/1`) with the fields of `body`, and the page
    /// that says the same to people.
    pub fn new(schema: &str, body: Value, page: Page) -> Self {
        let mut document = serde_json::Map::new();
        document.insert("schema".into(), schema.into());
        match body {
            Value::Object(fields) => document.extend(fields),
            other => {
                document.insert("value".into(), other);
            }
        }
        Done { document: Value::Object(document), page, refused: None }
    }

    /// The same result, refused by a gate.
    #[must_use]
    pub fn refused_by(mut self, error: Option<Error>) -> Self {
        self.refused = error;
        self
    }
}
