//! Which keywords of JSON Schema are enforced token by token, checked afterwards, or mean
//! nothing for validity.

use referencing::Draft;

/// What happens to a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Goes into the grammar.
    Enforced,
    /// Checked on the finished answer.
    Validated,
    /// Says nothing about which values are valid, or says where other schemas are.
    Annotation,
    /// Not a keyword of this draft.
    Unknown,
}

const ENFORCED: [&str; 27] = [
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "type",
];

const ANNOTATIONS: [&str; 15] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$id",
    "$recursiveAnchor",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// What happens to `keyword` in a schema of `draft`.
pub(super) fn treatment(keyword: &str, draft: Draft) -> Treatment {
    if ANNOTATIONS.contains(&keyword) || keyword.starts_with("x-") {
        return Treatment::Annotation;
    }
    match keyword {
        "prefixItems" if draft < Draft::Draft202012 => return Treatment::Unknown,
        "additionalItems" if draft == Draft::Draft202012 => return Treatment::Unknown,
        "id" if draft == Draft::Draft4 => return Treatment::Annotation,
        "contentEncoding" | "contentMediaType" | "contentSchema" => {
            // Drafts 6 and 7 leave it to the validator, and ours checks it.
            return match draft {
                Draft::Draft6 | Draft::Draft7 => Treatment::Validated,
                _ => Treatment::Annotation,
            };
        }
        "$vocabulary" if draft >= Draft::Draft201909 => return Treatment::Annotation,
        _ => {}
    }
    match draft.is_known_keyword(keyword) {
        false => Treatment::Unknown,
        true if ENFORCED.contains(&keyword) => Treatment::Enforced,
        true => Treatment::Validated,
    }
}

/// The formats that the validator checks; those of [`is_enforced_format`] are among them.
pub(super) const FORMATS: [&str; 19] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// Whether the grammar knows a format. It knows it up to details such as leap days, so the
/// finished answer is checked in any case.
pub(super) fn is_enforced_format(format: &str) -> bool {
    matches!(
        format,
        "date" | "date-time" | "time" | "duration" | "email" | "hostname" | "ipv4" | "ipv6"
    ) || matches!(format, "uri" | "uuid")
}
