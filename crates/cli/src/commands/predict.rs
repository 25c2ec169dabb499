//! `sprat predict`.

use super::Context;
use crate::args::Predict;
use crate::codes;
use serde_json::json;
use sprat_flow::Done;
use sprat_report::Page;
use sprat_task::{Error, Result, write};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};

/// Answers the input line by line. The answers are the output, so nothing else is printed on it.
pub(super) fn run(context: &Context, flags: &Predict) -> Result<Done> {
    let project = context.project_for(flags.model.is_some(), |_| {})?;
    let reference = flags.model.clone().unwrap_or_else(|| project.task().to_string());
    let model = project.generator(&reference)?;
    let abstain = project.settings.task.abstain_below;
    let mut input: Box<dyn BufRead> = match &flags.input {
        Some(path) => Box::new(BufReader::new(File::open(path).map_err(|why| {
            Error::io(&codes::INPUT, "open the input", path, &why).help(
                "Check its path and permissions; without --input the command reads \
                         standard input.",
            )
        })?)),
        None => Box::new(BufReader::new(std::io::stdin())),
    };
    let interrupt = &context.interrupt;
    let mut answer = |out: &mut dyn Write| {
        sprat_flow::predict(model.as_ref(), abstain, &mut input, out, interrupt)
    };
    let counts = match &flags.output {
        None => answer(&mut BufWriter::new(std::io::stdout().lock()))?,
        Some(path) => {
            let mut result = None;
            let written = write::atomically(path, |file| {
                let counts = answer(file);
                let failed = counts.is_err();
                result = Some(counts);
                // A run that broke leaves no half-written file.
                if failed { Err(std::io::Error::other("the run broke")) } else { Ok(()) }
            });
            match (result, written) {
                (Some(Err(error)), _) => return Err(error),
                (Some(Ok(counts)), Ok(())) => counts,
                (_, Err(why)) => {
                    return Err(Error::io(&codes::OUTPUT, "write the answers", path, &why));
                }
                (None, Ok(())) => return Err(Error::new(&codes::OUTPUT, "nothing was written")),
            }
        }
    };
    if counts.failed > 0 {
        let what = format!("{} of {} lines failed", counts.failed, counts.failed + counts.answered);
        return Err(Error::new(&sprat_flow::codes::LINES_FAILED, what));
    }
    let body = json!({ "model": reference, "answered": counts.answered });
    // On standard output the lines themselves are the result.
    let page = match &flags.output {
        Some(path) => Page::new(format!("{} answers in {}", counts.answered, path.display())),
        None => Page::default(),
    };
    Ok(Done::new("sprat.predict/1", body, page))
}
