//! API keys: 256 random bits each, stored as their SHA-256.
//!
//! A slow password hash protects secrets that can be guessed. A key of 256 random bits cannot,
//! so a fast hash is enough, and no request pays for a slow one.

use crate::codes;
use sha2::{Digest, Sha256};
use sprat_task::{Error, Result};
use std::path::Path;
use subtle::{Choice, ConstantTimeEq};

/// How every key begins, so that scanners for leaked secrets recognize it.
const PREFIX: &str = "sprat-";

/// A new key.
pub struct Created {
    /// The key itself, to be given to the client; it is stored nowhere.
    pub key: String,
    /// The line for the file of keys: `NAME SHA256`, and `admin` behind it for such a key.
    pub line: String,
}

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To ask models and to look.
    Client,
    /// Besides that, to promote and to roll back.
    Admin,
}

/// Creates a key under a name, from the operating system's random source.
///
/// # Errors
/// [`codes::KEYS`] for a name that is empty or has white space, or without a random source.
pub fn create(name: &str, role: Role) -> Result<Created> {
    if name.is_empty() || name.contains(char::is_whitespace) || name.starts_with('#') {
        let what = "the name of a key must be one word that does not begin with #";
        return Err(Error::new(&codes::KEYS, what));
    }
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits).map_err(|why| {
        Error::new(&codes::KEYS, "the system gives no random numbers").why(why.to_string())
    })?;
    let key = format!("{PREFIX}{}", hex::encode(bits));
    let mut line = format!("{name} {}", hex::encode(hash(&key)));
    if role == Role::Admin {
        line += " admin";
    }
    Ok(Created { key, line })
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// The keys that a server accepts.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    name: String,
    digest: [u8; 32],
    role: Role,
}

impl Keys {
    /// Reads a file with one `NAME SHA256` per line, with `admin` behind it for an admin's key;
    /// empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`codes::KEYS`] with file and line.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|why| Error::io(&codes::KEYS, "read the API keys", path, &why))?;
        let mut keys = Vec::new();
        for (number, line) in (1_u64..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(key) = parse(line) else {
                let what =
                    "a line is not a name, a SHA-256 in hexadecimal digits and maybe `admin`";
                return Err(Error::new(&codes::KEYS, what).file(path).line(number));
            };
            keys.push(key);
        }
        if keys.is_empty() {
            // An empty file must not open the server to everybody.
            let what = "the file of API keys holds no key";
            return Err(Error::new(&codes::KEYS, what).file(path));
        }
        Ok(Keys(keys))
    }

    /// Takes keys themselves, separated by commas or white space, as an environment variable
    /// holds them.
    ///
    /// # Errors
    /// [`codes::KEYS`] when there is none, or one that is short enough to be guessed.
    pub fn from_text(text: &str, role: Role) -> Result<Self> {
        let kind = if role == Role::Admin { "admin" } else { "key" };
        let split = text.split(|c: char| c == ',' || c.is_whitespace());
        let mut keys = Vec::new();
        for (number, key) in (1..).zip(split.filter(|key| !key.is_empty())) {
            if key.len() < 24 {
                let what = format!("key {number} has fewer than 24 characters: it can be guessed");
                return Err(Error::new(&codes::KEYS, what));
            }
            keys.push(Key { name: format!("{kind}-{number}"), digest: hash(key), role });
        }
        if keys.is_empty() {
            return Err(Error::new(&codes::KEYS, "the list of API keys is empty"));
        }
        Ok(Keys(keys))
    }

    /// Both sets together.
    #[must_use]
    pub fn and(mut self, other: Keys) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Those of them that may promote and roll back.
    #[must_use]
    pub fn admins(&self) -> Keys {
        Keys(self.0.iter().filter(|key| key.role == Role::Admin).cloned().collect())
    }

    /// Whether there is no key; of a server's ordinary keys: whether everybody may use it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a key that is among these. Every stored key is compared, in constant time.
    pub fn name_of(&self, key: &str) -> Option<&str> {
        let presented = hash(key);
        let mut found = None;
        for Key { name, digest, .. } in &self.0 {
            let same: Choice = digest.ct_eq(&presented);
            if bool::from(same) {
                found = Some(name.as_str());
            }
        }
        found
    }
}

fn parse(line: &str) -> Option<Key> {
    let mut words = line.split_whitespace();
    let (name, digest) = (words.next()?.to_owned(), words.next()?);
    let role = match words.next() {
        None => Role::Client,
        Some("admin") if words.next().is_none() => Role::Admin,
        Some(_) => return None,
    };
    Some(Key { name, digest: hex::decode(digest).ok()?.try_into().ok()?, role })
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_key_is_accepted_and_stored_only_as_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let (a, b) = (create("app", Role::Client).unwrap(), create("ci", Role::Admin).unwrap());
        assert_ne!(a.key, b.key);
        assert!(!a.line.contains(&a.key));
        std::fs::write(&path, format!("# ours\n\n{}\n{}\n", a.line, b.line)).unwrap();
        let keys = Keys::from_file(&path).unwrap();
        assert_eq!(keys.name_of(&b.key), Some("ci"));
        assert_eq!(keys.name_of("sprat-"), None);
        assert_eq!(format!("{keys:?}"), "[\"app\", \"ci\"]");
        assert_eq!(
            (keys.admins().name_of(&b.key), keys.admins().name_of(&a.key)),
            (Some("ci"), None)
        );
    }

    #[test]
    fn bad_key_files_are_refused_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let whole = create("app", Role::Client).unwrap().line;
        let more = [format!("{whole} root"), format!("{whole} admin x")];
        let bad = [("", None), ("# a\napp 12", Some(2)), ("app", Some(1))];
        let more = more.iter().map(|text| (text.as_str(), Some(1)));
        for (text, line) in bad.into_iter().chain(more) {
            std::fs::write(&path, text).unwrap();
            let error = Keys::from_file(&path).unwrap_err();
            assert_eq!((error.code(), error.place().line), (&codes::KEYS, line));
        }
        assert!(Keys::from_file(&folder.path().join("none")).is_err());
        assert!(create("two words", Role::Client).is_err());
    }

    #[test]
    fn keys_from_the_environment_must_be_long() {
        let key = "0123456789abcdef0123456789";
        let keys = Keys::from_text(&format!("{key}, {key}x"), Role::Client).unwrap();
        assert!(keys.name_of(key).is_some() && keys.admins().is_empty());
        let admins = Keys::from_text(key, Role::Admin).unwrap().admins();
        assert_eq!(admins.name_of(key), Some("admin-1"));
        assert!(Keys::from_text("short", Role::Client).is_err());
        assert!(Keys::from_text(" ", Role::Admin).is_err());
    }
}
