//! The contract of the blob trait.

use crate::{Blobs, FolderBlobs, MemoryBlobs};
use sprat_task::{Digest, FakeClock, Timestamp};
use std::io::{Error, Read};
use std::sync::Arc;

fn on_every_backend(story: impl Fn(&dyn Blobs)) {
    let clock = || Arc::new(FakeClock::new(Timestamp(1000)));
    let folder = tempfile::tempdir().unwrap();
    story(&FolderBlobs::open(folder.path(), clock()).unwrap());
    story(&MemoryBlobs::new(clock()));
}

/// Gives some bytes, then fails, like a source on a bad disk.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let give = buffer.len().min(self.0);
        self.0 -= give;
        if give == 0 { Err(Error::other("the source broke")) } else { Ok(give) }
    }
}

#[test]
fn a_blob_comes_back_as_it_was_put() {
    on_every_backend(|blobs| {
        for content in [b"".to_vec(), b"weights".to_vec(), vec![7; 1_000_000]] {
            let (digest, bytes) = blobs.put(&mut &content[..]).unwrap();
            assert_eq!((digest, bytes), (Digest::of(&content), content.len() as u64));
            assert!(blobs.has(&digest).unwrap());
            assert_eq!(blobs.get(&digest).unwrap(), content);
            assert_eq!(blobs.verify(&digest).unwrap(), bytes);
        }
        assert_eq!(blobs.list().unwrap().len(), 3);
        assert!(blobs.list().unwrap().is_sorted());
    });
}

#[test]
fn the_same_content_is_one_blob_and_its_time_is_renewed() {
    on_every_backend(|blobs| {
        blobs.put_bytes(b"same").unwrap();
        let first = blobs.list().unwrap();
        blobs.put_bytes(b"same").unwrap();
        let second = blobs.list().unwrap();
        assert_eq!((first.len(), second.len()), (1, 1));
        assert!(second[0].put > first[0].put && second[0].bytes == 4);
    });
}

#[test]
fn a_blob_that_is_not_there_is_said_to_be_missing() {
    on_every_backend(|blobs| {
        let digest = Digest::of(b"never put");
        assert!(!blobs.has(&digest).unwrap() && !blobs.remove(&digest).unwrap());
        assert_eq!(blobs.get(&digest).unwrap_err().code().id, "SPRAT-STORE-MISSING");
    });
}

#[test]
fn a_removed_blob_is_gone_and_can_be_put_again() {
    on_every_backend(|blobs| {
        let digest = blobs.put_bytes(b"here").unwrap();
        assert!(blobs.remove(&digest).unwrap());
        assert!(!blobs.has(&digest).unwrap());
        blobs.put_bytes(b"here").unwrap();
        assert_eq!(blobs.get(&digest).unwrap(), b"here");
    });
}

#[test]
fn a_source_that_breaks_leaves_nothing_behind() {
    on_every_backend(|blobs| {
        assert!(blobs.put(&mut Failing(300_000)).is_err());
        assert!(blobs.list().unwrap().is_empty());
        assert!(blobs.leftovers().unwrap().is_empty());
    });
}

#[test]
fn many_writers_of_the_same_content_do_not_disturb_each_other() {
    on_every_backend(|blobs| {
        let content = vec![3; 200_000];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let digest = blobs.put_bytes(&content).unwrap();
                        assert_eq!(blobs.verify(&digest).unwrap(), 200_000);
                    }
                });
            }
        });
        assert_eq!(blobs.list().unwrap().len(), 1);
        assert!(blobs.leftovers().unwrap().is_empty());
    });
}
