//! What the tests share: a world with a registry, artefacts and passed gates.

use serde_json::json;
use sprat_eval::{
    Equivalence, Evidence, Gate, Leakage, PassedGate, Quality, TestSeal, Weights, wilson,
};
use sprat_registry::{Base, Registry, Release, Released, Tree, Version};
use sprat_store::{MemoryBlobs, memory::MemoryRows};
use sprat_task::{Clock, Digest, FakeClock, Interrupt, Quiet, Result, SystemClock, Timestamp};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) registry: Registry,
}

impl World {
    pub(crate) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        // Files that tests make themselves are stamped by the system; start from there.
        let clock = Arc::new(FakeClock::new(Timestamp(SystemClock.now().0 + 1000)));
        let registry = Registry::open(&folder.path().join(".sprat"), clock).unwrap();
        World { folder, registry }
    }

    pub(crate) fn in_memory() -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(FakeClock::new(Timestamp(1_000_000)));
        let rows = Arc::new(MemoryRows::default());
        let blobs = Arc::new(MemoryBlobs::new(clock.clone()));
        let registry = Registry::with(&folder.path().join(".sprat"), rows, blobs, clock);
        World { folder, registry }
    }

    /// A folder with these files.
    pub(crate) fn artefact(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        artefact(&self.folder.path().join(name), files)
    }

    /// Releases an artefact of the task "intent" that differs by its content.
    pub(crate) fn release(&self, content: &str) -> Version {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        let folder = artefact(
            folder.path(),
            &[("classifier.json", b"{}"), ("weights/head.bin", content.as_bytes())],
        );
        release(&self.registry, &folder, None).unwrap().version
    }

    pub(crate) fn assert_sound(&self) {
        assert_sound(&self.registry);
    }
}

pub(crate) fn artefact(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder.to_path_buf()
}

/// A gate that passed for this folder.
pub(crate) fn pass(folder: &Path) -> PassedGate {
    let evidence = Evidence {
        subject: Tree::of_folder(folder).unwrap().digest(),
        test_data: Digest::of(b"test"),
        quality: Quality { metric: "accuracy".into(), value: wilson(930, 1000, 0.95), rows: 1000 },
        against_current: None,
        equivalence: Equivalence {
            step: "write and read back".into(),
            rows: 64,
            changed: 0,
            greatest: 1e-6,
            worst_row: 1,
            tolerance: 1e-4,
        },
        weights: Weights::AsTrained,
        leakage: Leakage::default(),
        seal: TestSeal { sealed: true, openings: 1, waived: None },
    };
    Gate::default().judge(&evidence).unwrap()
}

pub(crate) fn what(folder: &Path, parent: Option<Digest>) -> Release<'_> {
    Release {
        task: "intent",
        base: Base { reference: "hf:org/tiny@main".into(), digest: Digest::of(b"base") },
        data: Digest::of(b"data"),
        split: Digest::of(b"split"),
        settings: json!({"lora": {"rank": 16}, "rate": 2e-4}),
        template: String::new(),
        code: "0.1.0".into(),
        metrics: json!({"accuracy": 0.93}),
        artefact: folder,
        parent,
        who: "ann".into(),
        note: "first light".into(),
    }
}

pub(crate) fn release(
    registry: &Registry,
    folder: &Path,
    parent: Option<Digest>,
) -> Result<Released> {
    registry.release(&what(folder, parent), &pass(folder), &Quiet, &Interrupt::default())
}

pub(crate) fn assert_sound(registry: &Registry) {
    let diagnosis = registry.doctor(&Quiet, &Interrupt::default()).unwrap();
    assert!(diagnosis.is_sound(), "{:#?}", diagnosis.problems);
}
