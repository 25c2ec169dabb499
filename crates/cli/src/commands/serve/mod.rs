//! `sprat serve`: the registry's models behind the HTTP server.

mod console;
mod follow;
mod shadow;
mod traces;
mod watching;

use super::Context;
use crate::args::Serve;
use follow::Releases;
use serde_json::json;
use sprat_flow::{Done, Held, Project};
use sprat_report::{Page, Terminal, number};
use sprat_serve::keys::{Keys, Role};
use sprat_serve::{Config, Models, RouteView, Served, Source, Table};
use sprat_task::{Clock, Error, Interrupt, Result, SystemClock};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use watching::Watching;

/// How often the aliases are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Serves until the process is asked to stop.
pub(super) fn run(context: &Context, flags: &Serve) -> Result<Done> {
    let project = context.project_for(!flags.model.is_empty(), |settings| {
        if let Some(listen) = &flags.listen {
            settings.serve.listen.clone_from(listen);
        }
    })?;
    let adapters = flags.adapter.iter().map(|one| one.parse()).collect::<Result<Vec<_>>>()?;
    serve(context, Releases::new(project, flags.model.clone(), adapters)?)
}

/// The end of `sprat up`: shows its summary, then serves what it promoted.
pub(super) fn after_up(context: &Context, project: Project, done: &Done) -> Result<Done> {
    if !context.global.json {
        // The summary belongs before the server's own lines.
        print!("{}", done.page.text(&Terminal::detect()));
    }
    serve(context, Releases::new(project, Vec::new(), Vec::new())?)
}

fn serve(context: &Context, source: Releases) -> Result<Done> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut config = config(&source.project())?;
    let recorder = source.recorder();
    let json = context.global.json;
    let interrupt = Interrupt::default();
    let settings = source.project().settings.clone();
    let watches = settings.watch.enabled;
    let beside = || context.beside(settings.clone(), &interrupt);
    let watching = Arc::new(Watching::new(beside()?, Arc::clone(&recorder))?);
    config.watcher = Some(watching.clone());
    let source = Arc::new(source);
    let routes = Arc::clone(&source);
    let shadows = Arc::clone(&source);
    config.route = RouteView::new(move || routes.route()).with_shadowed(move || shadows.shadowed());
    let revision = source.revision()?;
    let table = Arc::new(Table::new(source.load(&[])?));
    let served: Vec<String> = table.list().iter().map(|one| one.version.clone()).collect();
    let held = source.project().held();
    let example = table.list().first().map_or_else(Default::default, |one| example(one));
    let follower = {
        let (table, source, interrupt) = (table.clone(), source.clone(), interrupt.clone());
        std::thread::Builder::new()
            .name("follow".into())
            .spawn(move || {
                sprat_serve::follow(&table, source.as_ref(), revision, LOOK, &interrupt);
            })
            .map_err(|why| {
                Error::new(&sprat_serve::codes::START, "the system gives no thread")
                    .why(why.to_string())
            })?
    };
    let watcher = match watches {
        true => Some(watching::start(watching, beside()?, interrupt.clone())?),
        false => None,
    };
    let ready = |address: SocketAddr| {
        if json {
            // The one document, as soon as there is something to say.
            let document = json!({
                "schema": "sprat.serve/1", "address": address.to_string(), "models": served,
                "memory_bytes": held,
            });
            println!("{document}");
        } else {
            println!("serving {} on http://{address}", served.join(", "));
            println!("  page: http://{address}/");
            if held != Held::default() {
                println!("  memory: {}", memory(held));
            }
            let (path, body) = &example;
            println!(
                "  try: curl -s http://{address}{path} -H 'content-type: application/json' -d '{body}'"
            );
        }
    };
    let result = sprat_serve::run(config, table, recorder.clone(), clock, &interrupt, ready);
    interrupt.request();
    let _ = follower.join();
    if let Some(watcher) = watcher {
        let _ = watcher.join();
    }
    result?;
    let stats = recorder.stats();
    eprintln!("stopped; {} traces, {} dropped", stats.recorded, stats.dropped);
    Ok(Done::new("sprat.serve/1", json!({ "stopped": true }), Page::default()))
}

/// What models that write take in memory, all of them together.
fn memory(held: Held) -> String {
    let size = |bytes: usize| number::bytes(bytes as u64);
    let Held { weights, cache, adapters } = held;
    let mut text = format!("{} of weights, {} of cache", size(weights), size(cache));
    if adapters > 0 {
        text += &format!(", {} of adapters", size(adapters));
    }
    text
}

/// The path and the body of a first request that a model can answer.
fn example(served: &Served) -> (&'static str, serde_json::Value) {
    let writes = served.generator.as_ref().is_some_and(|generator| generator.labels().is_empty());
    match writes {
        false => ("/v1/classify", json!({ "input": "…" })),
        true => (
            "/v1/chat/completions",
            json!({ "model": served.id, "messages": [{ "role": "user", "content": "…" }] }),
        ),
    }
}

fn config(project: &Project) -> Result<Config> {
    let serve = &project.settings.serve;
    let address = address(&serve.listen)?;
    let file = serve.api_keys.as_ref().map(|path| project.settings.resolve(path));
    let file = file.as_deref().map(Keys::from_file).transpose()?.unwrap_or_default();
    let admins = file.admins().and(from_environment(&serve.admin_key_env, Role::Admin)?);
    Ok(Config {
        address,
        keys: file.and(from_environment("SPRAT_API_KEY", Role::Client)?),
        admins,
        hosts: serve.hosts.clone(),
        console: Some(Arc::new(console::OfProject::new(project)?)),
        body_limit: serve.max_body_bytes,
        max_inputs: serve.max_inputs,
        request_timeout: serve.timeout.0,
        ..Config::default()
    })
}

/// The keys in an environment variable.
fn from_environment(name: &str, role: Role) -> Result<Keys> {
    match std::env::var(name) {
        Ok(text) if !text.trim().is_empty() => Keys::from_text(&text, role),
        _ => Ok(Keys::default()),
    }
}

fn address(listen: &str) -> Result<SocketAddr> {
    let wrong = |why: String| {
        Error::new(&sprat_task::settings::INVALID, format!("`{listen}` is not an address"))
            .field("serve.listen")
            .why(why)
            .help("Write HOST:PORT, such as 127.0.0.1:8080.")
    };
    let mut found = listen.to_socket_addrs().map_err(|why| wrong(why.to_string()))?;
    found.next().ok_or_else(|| wrong("the name has no address".into()))
}
