//! From any JSON schema to one that can be enforced token by token.
//!
//! The result allows everything that the schema allows in compact form, and perhaps more: where
//! a keyword cannot be enforced it is left out and recorded, and the finished answer is
//! validated. Keywords are left out only where that makes the schema wider, which is the case
//! for all places that go into the result: nothing below `not`, `if` and their like does.

use super::document::{Document, unresolved};
use super::keywords::{self, Treatment};
use super::leaves;
use super::reach::{Edge, Reach};
use super::{bounds, pointer};
use crate::codes;
use referencing::{Draft, Resolver};
use serde_json::{Map, Value, json};
use sprat_task::{Error, Result};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// A schema for the grammar, with what it leaves out.
#[derive(Clone, Debug)]
pub(super) struct Lowered {
    /// References lead to its own `$defs` only.
    pub(super) schema: Value,
    /// Keywords that must be checked on the finished answer.
    pub(super) validated: BTreeSet<String>,
    /// Which schemas apply to which values.
    pub(super) reach: Reach,
}

/// Kinds of keywords that the grammar could not take, to be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Without {
    pub(super) counts: bool,
    pub(super) patterns: bool,
    pub(super) lengths: bool,
    pub(super) numbers: bool,
    pub(super) siblings: bool,
    pub(super) literals: bool,
    pub(super) unions: bool,
}

impl Without {
    fn leaves_out(self, keyword: &str) -> bool {
        match keyword {
            "minProperties" | "maxProperties" => self.counts,
            "pattern" | "format" => self.patterns,
            "minLength" | "maxLength" | "minItems" | "maxItems" => self.lengths,
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                self.numbers
            }
            "const" | "enum" => self.literals,
            "allOf" | "anyOf" | "oneOf" => self.unions,
            _ => false,
        }
    }
}

/// Lowers schemas that go into one grammar.
pub(super) struct Lowering<'r> {
    without: Without,
    validated: BTreeSet<String>,
    /// The names of schemas that references lead to, by their address.
    names: HashMap<usize, String>,
    waiting: VecDeque<(String, String, &'r Value, Resolver<'r>, Draft)>,
    definitions: Map<String, Value>,
    reach: Reach,
    visits: usize,
    /// Where we are, as a JSON pointer.
    path: String,
}

/// What a schema of one place is read with.
struct Scope<'a, 'r> {
    address: usize,
    resolver: &'a Resolver<'r>,
    draft: Draft,
}

impl<'r> Lowering<'r> {
    pub(super) fn new(without: Without) -> Self {
        Lowering {
            without,
            validated: BTreeSet::new(),
            names: HashMap::new(),
            waiting: VecDeque::new(),
            definitions: Map::new(),
            reach: Reach::default(),
            visits: 0,
            path: String::new(),
        }
    }

    /// Lowers a document; `at` says where it stands, as a JSON pointer.
    ///
    /// # Errors
    /// [`codes::SCHEMA`] for what is no schema, [`codes::COMPLEX`] past the limits.
    pub(super) fn document(&mut self, document: &'r Document, at: &str) -> Result<Value> {
        at.clone_into(&mut self.path);
        let (contents, resolver, draft) = document.root()?.into_inner();
        let lowered = self.schema(contents, &resolver, draft)?;
        while let Some((name, path, contents, resolver, draft)) = self.waiting.pop_front() {
            self.path = path;
            let lowered = self.schema(contents, &resolver, draft)?;
            self.definitions.insert(name, lowered);
        }
        Ok(lowered)
    }

    /// The finished schema.
    ///
    /// # Errors
    /// [`codes::SCHEMA`] when a schema applies to the same value as itself.
    pub(super) fn finish(mut self, mut root: Value) -> Result<Lowered> {
        self.reach.check()?;
        if let Value::Object(members) = &mut root {
            members.insert("$defs".into(), Value::Object(self.definitions));
        }
        Ok(Lowered { schema: root, validated: self.validated, reach: self.reach })
    }

    fn fault(&self, what: impl Into<String>) -> Error {
        Error::new(&codes::SCHEMA, what).field(pointer::shown(&self.path))
    }

    fn validate(&mut self, keyword: &str) {
        self.validated.insert(keyword.to_owned());
    }

    /// Lowers the schema at the present path.
    fn schema(&mut self, schema: &'r Value, outer: &Resolver<'r>, draft: Draft) -> Result<Value> {
        self.visits += 1;
        if self.visits > bounds::VISITS {
            return Err(bounds::too_complex("the schema has too many parts"));
        }
        let members = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(members) => members,
            _ => return Err(self.fault("a schema is neither an object nor a boolean")),
        };
        let draft = draft.detect(schema).map_err(|why| unresolved(&why))?;
        let resource = draft.create_resource_ref(schema);
        let resolver = outer.in_subresource(resource).map_err(|why| unresolved(&why))?;
        let scope = Scope { address: address(schema), resolver: &resolver, draft };
        self.reach.begin(scope.address, members);
        // Up to draft 7 a reference stands for itself alone.
        if let (true, Some(reference)) = (draft <= Draft::Draft7, members.get("$ref")) {
            return self.reference(reference, &scope);
        }
        let mut out = Map::new();
        for (keyword, value) in members {
            let end = self.path.len();
            pointer::push(&mut self.path, keyword);
            self.keyword(keyword, value, members, &scope, &mut out)?;
            self.path.truncate(end);
        }
        leaves::settle(&mut out, &mut self.validated);
        Ok(Value::Object(ordered(out)))
    }

    /// Lowers one keyword into `out`.
    fn keyword(
        &mut self,
        keyword: &str,
        value: &'r Value,
        members: &'r Map<String, Value>,
        scope: &Scope<'_, 'r>,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        match keywords::treatment(keyword, scope.draft) {
            Treatment::Unknown => {
                let what = format!("the keyword `{keyword}` is unknown");
                return Err(self
                    .fault(what)
                    .why(format!("it is not part of {}", name(scope.draft)))
                    .help("Remove it; the names of your own annotations must begin with `x-`."));
            }
            Treatment::Annotation => {
                if matches!(keyword, "$defs" | "definitions") {
                    self.map(value, scope, Edge::Aside)?;
                }
                return Ok(());
            }
            Treatment::Validated => return self.validated(keyword, value, members, scope, out),
            Treatment::Enforced => {}
        }
        if self.without.leaves_out(keyword) {
            self.validate(keyword);
            if matches!(keyword, "allOf" | "anyOf" | "oneOf") {
                self.list(value, scope, Edge::Applied)?;
            }
            return Ok(());
        }
        let lowered = match keyword {
            "$ref" => {
                let lowered = self.reference(value, scope)?;
                let others = members.keys().any(|other| {
                    keywords::treatment(other, scope.draft) == Treatment::Enforced
                        && other != "$ref"
                });
                if self.without.siblings && others {
                    self.validate("$ref");
                    return Ok(());
                }
                match lowered {
                    Value::Object(mut reference) => match reference.remove("$ref") {
                        Some(target) => target,
                        None => return Ok(()),
                    },
                    _ => return Ok(()),
                }
            }
            "allOf" | "anyOf" | "oneOf" => self.list(value, scope, Edge::Applied)?,
            "properties" => self.map(value, scope, Edge::Named)?,
            "patternProperties" => {
                let lowered = self.map(value, scope, Edge::Every)?;
                let plain = !self.without.patterns && leaves::are_disjoint(&lowered);
                if !plain {
                    self.validate(keyword);
                    return Ok(());
                }
                lowered
            }
            "additionalProperties" => {
                let lowered = self.every(value, scope)?;
                // Names that a pattern allows are no longer told apart from additional ones.
                let patterns = members.get("patternProperties").and_then(Value::as_object);
                let names = patterns.map(|patterns| {
                    patterns.keys().map(|name| (name.clone(), Value::Bool(true))).collect()
                });
                let plain = names.is_none_or(|names| {
                    !self.without.patterns && leaves::are_disjoint(&Value::Object(names))
                });
                if !plain {
                    self.validate(keyword);
                    return Ok(());
                }
                lowered
            }
            "items" if value.is_array() => {
                let lowered = self.list(value, scope, Edge::Every)?;
                out.insert("prefixItems".into(), lowered);
                return Ok(());
            }
            "additionalItems" => {
                let lowered = self.every(value, scope)?;
                // Without a list of items it says nothing.
                if members.get("items").is_some_and(Value::is_array) {
                    out.insert("items".into(), lowered);
                }
                return Ok(());
            }
            "items" => self.every(value, scope)?,
            "prefixItems" => self.list(value, scope, Edge::Every)?,
            _ => match leaves::lower(keyword, value, &mut self.validated) {
                Ok(Some(lowered)) => lowered,
                Ok(None) => return Ok(()),
                Err(what) => return Err(self.fault(what)),
            },
        };
        out.insert(keyword.to_owned(), lowered);
        Ok(())
    }

    /// A keyword that is checked afterwards; what stands below it is still looked at.
    fn validated(
        &mut self,
        keyword: &str,
        value: &'r Value,
        members: &'r Map<String, Value>,
        scope: &Scope<'_, 'r>,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        match keyword {
            "uniqueItems" if *value == Value::Bool(false) => return Ok(()),
            "then" | "else" if !members.contains_key("if") => return Ok(()),
            "minContains" | "maxContains" if !members.contains_key("contains") => return Ok(()),
            "unevaluatedProperties" if is_plain(members) => {
                let lowered = self.every(value, scope)?;
                if !members.contains_key("additionalProperties")
                    && !members.contains_key("patternProperties")
                {
                    out.insert("additionalProperties".into(), lowered);
                    return Ok(());
                }
            }
            "not" | "if" | "then" | "else" => {
                self.reach.apply(scope.address, address(value));
                self.schema(value, scope.resolver, scope.draft)?;
            }
            "contains" | "propertyNames" | "unevaluatedItems" | "unevaluatedProperties" => {
                self.every(value, scope)?;
            }
            "dependentSchemas" => {
                self.map(value, scope, Edge::Applied)?;
            }
            "dependencies" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !value.is_array() {
                        let end = self.path.len();
                        pointer::push(&mut self.path, name);
                        self.reach.apply(scope.address, address(value));
                        self.schema(value, scope.resolver, scope.draft)?;
                        self.path.truncate(end);
                    }
                }
            }
            "$dynamicRef" | "$recursiveRef" => {
                self.reference(value, scope)?;
                self.reach.apply_dynamic(scope.address, value);
            }
            _ => {}
        }
        self.validate(keyword);
        Ok(())
    }

    /// A schema that applies to any member or item.
    fn every(&mut self, value: &'r Value, scope: &Scope<'_, 'r>) -> Result<Value> {
        self.reach.add(scope.address, address(value), Edge::Every, "");
        self.schema(value, scope.resolver, scope.draft)
    }

    /// A list of schemas; `edge` says to what they apply.
    fn list(&mut self, list: &'r Value, scope: &Scope<'_, 'r>, edge: Edge) -> Result<Value> {
        let Value::Array(list) = list else { return Err(self.fault("it is not a list")) };
        let mut out = Vec::with_capacity(list.len());
        for (at, value) in list.iter().enumerate() {
            let end = self.path.len();
            pointer::push(&mut self.path, &at.to_string());
            self.reach.add(scope.address, address(value), edge, "");
            out.push(self.schema(value, scope.resolver, scope.draft)?);
            self.path.truncate(end);
        }
        Ok(Value::Array(out))
    }

    /// Schemas under names; `edge` says to what they apply.
    fn map(&mut self, map: &'r Value, scope: &Scope<'_, 'r>, edge: Edge) -> Result<Value> {
        let Value::Object(map) = map else { return Err(self.fault("it is not an object")) };
        let mut out = Map::new();
        for (name, value) in map {
            let end = self.path.len();
            pointer::push(&mut self.path, name);
            self.reach.add(scope.address, address(value), edge, name);
            out.insert(name.clone(), self.schema(value, scope.resolver, scope.draft)?);
            self.path.truncate(end);
        }
        Ok(Value::Object(out))
    }

    /// A schema that refers to another one, which is lowered once under a name of its own.
    fn reference(&mut self, reference: &Value, scope: &Scope<'_, 'r>) -> Result<Value> {
        let Value::String(reference) = reference else {
            return Err(self.fault("the reference is not a text"));
        };
        let found = scope.resolver.lookup(reference);
        let (target, resolver, draft) =
            found.map_err(|why| unresolved(&why).field(pointer::shown(&self.path)))?.into_inner();
        let to = address(target);
        self.reach.apply(scope.address, to);
        let next = self.names.len();
        if let Some(name) = self.names.get(&to) {
            return Ok(json!({ "$ref": format!("#/$defs/{name}") }));
        }
        if next >= bounds::TARGETS {
            let what = format!("the schema refers to more than {} places", bounds::TARGETS);
            return Err(bounds::too_complex(what));
        }
        let name = format!("d{next}");
        self.names.insert(to, name.clone());
        let path = reference.trim_start_matches('#').to_owned();
        self.waiting.push_back((name.clone(), path, target, resolver, draft));
        Ok(json!({ "$ref": format!("#/$defs/{name}") }))
    }
}

/// Whether nothing but the keywords of the object itself says which members it has.
fn is_plain(members: &Map<String, Value>) -> bool {
    const OTHERS: [&str; 12] = [
        "$ref",
        "$dynamicRef",
        "$recursiveRef",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentSchemas",
        "dependencies",
    ];
    !OTHERS.iter().any(|keyword| members.contains_key(*keyword))
}

/// The identity of a schema while its document lives.
pub(super) fn address(schema: &Value) -> usize {
    std::ptr::from_ref(schema) as usize
}

fn name(draft: Draft) -> &'static str {
    match draft {
        Draft::Draft4 => "draft 4 of JSON Schema",
        Draft::Draft6 => "draft 6 of JSON Schema",
        Draft::Draft7 => "draft 7 of JSON Schema",
        Draft::Draft201909 => "draft 2019-09 of JSON Schema",
        _ => "draft 2020-12 of JSON Schema",
    }
}

/// Keywords about one kind of value first, then those that apply other schemas.
fn ordered(mut members: Map<String, Value>) -> Map<String, Value> {
    let last = ["const", "enum", "allOf", "anyOf", "oneOf", "$ref"];
    let late: Vec<(&str, Value)> = last
        .into_iter()
        .filter_map(|keyword| Some((keyword, members.shift_remove(keyword)?)))
        .collect();
    for (keyword, value) in late {
        members.insert(keyword.to_owned(), value);
    }
    members
}
