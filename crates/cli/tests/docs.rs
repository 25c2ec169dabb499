//! Every `$ sprat …` line of the guide runs, in the order of its page, in a copy of the
//! support-tickets example or of the one that the page names, and prints what the page shows. `...` in a page stands for any text.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use std::path::{Path, PathBuf};
use support::{command, copy_folder, minilm, root, run, sprat, tickets};

struct Step {
    line: String,
    expected: Vec<String>,
    place: String,
}

/// The commands of a page's ```console blocks with the output shown beneath each.
fn steps(page: &PathBuf) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (at, line) in std::fs::read_to_string(page).unwrap().lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            if let Some(command) = line.strip_prefix("$ ") {
                let place = format!("{}:{}", page.display(), at + 1);
                steps.push(Step { line: command.into(), expected: Vec::new(), place });
            } else if let Some(step) = steps.last_mut() {
                step.expected.push(line.trim_end().into());
            }
        }
    }
    steps
}

/// The example that a page names in a comment; its base is a tiny decoder.
fn example(page: &PathBuf) -> Option<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("<!-- example: ")?;
    Some(rest.split_once(" -->")?.0.to_owned())
}

/// Whether a line of output fits a line of the page, in which `...` stands for any text.
fn fits(pattern: &str, line: &str) -> bool {
    let mut rest = line.trim_end();
    let parts: Vec<&str> = pattern.split("...").collect();
    for (at, part) in parts.iter().enumerate() {
        let found = match at {
            0 => rest.starts_with(part).then_some(0),
            _ => rest.find(part),
        };
        let Some(start) = found else { return false };
        rest = &rest[start + part.len()..];
    }
    rest.is_empty() || pattern.ends_with("...")
}

/// Whether the output has the page's lines, in their order; a line that is only `...` skips.
fn shown(expected: &[String], output: &str) -> Result<(), String> {
    let mut lines = output.lines();
    for pattern in expected.iter().filter(|pattern| !pattern.trim().is_empty()) {
        if pattern.trim() != "..." && !lines.any(|line| fits(pattern, line)) {
            return Err(pattern.clone());
        }
    }
    Ok(())
}

/// The pages of the guide, sorted.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = Vec::new();
    for folder in ["docs", "docs/practices", "docs/factors"] {
        if let Ok(entries) = std::fs::read_dir(root().join(folder)) {
            pages.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages.sort();
    pages
}

/// Runs the commands of a page in a folder; gives how many there are.
fn follow(page: &PathBuf, folder: &Path) -> usize {
    let steps = steps(page);
    for step in &steps {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_sprat"));
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", binary.parent().unwrap().display());
        // A shell, because pages use pipes and `echo $?`.
        let mut shell = std::process::Command::new("bash");
        let prepared = command(folder);
        shell.current_dir(folder).env("PATH", path);
        for (name, value) in prepared.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let done = run(shell.arg("-c").arg(format!("{} 2>&1", step.line)));
        let allowed = [0, 3];
        assert!(
            allowed.contains(&done.code),
            "{}: `{}` ended with {}:\n{}",
            step.place,
            step.line,
            done.code,
            done.out
        );
        if let Err(missing) = shown(&step.expected, &done.out) {
            panic!("{}: no line fits `{missing}` in\n{}", step.place, done.out);
        }
    }
    steps.len()
}

#[test]
fn the_guide_says_what_the_program_does() {
    let Some(minilm) = minilm() else { return };
    let ready = tickets(&minilm);
    sprat(ready.path(), &["up", "--no-serve", "--quiet"]).exits(0);
    let mut ran = 0;
    for page in pages().iter().filter(|page| example(page).is_none()) {
        if steps(page).is_empty() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        copy_folder(ready.path(), folder.path());
        ran += follow(page, folder.path());
    }
    assert!(ran >= 20, "only {ran} commands in the guide");
}

#[test]
fn pages_with_an_example_of_their_own_say_what_the_program_does() {
    let mut ran = 0;
    for page in pages() {
        let Some(example) = example(&page) else { continue };
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&root().join("examples").join(example), folder.path());
        // The page begins with `sprat init`.
        std::fs::remove_file(folder.path().join("sprat.toml")).unwrap();
        sprat_model::tiny::write_decoder(&folder.path().join("base"), 1).unwrap();
        ran += follow(&page, folder.path());
    }
    assert!(ran >= 5, "only {ran} commands");
}

#[test]
fn dots_stand_for_any_text() {
    assert!(fits("accuracy 0.9... of ...", "accuracy 0.93  of 200"));
    assert!(!fits("accuracy", "no accuracy"));
    assert!(!fits("exact", "exact and more"));
}
