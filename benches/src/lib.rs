//! What the benchmark programs share: the last line that other tools read, and the machine's
//! memory figures.
//!
//! One program per benchmark in `src/bin`, one script per peer in `peers/`. Every program prints
//! what it measured for people and, as its last line, one JSON object
//! `{"bench", "ours", "peer", "ratio", "unit"}`.

pub mod comparison;
pub mod extraction_tasks;
pub mod load;
pub mod machine;
pub mod peak;
pub mod random_models;
pub mod sides;

use std::path::PathBuf;

/// Prints the closing JSON line: `ours`, `peer` and ours ÷ peer in `unit`; `extra` fields follow.
pub fn closing_line(bench: &str, ours: f64, peer: f64, unit: &str, extra: &serde_json::Value) {
    let mut line = serde_json::json!({
        "bench": bench, "ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit,
    });
    if let (Some(line), Some(extra)) = (line.as_object_mut(), extra.as_object()) {
        for (key, value) in extra {
            line.insert(key.clone(), value.clone());
        }
    }
    println!("{line}");
}

/// The folder with public data sets: `SPRAT_SHARED`, or `../shared` beside the repository.
pub fn shared() -> PathBuf {
    match std::env::var_os("SPRAT_SHARED") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    }
}

/// The MiniLM folder: `SPRAT_MINILM`, or the copy that `make` pulls into `.cache`.
pub fn minilm() -> PathBuf {
    match std::env::var_os("SPRAT_MINILM") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/models/minilm"),
    }
}

/// A field of `/proc/self/status` in bytes: `VmHWM` is the peak resident memory so far, `VmRSS`
/// the present one. Zero where the system has no such file.
pub fn memory(field: &str) -> u64 {
    memory_in("/proc/self/status", field).unwrap_or_default()
}

/// [`memory`] of another process by its status file; nothing when it has ended.
pub fn memory_in(file: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(file).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(kib * 1024)
}
