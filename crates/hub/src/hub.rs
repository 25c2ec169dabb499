//! The hub's protocol: list a revision's files, then fetch each from its commit.
//!
//! `GET /api/models/{repo}/revision/{revision}?blobs=true` answers the commit and the files with
//! their sizes and digests; `GET /{repo}/resolve/{commit}/{file}` answers a file, mostly through a
//! redirect to a store (Hugging Face, "Hub API endpoints"; the headers X-Linked-Etag and
//! X-Linked-Size carry the store's facts).

use crate::cache::{Cache, require_space, trouble};
use crate::codes::{PROTOCOL, TOO_LARGE};
use crate::download::{self, Expected, Job};
use crate::http::Client;
use crate::manifest::{FileRecord, Manifest};
use crate::pull::{PullOptions, Pulled};
use crate::reference::ModelRef;
use crate::retry::{self, Failure};
use crate::{files, snapshot};
use serde::Deserialize;
use sprat_task::{Error, Interrupt, Progress, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A repository's files are listed in fewer bytes than this.
const LISTING_BYTES: u64 = 32 << 20;

/// A reference to a hub, taken apart.
pub(crate) struct Wanted<'a> {
    pub(crate) reference: &'a ModelRef,
    pub(crate) repo: &'a str,
    pub(crate) revision: &'a str,
    pub(crate) file: Option<&'a str>,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Sibling {
    fn expected(&self) -> Expected {
        match &self.lfs {
            // The blob of a large file is its pointer: the pointer's own digest says nothing.
            Some(lfs) => Expected { bytes: lfs.size.or(self.size), tag: lfs.sha256.clone() },
            None => Expected { bytes: self.size, tag: self.blob_id.clone() },
        }
    }
}

/// Fetches a model from the hub into the cache.
pub(crate) fn fetch(
    wanted: &Wanted<'_>,
    options: &PullOptions,
    cache: &Cache,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Pulled> {
    let client = Client::new(options)?;
    let listing = list(&client, wanted, options, interrupt)?;
    let facts: BTreeMap<&str, Expected> =
        listing.siblings.iter().map(|file| (file.rfilename.as_str(), file.expected())).collect();
    let paths: Vec<String> = facts.keys().map(|path| (*path).to_owned()).collect();
    let source = format!("{}/{}", options.environment.hub_endpoint, wanted.repo);
    let taken = files::select(&paths, wanted.file, &source)?;
    let known: u64 = taken
        .iter()
        .filter_map(|path| facts.get(path.as_str())?.bytes)
        .fold(0, u64::saturating_add);
    if known > options.limits.model_bytes {
        return Err(Error::new(&TOO_LARGE, format!("`{}` is too large", wanted.reference))
            .why(format!("it has {known} bytes, the limit is {}", options.limits.model_bytes)));
    }
    let whole = stage(cache, wanted.reference, &listing.sha)?;
    require_space(&whole, known)?;
    progress.start(&wanted.reference.to_string(), (known > 0).then_some(known), "bytes");
    let mut records = Vec::new();
    for path in taken {
        progress.note(&path);
        let job = Job {
            address: format!("/{}/resolve/{}/{}", wanted.repo, listing.sha, encode(&path)),
            to: whole.join(&path),
            expected: facts.get(path.as_str()).cloned().unwrap_or_default(),
            limit: limit_of(&path, options),
            options,
            progress,
            interrupt,
        };
        if let Some(parent) = job.to.parent() {
            fs::create_dir_all(parent)
                .map_err(|error| trouble("make a model's folder", parent, &error))?;
        }
        let known = snapshot::file(options, wanted.repo, &listing.sha, &path);
        let digests = match known {
            Some(here) if !job.to.is_file() => match snapshot::copy(&here, &job)? {
                Some(digests) => digests,
                None => download::fetch(&client, &job)?,
            },
            _ => download::fetch(&client, &job)?,
        };
        records.push(FileRecord { path, sha256: digests.sha256, bytes: digests.bytes });
    }
    progress.finish();
    cache.install(Manifest::new(wanted.reference, Some(listing.sha), source, records), &whole)
}

fn limit_of(path: &str, options: &PullOptions) -> u64 {
    if path.ends_with(".json") || path.ends_with(".txt") || path.ends_with(".jinja") {
        options.limits.text_bytes
    } else {
        options.limits.model_bytes
    }
}

/// The folder in which the files of one commit gather; those of other commits go.
fn stage(cache: &Cache, reference: &ModelRef, commit: &str) -> Result<std::path::PathBuf> {
    let staging = cache.staging(reference);
    if let Ok(entries) = fs::read_dir(&staging) {
        for entry in entries.flatten().filter(|entry| entry.file_name() != *commit) {
            crate::cache::remove_folder(&entry.path())?;
        }
    }
    let whole = staging.join(commit);
    fs::create_dir_all(&whole).map_err(|error| trouble("make the cache", &whole, &error))?;
    Ok(whole)
}

fn list(
    client: &Client<'_>,
    wanted: &Wanted<'_>,
    options: &PullOptions,
    interrupt: &Interrupt,
) -> Result<Listing> {
    let revision = encode(wanted.revision).replace('/', "%2F");
    let address = format!("/api/models/{}/revision/{revision}?blobs=true", wanted.repo);
    let text = retry::run(options, interrupt, || {
        let answer = client.get(&address, 0)?;
        let mut body = answer.response.into_body();
        let text = body.with_config().limit(LISTING_BYTES).read_to_vec().map_err(|error| {
            let told = Error::new(&crate::codes::NETWORK, "the hub's list of files broke off");
            Failure::again(told.why(error.to_string()))
        })?;
        Ok(text)
    })?;
    let odd = |why: String| {
        let endpoint = &options.environment.hub_endpoint;
        Error::new(&PROTOCOL, format!("`{endpoint}` does not answer as a hub does")).why(why)
    };
    let listing: Listing = serde_json::from_slice(&text).map_err(|error| odd(error.to_string()))?;
    // The commit becomes a folder's name.
    if listing.sha.len() < 7 || !listing.sha.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(odd("its commit is not a digest".to_owned()));
    }
    if listing.siblings.len() > options.limits.files {
        return Err(odd(format!("it lists {} files", listing.siblings.len())));
    }
    Ok(listing)
}

/// Percent-encodes what may not stand in a path (RFC 3986, section 2.3), slashes apart.
fn encode(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// Whether every shard that an index names is in the folder.
pub(crate) fn has_every_shard(dir: &Path) -> bool {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Ok(text) = fs::read(dir.join("model.safetensors.index.json")) else { return true };
    serde_json::from_slice::<Index>(&text)
        .is_ok_and(|index| index.weight_map.values().all(|shard| dir.join(shard).is_file()))
}
