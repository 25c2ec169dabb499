//! `sprat watch`: a look, or one after the other.

use super::Context;
use crate::args::{TracesCommand, TracesFormat, Watch, WatchCommand};
use crate::codes;
use serde_json::json;
use sprat_flow::watch::{CalibrateOptions, ExportFormat, ExportOptions};
use sprat_flow::{Done, Project};
use sprat_monitor::Said;
use sprat_report::{Page, Terminal, Tone};
use sprat_task::{Clock, Error, Result, SystemClock};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest line of a feedback file, in bytes.
const LONGEST: u64 = 1 << 20;
/// Bad lines that are named.
const NAMED: usize = 20;

/// Runs the command.
pub(super) fn run(context: &Context, flags: &Watch) -> Result<Done> {
    let project = context.plain_project()?;
    match &flags.command {
        None if flags.follow => follow(context, flags, &project),
        None => project.watch_look(flags.dry_run)?.done(&project, flags.html.as_deref()),
        Some(WatchCommand::Feedback { file, by }) => feedback(&project, file, by.as_deref()),
        Some(WatchCommand::Calibrate { data, requests, rounds, html }) => {
            let options = CalibrateOptions {
                data: data.clone(),
                requests: *requests,
                rounds: *rounds,
                html: html.clone(),
            };
            project.watch_calibrate(&options)
        }
        Some(WatchCommand::Log) => project.watch_log(),
        Some(WatchCommand::Acknowledge { relearn, message }) => {
            project.watch_acknowledge(*relearn, message)
        }
    }
}

/// Looks until interrupted, and shows each look: as a page, or with `--json` as one line.
fn follow(context: &Context, flags: &Watch, project: &Project) -> Result<Done> {
    let interval = project.settings.watch.interval.0;
    loop {
        let done = project.watch_look(flags.dry_run)?.done(project, flags.html.as_deref())?;
        if context.interrupt.requested() {
            return Ok(done);
        }
        let text = match context.global.json {
            true => format!("{}\n", done.document),
            false => done.page.text(&Terminal::detect()) + "\n",
        };
        let mut out = std::io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            // Nobody reads any more.
            return Ok(done);
        }
        let begun = Instant::now();
        while begun.elapsed() < interval && !context.interrupt.requested() {
            std::thread::sleep(Duration::from_millis(20).min(interval));
        }
    }
}

/// Keeps the lines of a file. What is kept is kept once, so that a file may be read again.
fn feedback(project: &Project, file: &Path, by: Option<&str>) -> Result<Done> {
    let mut input: Box<dyn BufRead> = match file.as_os_str() == "-" {
        true => Box::new(BufReader::new(std::io::stdin())),
        false => Box::new(BufReader::new(File::open(file).map_err(|why| {
            Error::io(&codes::INPUT, "open the feedback", file, &why)
                .help("Check its path and permissions; `-` stands for standard input.")
        })?)),
    };
    let log = project.feedback()?;
    let (mut new, mut known, mut bad) = (0u64, 0u64, Vec::new());
    let mut line = Vec::new();
    for number in 1u64.. {
        project.interrupt.check()?;
        line.clear();
        let read = (&mut *input).take(LONGEST + 1).read_until(b'\n', &mut line);
        if read.map_err(|why| Error::io(&codes::INPUT, "read the feedback", file, &why))? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let wrong = |why: String| Error::new(&sprat_monitor::codes::FEEDBACK, why).line(number);
        if line.len() as u64 > LONGEST {
            // The rest of the line would be read as lines of its own.
            bad.push(wrong(format!("the line is longer than {LONGEST} bytes")));
            break;
        }
        let kept = serde_json::from_slice::<Said>(&line)
            .map_err(|why| wrong(format!("the line is no feedback: {why}")))
            .and_then(|mut said| {
                said.by = said.by.or_else(|| by.map(str::to_owned));
                log.give(&said, SystemClock.now()).map_err(|error| error.line(number))
            });
        match kept {
            Ok(true) => new += 1,
            Ok(false) => known += 1,
            Err(error) => bad.push(error),
        }
    }
    let named: Vec<String> = bad.iter().take(NAMED).map(ToString::to_string).collect();
    let page = Page::new("Feedback")
        .facts([
            ("kept", new.to_string()),
            ("known before", known.to_string()),
            ("not kept", bad.len().to_string()),
        ])
        .list(named);
    let page = if bad.is_empty() { page.verdict(Tone::Good, "all lines are kept") } else { page };
    let errors: Vec<_> = bad.iter().map(Error::to_json).collect();
    let body = json!({ "new": new, "known": known, "errors": errors });
    let refused = bad.first().map(|first| {
        let what = format!("{} line(s) could not be kept", bad.len());
        Error::new(&sprat_flow::codes::FEEDBACK_LINES, what).file(file).why(first.to_string())
    });
    Ok(Done::new("sprat.watch-feedback/1", body, page).refused_by(refused))
}

/// `sprat traces …`
pub(super) fn traces(context: &Context, command: &TracesCommand) -> Result<Done> {
    let TracesCommand::Export { file, format, version, unconfirmed } = command;
    let options = ExportOptions {
        format: match format {
            TracesFormat::Jsonl => ExportFormat::Jsonl,
            TracesFormat::Parquet => ExportFormat::Parquet,
            TracesFormat::Openai => ExportFormat::OpenAi,
        },
        version: version.clone(),
        unconfirmed: *unconfirmed,
    };
    context.plain_project()?.traces_export(file, &options)
}
