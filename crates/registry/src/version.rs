//! A version: what it consists of, and the digest over all of it.

use crate::{Tree, codes};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sprat_store::VersionRow;
use sprat_task::{Digest, Error, Result, Timestamp};
use std::fmt;

/// The layout of a stored version's body. Raise it when [`Body`] or [`Content`] changes, and
/// teach [`Version::from_row`] the old one.
pub(crate) const BODY_FORMAT: u32 = 1;

/// The base model of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The reference under which it was pulled, such as `hf:org/name@rev`.
    pub reference: String,
    /// The digest of its files.
    pub digest: Digest,
}

/// Everything that makes a version what it is. Its digest is the version's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The task that it does.
    pub task: String,
    /// What it was tuned from.
    pub base: Base,
    /// The digest of the data, before splitting.
    pub data: Digest,
    /// The digest of the split into train, validation and test.
    pub split: Digest,
    /// The resolved settings, as a JSON object.
    pub settings: Value,
    /// The prompt template or prefix; empty where there is none.
    pub template: String,
    /// The version of the code that made it.
    pub code: String,
    /// The measured figures, as a JSON object.
    pub metrics: Value,
    /// What the gate saw and decided.
    pub evidence: Value,
    /// The files.
    pub artefact: Tree,
}

impl Content {
    /// The digest over all of it: SHA-256 of the canonical JSON.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&serde_json::to_value(self).unwrap_or(Value::Null))
    }
}

/// Where an imported version comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its number in the registry that exported it.
    pub number: u32,
    /// When it was released there.
    pub created: Timestamp,
}

/// An immutable version of a task's model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Version {
    /// The task.
    pub task: String,
    /// The number within the task and this registry, from 1.
    pub number: u32,
    /// The digest over [`Version::content`].
    pub digest: Digest,
    /// The digest of the version that it succeeds.
    pub parent: Option<Digest>,
    /// When it came into this registry.
    pub created: Timestamp,
    /// Who released it.
    pub who: String,
    /// A remark.
    pub note: String,
    /// Where it came from, if it was imported.
    pub origin: Option<Origin>,
    /// What it is.
    pub content: Content,
}

impl fmt::Display for Version {
    /// `task@v3`, a reference that names this version for ever.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@v{}", self.task, self.number)
    }
}

/// What stands in the body of a stored version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    pub(crate) format: u32,
    pub(crate) who: String,
    pub(crate) note: String,
    pub(crate) origin: Option<Origin>,
    pub(crate) content: Content,
}

impl Version {
    /// Reads a stored version and checks it against its digest.
    pub(crate) fn from_row(row: VersionRow) -> Result<Version> {
        let damaged = |why: String| {
            let what = format!("version {}@v{} is damaged", row.task, row.number);
            Error::new(&codes::DAMAGED, what).why(why)
        };
        let body: Value =
            serde_json::from_str(&row.body).map_err(|why| damaged(why.to_string()))?;
        let format = body["format"].as_u64();
        if format != Some(u64::from(BODY_FORMAT)) {
            return Err(damaged(format!(
                "its format is {}, this program knows {BODY_FORMAT}",
                body["format"]
            ))
            .help("Use the newer version of Sprat that wrote it."));
        }
        let body: Body = serde_json::from_value(body).map_err(|why| damaged(why.to_string()))?;
        let found = body.content.digest();
        if found != row.digest {
            return Err(damaged(format!("it says {}, its content has {found}", row.digest)));
        }
        if body.content.task != row.task {
            return Err(damaged(format!("its content is of the task {}", body.content.task)));
        }
        Ok(Version {
            task: row.task,
            number: row.number,
            digest: row.digest,
            parent: row.parent,
            created: row.created,
            who: body.who,
            note: body.note,
            origin: body.origin,
            content: body.content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TreeFile;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn content(settings: Value, metrics: Value) -> Content {
        let file = TreeFile { digest: Digest::of(b"w"), bytes: 1 };
        Content {
            task: "intent".into(),
            base: Base { reference: "hf:a/b".into(), digest: Digest::of(b"base") },
            data: Digest::of(b"data"),
            split: Digest::of(b"split"),
            settings,
            template: "query: ".into(),
            code: "0.1.0".into(),
            metrics,
            evidence: Value::Null,
            artefact: Tree([("head".to_owned(), file)].into()),
        }
    }

    proptest! {
        #[test]
        fn a_digest_survives_being_written_and_read(settings in json(), metrics in json()) {
            let before = content(settings, metrics);
            let text = serde_json::to_string_pretty(&before).unwrap();
            let after: Content = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(before.digest(), after.digest());
        }

        #[test]
        fn different_settings_have_different_digests(a in json(), b in json()) {
            let same = a == b;
            let digests = (content(a, Value::Null).digest(), content(b, Value::Null).digest());
            prop_assert_eq!(digests.0 == digests.1, same);
        }
    }

    #[test]
    fn every_field_counts() {
        let original = serde_json::to_value(content(serde_json::json!({"rank": 16}), Value::Null));
        let original = original.unwrap();
        let digest = Digest::of_json(&original);
        assert_eq!(digest, content(serde_json::json!({"rank": 16}), Value::Null).digest());
        let fields = original.as_object().unwrap();
        assert_eq!(fields.len(), 10);
        for field in fields.keys() {
            let mut changed = original.clone();
            changed[field] = "changed".into();
            assert_ne!(Digest::of_json(&changed), digest, "{field}");
        }
    }
}
