//! The sealed test part: it can be opened, and every opening is recorded first.

use crate::codes;
use crate::example::Dataset;
use crate::version;
use serde::{Deserialize, Serialize};
use sprat_task::{Clock, Digest, Error, Result, write};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const SEAL: &str = "seal.json";
const ROWS: &str = "test.jsonl";
const OPENINGS: &str = "openings.jsonl";
const SCHEMA: &str = "sprat.seal/1";

/// A folder with `test.jsonl`, `seal.json` (its digest) and `openings.jsonl` (who read it, and
/// why). A seal makes looking visible; it is no lock against somebody who edits files.
#[derive(Clone, Debug)]
pub struct Seal {
    folder: PathBuf,
    stamp: Stamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stamp {
    schema: String,
    digest: Digest,
    rows: u64,
    source: PathBuf,
    sealed_at: String,
}

/// One opening of a sealed part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// When, RFC 3339.
    pub at: String,
    /// What for.
    pub reason: String,
    /// Who or which command.
    pub by: String,
}

impl Seal {
    /// Seals a dataset in a folder; an old seal in it is an error.
    ///
    /// # Errors
    /// [`codes::EXISTS`], [`codes::WRITE`].
    pub fn create(folder: &Path, test: &Dataset, clock: &dyn Clock) -> Result<Self> {
        let seal = folder.join(SEAL);
        if seal.exists() {
            return Err(Error::new(&codes::EXISTS, "a sealed part is here already").file(seal));
        }
        // The digest is that of the rows as they read back.
        version::write_rows(&folder.join(ROWS), &test.examples)?;
        let stamp = Stamp {
            schema: SCHEMA.into(),
            digest: test.digest,
            rows: test.len() as u64,
            source: test.source.clone(),
            sealed_at: clock.now().to_rfc3339(),
        };
        let text = serde_json::to_vec_pretty(&stamp)
            .map_err(io::Error::from)
            .and_then(|text| write::bytes(&seal, &text));
        text.map_err(|why| version::failed(&seal, &why))?;
        Ok(Seal { folder: folder.to_path_buf(), stamp })
    }

    /// The seal in a folder; does not look at the rows.
    ///
    /// # Errors
    /// [`codes::SEAL`] when there is none or it can't be read.
    pub fn at(folder: &Path) -> Result<Self> {
        let path = folder.join(SEAL);
        let text =
            fs::read(&path).map_err(|why| Error::io(&codes::SEAL, "read the seal", &path, &why))?;
        let stamp: Stamp = serde_json::from_slice(&text).map_err(|why| {
            Error::new(&codes::SEAL, "the seal is damaged").file(&path).why(why.to_string())
        })?;
        if stamp.schema != SCHEMA {
            let what = format!("the seal has the unknown version `{}`", stamp.schema);
            return Err(Error::new(&codes::SEAL, what).file(&path));
        }
        Ok(Seal { folder: folder.to_path_buf(), stamp })
    }

    /// The digest of the sealed rows.
    pub fn digest(&self) -> Digest {
        self.stamp.digest
    }

    /// How many rows are sealed.
    pub fn rows(&self) -> u64 {
        self.stamp.rows
    }

    /// Records the opening, then reads the rows. The record is on disk before a row is read.
    ///
    /// # Errors
    /// [`codes::WRITE`] when the opening can't be recorded (nothing is then read),
    /// [`codes::SEAL`] when the rows are not those that were sealed.
    pub fn open(&self, reason: &str, by: &str, clock: &dyn Clock) -> Result<Dataset> {
        let log = self.folder.join(OPENINGS);
        let opening =
            Opening { at: clock.now().to_rfc3339(), reason: reason.into(), by: by.into() };
        let recorded = (|| {
            let mut line = serde_json::to_vec(&opening)?;
            line.push(b'\n');
            let mut file = OpenOptions::new().create(true).append(true).open(&log)?;
            // One write, so that two openings at once do not mix.
            file.write_all(&line)?;
            file.sync_all()
        })();
        recorded.map_err(|why: io::Error| version::failed(&log, &why))?;
        let path = self.folder.join(ROWS);
        let mut data = version::read_rows(&path).map_err(|why| {
            Error::new(&codes::SEAL, "the sealed rows can't be read")
                .file(&path)
                .why(why.to_string())
        })?;
        if data.digest != self.stamp.digest {
            let error = Error::new(&codes::SEAL, "the sealed rows were changed").file(&path);
            return Err(error.why(format!(
                "their digest is {}, sealed was {}",
                data.digest.short(),
                self.stamp.digest.short()
            )));
        }
        data.source.clone_from(&self.stamp.source);
        Ok(data)
    }

    /// All openings so far, oldest first.
    ///
    /// # Errors
    /// [`codes::SEAL`] when the log can't be read.
    pub fn openings(&self) -> Result<Vec<Opening>> {
        let path = self.folder.join(OPENINGS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(Error::io(&codes::SEAL, "read the openings", &path, &why)),
        };
        let line = |(at, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|why| {
                let error = Error::new(&codes::SEAL, "the log of openings is damaged");
                error.file(&path).line(at as u64 + 1).why(why.to_string())
            })
        };
        text.lines().enumerate().map(line).collect()
    }
}
