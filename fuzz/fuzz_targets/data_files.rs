//! Data files of every format: any bytes are read or refused with a code, and every row that is
//! read keeps the limits. The first byte chooses the format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprat_data::{Format, ReadOptions, read};

const FORMATS: [Format; 6] =
    [Format::Csv, Format::Tsv, Format::Json, Format::Jsonl, Format::Chat, Format::Parquet];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, content)) = bytes.split_first() else { return };
    let format = FORMATS[usize::from(*choice) % FORMATS.len()];
    // Readers take a path; memory-backed where the system has it.
    let folder = std::path::Path::new("/dev/shm");
    let folder = if folder.is_dir() { folder.into() } else { std::env::temp_dir() };
    let path = folder.join(format!("sprat-fuzz-{}", std::process::id()));
    std::fs::write(&path, content).expect("room for a temporary file");
    let limit = 1024;
    let options =
        ReadOptions { format: Some(format), max_cell_bytes: limit, ..ReadOptions::default() };
    if let Ok(dataset) = read(&path, &options) {
        for example in &dataset.examples {
            assert!(example.text.len() <= limit, "row {} is over the limit", example.row);
        }
    }
});
