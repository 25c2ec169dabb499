//! Answers in JSON that satisfy a schema, or none.
//!
//! A classifier can say one of its labels. Whether a schema leaves room for that is decided
//! before the model runs, by validating the very texts that would be sent: no schema is
//! interpreted by us, and `$ref`, `enum`, `const` or `pattern` count as the validator says.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Names that say what a field is for; they are tried before the others.
const LABEL_NAMES: [&str; 6] = ["label", "category", "class", "intent", "answer", "output"];
/// Fields that are filled with the confidence, where the schema has them.
const CONFIDENCE_NAMES: [&str; 3] = ["confidence", "score", "probability"];

/// How a label is put into JSON.
enum Shape {
    /// The bare string.
    Text,
    /// An object with the label in one field, and the confidence in another.
    Object { label: String, confidence: Option<String> },
}

impl Shape {
    fn fill(&self, label: &str, confidence: f32) -> Value {
        match self {
            Shape::Text => Value::from(label),
            Shape::Object { label: name, confidence: second } => {
                let mut fields = Map::new();
                fields.insert(name.clone(), Value::from(label));
                if let Some(second) = second {
                    fields.insert(second.clone(), json!(confidence));
                }
                Value::Object(fields)
            }
        }
    }
}

/// A way to answer that satisfies a schema.
pub(crate) struct Plan {
    shape: Shape,
    validator: Validator,
    /// The labels whose answer satisfies the schema.
    pub(crate) allowed: Vec<String>,
}

impl Plan {
    /// Finds the way, given the labels that the model knows.
    ///
    /// # Errors
    /// [`codes::SCHEMA`] when the schema is not valid or leaves room for none of the labels.
    pub(crate) fn new(schema: &Value, labels: &[String], field: &str) -> ApiResult<Self> {
        let validator = jsonschema::validator_for(schema).map_err(|why| {
            ApiError::field(&codes::SCHEMA, field, "the JSON schema is not valid").because(&why)
        })?;
        let mut refused = None;
        for shape in shapes(schema) {
            let allowed: Vec<String> = labels
                .iter()
                .filter(|label| validator.is_valid(&shape.fill(label, 0.5)))
                .cloned()
                .collect();
            if !allowed.is_empty() {
                return Ok(Plan { shape, validator, allowed });
            }
            if let (None, Some(label)) = (&refused, labels.first()) {
                let value = shape.fill(label, 0.5);
                refused = validator.validate(&value).err().map(|why| why.to_string());
            }
        }
        let error = ApiError::field(
            &codes::SCHEMA,
            field,
            "the task answers with a label, and no label satisfies the JSON schema",
        );
        Err(match refused {
            Some(why) => error.because(&why),
            None => error,
        })
    }

    /// The answer as JSON text, proven against the schema.
    ///
    /// # Errors
    /// [`codes::SCHEMA`] when this very confidence does not satisfy it.
    pub(crate) fn write(&self, label: &str, confidence: Option<f32>) -> ApiResult<String> {
        let value = self.shape.fill(label, confidence.unwrap_or(0.0));
        match self.validator.validate(&value) {
            Ok(()) => Ok(value.to_string()),
            Err(why) => {
                let what = "the answer does not satisfy the JSON schema";
                Err(ApiError::plain(&codes::SCHEMA, what).because(&why))
            }
        }
    }
}

/// The shapes worth a try, the likely ones first.
fn shapes(schema: &Value) -> Vec<Shape> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let has = |name: &str| properties.is_some_and(|fields| fields.contains_key(name));
    let confidence = CONFIDENCE_NAMES.iter().find(|name| has(name)).map(|name| (*name).to_owned());
    let mut names: Vec<String> =
        LABEL_NAMES.iter().filter(|name| has(name)).map(|name| (*name).to_owned()).collect();
    for name in properties.into_iter().flat_map(Map::keys) {
        if !names.contains(name) && confidence.as_ref() != Some(name) {
            names.push(name.clone());
        }
    }
    if properties.is_none_or(Map::is_empty) {
        names.push("label".to_owned());
    }
    let mut shapes: Vec<Shape> = Vec::new();
    for label in names {
        if confidence.is_some() {
            let (label, confidence) = (label.clone(), confidence.clone());
            shapes.push(Shape::Object { label, confidence });
        }
        shapes.push(Shape::Object { label, confidence: None });
    }
    shapes.push(Shape::Text);
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(schema: Value) -> ApiResult<Plan> {
        let labels = ["card", "loan"].map(String::from);
        Plan::new(&schema, &labels, "response_format.json_schema.schema")
    }

    fn answer(schema: Value) -> String {
        plan(schema).unwrap().write("card", Some(0.25)).unwrap()
    }

    #[test]
    fn common_schemas_are_satisfied() {
        let object = |name: &str, field: Value| {
            json!({ "type": "object", "properties": { name: field }, "required": [name],
                    "additionalProperties": false })
        };
        assert_eq!(answer(object("label", json!({ "type": "string" }))), r#"{"label":"card"}"#);
        let two = json!({ "enum": ["card", "loan"] });
        assert_eq!(answer(object("topic", two)), r#"{"topic":"card"}"#);
        assert_eq!(answer(json!({})), r#"{"label":"card"}"#);
        assert_eq!(answer(json!({ "type": "string" })), r#""card""#);
        let referred = json!({ "$defs": { "L": { "enum": ["card", "loan"] } }, "type": "object",
            "properties": { "intent": { "$ref": "#/$defs/L" } }, "required": ["intent"] });
        assert_eq!(answer(referred), r#"{"intent":"card"}"#);
        let both = json!({ "type": "object", "required": ["confidence", "label"],
            "properties": { "confidence": { "type": "number" }, "label": { "type": "string" } } });
        assert_eq!(answer(both), r#"{"label":"card","confidence":0.25}"#);
    }

    #[test]
    fn a_schema_with_fewer_labels_constrains_the_model() {
        let schema = json!({ "properties": { "label": { "enum": ["loan", "other"] } },
                             "required": ["label"], "type": "object" });
        assert_eq!(plan(schema).unwrap().allowed, ["loan"]);
    }

    #[test]
    fn a_schema_that_no_label_satisfies_is_refused_with_its_reason() {
        for schema in [
            json!({ "type": "integer" }),
            json!({ "type": "object", "required": ["label", "reason"], "properties": {
                "label": { "type": "string" }, "reason": { "type": "string" } } }),
            json!({ "type": "object", "properties": { "label": { "enum": ["mortgage"] } },
                    "required": ["label"] }),
            json!({ "type": 7 }),
            json!({ "$ref": "http://localhost:1/schema" }),
            json!({ "$ref": "file:///etc/passwd" }),
            json!(false),
        ] {
            let error = plan(schema.clone()).err().expect("refused");
            assert_eq!(error.error.code(), &codes::SCHEMA, "{schema}");
        }
    }
}
