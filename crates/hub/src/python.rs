//! The machine's own pip, which brings the user's mirrors, credentials and certificates along.

use crate::codes::{PACKAGE, PIP, PYTHON};
use sprat_task::{Error, Interrupt, Progress, Result};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Runs `python3 -m pip download --no-deps` for one exact version; the wheel's path.
pub(crate) fn download(
    python: &str,
    package: &str,
    version: &str,
    into: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let wanted = format!("{package}=={version}");
    let failed =
        |error: std::io::Error| Error::new(&PIP, "pip could not be run").why(error.to_string());
    // A file, not a pipe: nobody waits for a pipe that some grandchild still holds.
    let mut said = tempfile::tempfile().map_err(failed)?;
    let child = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"])
        // Never a source distribution: building one would run its code.
        .args(["--only-binary", ":all:", "--dest"])
        .arg(into)
        .args(["--", &wanted])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone().map_err(failed)?)
        .spawn()
        .map_err(|error| {
            Error::new(&PYTHON, format!("`{python}` could not be started")).why(error.to_string())
        })?;
    progress.start(&format!("pip download {wanted}"), None, "bytes");
    let outcome = watch(child, interrupt);
    progress.finish();
    if !outcome?.success() {
        let mut text = Vec::new();
        // The end matters, and no message is this long.
        let length = said.seek(SeekFrom::End(0)).map_err(failed)?;
        said.seek(SeekFrom::Start(length.saturating_sub(1 << 20))).map_err(failed)?;
        said.read_to_end(&mut text).map_err(failed)?;
        return Err(explain(python, &wanted, &String::from_utf8_lossy(&text)));
    }
    the_wheel(into).ok_or_else(|| {
        Error::new(&PIP, format!("pip said it downloaded {wanted}, but left no wheel")).file(into)
    })
}

/// Waits for the child; kills it on an interrupt.
fn watch(mut child: Child, interrupt: &Interrupt) -> Result<ExitStatus> {
    let failed =
        |error: std::io::Error| Error::new(&PIP, "pip could not be watched").why(error.to_string());
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if let Err(interrupted) = interrupt.check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(interrupted);
        }
        sleep(Duration::from_millis(30));
    }
}

fn explain(python: &str, wanted: &str, said: &str) -> Error {
    if said.contains("No module named pip") || said.contains("No module named 'pip'") {
        return Error::new(&PIP, format!("`{python}` has no pip"))
            .help("Install it: `python3 -m ensurepip`, or your system's package python3-pip.");
    }
    let told: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("ERROR:") || line.contains("Error"))
        .collect();
    let why = match told.as_slice() {
        [] => said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no word").trim(),
        [first, ..] => first,
    };
    let why: String = why.chars().take(500).collect();
    // Both phrases mean: the index answered, and has nothing that fits.
    let absent = said.contains("No matching distribution found")
        || said.contains("Could not find a version that satisfies");
    let broken = ["Connection", "SSLError", "ProxyError", "timed out", "name resolution"]
        .iter()
        .any(|sign| said.contains(sign));
    if absent && !broken {
        Error::new(&PACKAGE, format!("the package index has no wheel {wanted}")).why(why)
    } else {
        Error::new(&PIP, format!("pip could not download {wanted}")).why(why)
    }
}

/// The one wheel in a folder.
pub(crate) fn the_wheel(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        path.extension().is_some_and(|end| end.eq_ignore_ascii_case("whl")) && path.is_file()
    })
}
