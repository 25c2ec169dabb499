//! `sprat route …`.

use super::Context;
use crate::args::{RouteCommand, RouteExplain, RouteFit};
use crate::{codes, overrides};
use sprat_flow::{Done, ExplainOptions, RouteFitOptions};
use sprat_infer::Caller;
use sprat_task::{Error, Result};
use std::io::Read;
use std::path::Path;

/// A request that is replayed is no longer than this, in bytes.
const LONGEST: u64 = 1 << 20;

pub(super) fn run(context: &Context, command: &RouteCommand) -> Result<Done> {
    match command {
        RouteCommand::Fit(flags) => fit(context, flags),
        RouteCommand::Explain(flags) => explain(context, flags),
    }
}

fn fit(context: &Context, flags: &RouteFit) -> Result<Done> {
    let project = context.project(|settings| overrides::route(settings, flags))?;
    project.route_fit(&RouteFitOptions {
        model: flags.model.clone(),
        data: flags.data.clone(),
        traces: flags.traces,
        gold_only: flags.gold_only,
        judge: flags.judge,
        html: flags.html.clone(),
    })
}

fn explain(context: &Context, flags: &RouteExplain) -> Result<Done> {
    let project = context.plain_project()?;
    let text = match (&flags.text, &flags.file, &flags.trace) {
        (Some(text), _, _) => text.clone(),
        (None, Some(path), _) => read(path)?,
        (None, None, Some(id)) => project.traced_text(id)?,
        (None, None, None) => {
            let what = "no request is given";
            return Err(Error::new(&codes::INPUT, what).help("Give a text, --file or --trace."));
        }
    };
    let caller =
        Caller { client: flags.client.clone(), tag: flags.tag.clone(), ..Caller::default() };
    let (model, private, ask) = (flags.model.clone(), flags.private, flags.ask);
    project.route_explain(&text, &ExplainOptions { model, caller, private, ask })
}

fn read(path: &Path) -> Result<String> {
    let failed = |why: &std::io::Error| Error::io(&codes::INPUT, "read the request", path, why);
    let file = std::fs::File::open(path).map_err(|why| failed(&why))?;
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|why| failed(&why))?;
    if text.len() as u64 > LONGEST {
        let what = format!("the request is longer than {LONGEST} bytes");
        return Err(Error::new(&codes::INPUT, what).file(path));
    }
    Ok(text)
}
