//! PEFT's settings of an adapter: any bytes are read or refused with a code, and an adapter that is
//! read has the matrices that its settings speak of, and a factor to add them by.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprat_model::{ADAPTER_CONFIG, Adaptable, Adapter, LoraPair};
use sprat_nn::Mat;
use std::path::PathBuf;
use std::sync::LazyLock;

const RANK: usize = 2;
const SHAPE: (usize, usize) = (3, 4);

/// A model of one layer that consists of one matrix.
struct Tiny;

impl Adaptable for Tiny {
    type Part = ();
    const TASK: &'static str = "CAUSAL_LM";

    fn layer_count(&self) -> usize {
        1
    }

    fn adaptable_parts(&self) -> &'static [()] {
        &[()]
    }

    fn part_shape(&self, (): ()) -> (usize, usize) {
        SHAPE
    }

    fn modules(&self, layer: usize, (): ()) -> Vec<String> {
        vec![format!("layers.{layer}.q_proj")]
    }

    fn module_end(&self, (): ()) -> String {
        "q_proj".to_owned()
    }
}

/// A folder with an adapter, whose settings are overwritten each time.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    // Memory-backed where the system has it.
    let folder = std::path::Path::new("/dev/shm");
    let folder = if folder.is_dir() { folder.into() } else { std::env::temp_dir() };
    let folder = folder.join(format!("sprat-fuzz-adapter-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("room for a temporary folder");
    let (outputs, inputs) = SHAPE;
    let matrix = |rows: usize, columns: usize| Mat::new(rows, columns, vec![0.5; rows * columns]);
    let pair = LoraPair { layer: 0, part: (), a: matrix(RANK, inputs), b: matrix(outputs, RANK) };
    let adapter = Adapter {
        rank: RANK,
        alpha: 4.0,
        dropout: 0.0,
        base: String::new(),
        digest: String::new(),
        scale: 2.0,
        pairs: vec![pair],
    };
    adapter.write(&folder, &Tiny).expect("an adapter is written");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(FOLDER.join(ADAPTER_CONFIG), bytes).expect("room for a temporary file");
    if let Ok(adapter) = Adapter::read(&FOLDER, &Tiny) {
        assert_eq!(adapter.rank, RANK, "the matrices have another rank");
        assert_eq!(adapter.pairs.len(), 1);
        assert!(adapter.scale.is_finite(), "{} cannot be multiplied by", adapter.scale);
    }
});
