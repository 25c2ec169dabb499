//! Embeddings of the frozen base model, computed once per folder: the head is trained on them,
//! alone or as the starting point of the other methods, and every trial of a search needs them.

use crate::codes::STORAGE;
use crate::container::{self, Array};
use sprat_nn::Mat;
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::path::Path;

/// Texts embedded between two looks at the interrupt.
const CHUNK: usize = 256;

/// The embeddings `[count, hidden]` of texts, from the file if it holds those of `key`, otherwise
/// computed by `embed` (which gets a range of texts) and then kept in the file.
///
/// A damaged or foreign file is computed anew: it is a cache.
pub(crate) fn cached(
    path: &Path,
    key: Digest,
    count: usize,
    mut embed: impl FnMut(std::ops::Range<usize>) -> Result<Mat>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Mat> {
    if let Some(found) = read(path, key, count) {
        return Ok(found);
    }
    progress.start("embedding", Some(count as u64), "texts");
    let mut all = Mat::default();
    let mut run = || {
        for start in (0..count).step_by(CHUNK) {
            interrupt.check()?;
            let range = start..count.min(start + CHUNK);
            let texts = range.len() as u64;
            let part = embed(range)?;
            all.cols = part.cols;
            all.rows += part.rows;
            all.data.extend(part.data);
            progress.advance(texts);
        }
        Ok(())
    };
    let result = run();
    progress.finish();
    result?;
    let header = serde_json::json!({ "key": key, "cols": all.cols });
    let arrays = [Array { name: "embeddings".into(), values: &all.data }];
    container::write(path, &header, &arrays)
        .map_err(|error| Error::io(&STORAGE, "keep the embeddings", path, &error))?;
    Ok(all)
}

fn read(path: &Path, key: Digest, count: usize) -> Option<Mat> {
    let content = container::read(path).ok()?;
    if content.header.get("key")?.as_str()? != key.to_string() {
        return None;
    }
    let cols = content.header.get("cols")?.as_u64()? as usize;
    let (_, data) = content.arrays.into_iter().next()?;
    let whole = data.len() == count.checked_mul(cols)?;
    whole.then_some(Mat { rows: count, cols, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_task::Quiet;

    #[test]
    fn embeddings_are_computed_once_per_key_and_again_when_the_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings");
        let mut calls = 0;
        let mut get = |key: &[u8]| {
            let embed = |range: std::ops::Range<usize>| {
                calls += 1;
                Ok(Mat::new(range.len(), 2, range.flat_map(|at| [at as f32, 0.5]).collect()))
            };
            let key = Digest::of(key);
            let all = cached(&path, key, 300, embed, &Quiet, &Interrupt::default()).unwrap();
            assert_eq!((all.rows, all.cols, all.row(299)), (300, 2, &[299.0, 0.5][..]));
            calls
        };
        assert_eq!(get(b"a"), 2);
        assert_eq!(get(b"a"), 2, "taken from the file");
        assert_eq!(get(b"b"), 4, "other texts or another model");
        std::fs::write(&path, b"SPRATCKP torn").unwrap();
        let mut calls = 0;
        let embed = |range: std::ops::Range<usize>| {
            calls += 1;
            Ok(Mat::zeros(range.len(), 2))
        };
        let key = Digest::of(b"b");
        cached(&path, key, 300, embed, &Quiet, &Interrupt::default()).unwrap();
        assert_eq!(calls, 2);
    }
}
