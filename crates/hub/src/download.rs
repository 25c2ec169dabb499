//! One file of a hub: fetched, resumed where an earlier attempt broke, and checked.

use crate::cache::trouble;
use crate::codes::{DIGEST, NETWORK, PROTOCOL, TOO_LARGE};
use crate::http::{Answer, Client};
use crate::pull::PullOptions;
use crate::retry::{self, Failure};
use sha1::Digest as _;
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What is known of a file before it is fetched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// Its size in bytes.
    pub(crate) bytes: Option<u64>,
    /// Its entity tag: 64 digits are its SHA-256, 40 digits the SHA-1 of its git blob.
    pub(crate) tag: Option<String>,
}

/// A file to fetch.
pub(crate) struct Job<'a> {
    /// The address below the endpoint.
    pub(crate) address: String,
    /// Where the finished file goes.
    pub(crate) to: PathBuf,
    /// What is known of it.
    pub(crate) expected: Expected,
    /// More bytes than this are refused.
    pub(crate) limit: u64,
    pub(crate) options: &'a PullOptions,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) interrupt: &'a Interrupt,
}

/// The digest of a file's content in the two forms that a hub announces.
pub(crate) struct Digests {
    pub(crate) sha256: Digest,
    pub(crate) blob: String,
    pub(crate) bytes: u64,
}

impl Digests {
    /// Reads a file once for both digests. A git blob's name is the SHA-1 of `blob SIZE\0` and the
    /// content (git, "Git Objects").
    pub(crate) fn of(path: &Path, interrupt: &Interrupt) -> Result<Self> {
        let failed = |error: io::Error| trouble("read a fetched file", path, &error);
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut blob = sha1::Sha1::new_with_prefix(format!("blob {bytes}\0"));
        let mut sha256 = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            interrupt.check()?;
            let read = file.read(&mut buffer).map_err(failed)?;
            let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
            sha256.update(chunk);
            blob.update(chunk);
        }
        let sha256 = hex::encode(sha256.finalize())
            .parse()
            .map_err(|_| Error::new(&PROTOCOL, "a digest has the wrong length"))?;
        Ok(Self { sha256, blob: hex::encode(blob.finalize()), bytes })
    }

    /// Whether the content is what `expected` announces; a tag of another form says nothing.
    pub(crate) fn fit(&self, expected: &Expected) -> bool {
        let tag_fits = match &expected.tag {
            Some(tag) if tag.len() == 64 => self.sha256.to_string() == *tag,
            Some(tag) if tag.len() == 40 => self.blob == *tag,
            _ => true,
        };
        tag_fits && expected.bytes.is_none_or(|bytes| bytes == self.bytes)
    }
}

/// Fetches a file, and gives its digests. A `.part` file beside the target keeps what has come so
/// far, also across processes.
pub(crate) fn fetch(client: &Client<'_>, job: &Job<'_>) -> Result<Digests> {
    let part = part_of(&job.to);
    if job.to.is_file() {
        // An earlier run finished this file.
        let digests = Digests::of(&job.to, job.interrupt)?;
        if digests.fit(&job.expected) {
            job.progress.advance(digests.bytes);
            return Ok(digests);
        }
        remove(&job.to)?;
    }
    let mut reported = length(&part);
    job.progress.advance(reported);
    retry::run(job.options, job.interrupt, || attempt(client, job, &part, &mut reported))
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(trouble("remove a file", path, &error))
        }
        _ => Ok(()),
    }
}

/// One request; `reported` is how far the progress bar already stands.
fn attempt(
    client: &Client<'_>,
    job: &Job<'_>,
    part: &Path,
    reported: &mut u64,
) -> Result<Digests, Failure> {
    let had = length(part);
    let finished = had > 0 && job.expected.bytes == Some(had);
    let mut expected = job.expected.clone();
    if !finished {
        let answer = client.get(&job.address, had)?;
        expected.tag = expected.tag.or_else(|| answer.etag.clone());
        receive(answer, job, part, had, reported, &mut expected)?;
    }
    let digests = Digests::of(part, job.interrupt)?;
    if !digests.fit(&expected) {
        remove(part)?;
        let error = wrong_digest(job, &expected, &digests);
        // What an earlier run left may be stale; what came in one piece is wrong at its source.
        return Err(if had > 0 { Failure::again(error) } else { Failure::Final(error) });
    }
    fs::rename(part, &job.to).map_err(|error| trouble("keep a fetched file", &job.to, &error))?;
    Ok(digests)
}

fn wrong_digest(job: &Job<'_>, expected: &Expected, digests: &Digests) -> Error {
    let announced = expected.tag.as_deref().unwrap_or("no digest");
    let found =
        if announced.len() == 40 { digests.blob.clone() } else { digests.sha256.to_string() };
    Error::new(&DIGEST, format!("`{}` came with the wrong content", job.address))
        .why(format!("{announced} was announced, {found} ({} bytes) came", digests.bytes))
}

/// Appends an answer's body to the part file.
fn receive(
    answer: Answer,
    job: &Job<'_>,
    part: &Path,
    had: u64,
    reported: &mut u64,
    expected: &mut Expected,
) -> Result<(), Failure> {
    let status = answer.response.status().as_u16();
    let range = answer.response.headers().get("content-range").and_then(|t| t.to_str().ok());
    let start = match status {
        206 if range.and_then(range_start) == Some(had) => had,
        200 => 0,
        // The server cannot resume from there: from the start, then.
        _ => {
            remove(part)?;
            let error = Error::new(&PROTOCOL, format!("`{}` cannot be resumed", job.address));
            return Err(if had > 0 { Failure::again(error) } else { Failure::Final(error) });
        }
    };
    let body_bytes = answer.response.body().content_length();
    let total = expected.bytes.or(answer.size).or(body_bytes.map(|bytes| start + bytes));
    expected.bytes = total;
    if total.is_some_and(|total| total > job.limit) {
        return Err(too_large(job).into());
    }
    let failed = |error: io::Error| trouble("write a model's file", part, &error);
    let mut file =
        if start > 0 { OpenOptions::new().append(true).open(part) } else { File::create(part) }
            .map_err(failed)?;
    let mut body = answer.response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut at = start;
    let ended = loop {
        job.interrupt.check()?;
        let read = match body.read(&mut buffer) {
            Ok(read) => read,
            Err(error) => break Some(error.to_string()),
        };
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break None };
        at += read as u64;
        if at > total.unwrap_or(job.limit) {
            drop(file);
            remove(part)?;
            return Err(too_large(job).into());
        }
        if let Err(error) = file.write_all(chunk) {
            drop(file);
            // A full disk is not made fuller by what nobody asked for.
            remove(part)?;
            return Err(failed(error).into());
        }
        job.progress.advance(at.saturating_sub(*reported));
        *reported = at.max(*reported);
    };
    file.sync_all().map_err(failed)?;
    if ended.is_none() && total.is_none_or(|total| at == total) {
        return Ok(());
    }
    let why = ended.unwrap_or_else(|| "the connection closed early".to_owned());
    let total = total.map_or("?".to_owned(), |total| total.to_string());
    let error = Error::new(&NETWORK, format!("`{}` broke off", job.address))
        .why(format!("{why}, after {at} of {total} bytes"));
    Err(Failure::Again { error, after: None, moved: at > had })
}

fn too_large(job: &Job<'_>) -> Error {
    Error::new(&TOO_LARGE, format!("`{}` is larger than announced or allowed", job.address)).why(
        format!("the limit is {} bytes", job.expected.bytes.unwrap_or(job.limit).min(job.limit)),
    )
}

/// The first byte's position in `bytes 10-99/100`.
fn range_start(text: &str) -> Option<u64> {
    text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
