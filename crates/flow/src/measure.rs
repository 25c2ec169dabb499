//! Measuring one local candidate: its answers, its latency at one client, its throughput and its
//! memory. Runs in a process of its own (`sprat measure`), so that the peak memory is the
//! candidate's alone.

use crate::project::{read_json, write_json};
use crate::{Project, bundle, codes};
use serde::{Deserialize, Serialize};
use sprat_infer::{EncoderEngine, Generator, Limits, Request};
use sprat_task::{Error, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

/// How many texts are timed one by one.
const TIMED: usize = 300;

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The model's labels.
    pub labels: Vec<String>,
    /// For each text the calibrated probability of each label.
    pub probabilities: Vec<Vec<f32>>,
    /// Milliseconds from request to answer with one request at a time, through the engine that
    /// serves.
    pub latencies_ms: Vec<f64>,
    /// Texts a second, many at once.
    pub texts_per_second: f64,
    /// The process's highest resident memory, in bytes, where the system tells.
    pub peak_bytes: Option<u64>,
}

/// Measures the bundle in a folder on texts.
///
/// # Errors
/// Those of the model.
pub fn measure(folder: &Path, texts: &[String]) -> Result<Measured> {
    let model = Arc::new(bundle::open(folder)?);
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Once over a few texts, so that lazily made buffers do not count.
    model.predict(&all[..all.len().min(32)])?;
    let started = Instant::now();
    let predictions = model.predict(&all)?;
    let texts_per_second = texts.len() as f64 / started.elapsed().as_secs_f64().max(1e-9);
    let labels = model.labels().to_vec();
    let engine = EncoderEngine::start("measured", model, Limits::default())?;
    let mut latencies_ms = Vec::new();
    for text in texts.iter().cycle().take(TIMED.min(texts.len() * 4)) {
        let started = Instant::now();
        engine.answer(Request::text(text.clone()))?;
        latencies_ms.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Measured {
        labels,
        probabilities: predictions.into_iter().map(|p| p.probabilities).collect(),
        latencies_ms,
        texts_per_second,
        peak_bytes: sprat_train::peak_memory(),
    })
}

/// The files of a measuring process.
const TEXTS: &str = "texts.json";
const MEASURED: &str = "measured.json";

/// What `sprat measure FOLDER EXCHANGE` does: reads the texts, measures, writes the result.
///
/// # Errors
/// Those of [`measure`] and of the files.
pub fn measure_child(folder: &Path, exchange: &Path) -> Result<()> {
    let texts: Vec<String> = read_json(&exchange.join(TEXTS))?;
    let measured = measure(folder, &texts)?;
    write_json(&exchange.join(MEASURED), &measured)
}

impl Project {
    /// Measures a bundle in a process of its own, where the project knows the program for it.
    ///
    /// # Errors
    /// `SPRAT-FLOW-MEASURE` with the process's words, and those of [`measure`].
    pub(crate) fn measured(&self, folder: &Path, texts: &[String]) -> Result<Measured> {
        self.interrupt.check()?;
        let Some(program) = &self.executable else { return measure(folder, texts) };
        let exchange = tempfile::tempdir_in(&self.state)
            .map_err(|why| Error::io(&codes::WRITE, "make a folder", &self.state, &why))?;
        write_json(&exchange.path().join(TEXTS), &texts)?;
        let output = Command::new(program)
            .args(["measure", "--quiet", "--threads", &sprat_nn::threads::threads().to_string()])
            .arg(folder)
            .arg(exchange.path())
            .stdin(Stdio::null())
            .output()
            .map_err(|why| Error::io(&codes::MEASURE, "start the measuring", program, &why))?;
        if !output.status.success() {
            return Err(Error::new(&codes::MEASURE, "a candidate could not be measured")
                .file(folder)
                .why(String::from_utf8_lossy(&output.stderr).trim().to_string()));
        }
        read_json(&exchange.path().join(MEASURED))
    }
}
