//! `sprat route explain`: what becomes of one request, and why.

use super::Came;
use crate::{Done, Project, codes};
use serde_json::{Value, json};
use sprat_infer::{Caller, Generator, Request};
use sprat_report::number::{fixed, usd};
use sprat_report::{Page, Table, Tone};
use sprat_route::Explained;
use sprat_task::settings::Candidate;
use sprat_task::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// What `sprat route explain` is asked.
#[derive(Clone, Debug, Default)]
pub struct ExplainOptions {
    /// The small model: a version or a folder; none: the released one.
    pub model: Option<String>,
    /// Who asks, as far as rules look at it.
    pub caller: Caller,
    /// The request is marked as private.
    pub private: bool,
    /// The request is really answered, by whichever side the route says.
    pub ask: bool,
}

impl Project {
    /// Replays one request.
    ///
    /// # Errors
    /// `SPRAT-ROUTE-SETTINGS` without a route; those of the models.
    pub fn route_explain(&self, text: &str, options: &ExplainOptions) -> Result<Done> {
        let Some(large) = self.upstreams(Arc::clone(&self.clock))? else {
            let what = "the settings name no large model, so there is no route";
            return Err(Error::new(&sprat_route::codes::SETTINGS, what).field("route.large"));
        };
        let subject = self.subject(options.model.as_deref())?;
        let opened = self.opened(&subject)?;
        let (routed, _) = self.routed(&subject, &opened, &large, None, Came::Named)?;
        let mut request = Request::text(text);
        request.caller.clone_from(&options.caller);
        request.private = options.private;
        request.deadline = Some(Instant::now() + self.settings.serve.timeout.0);
        let told = routed.explain(&request)?;
        let answer = options.ask.then(|| routed.answer(request)).transpose()?;
        let upstreams: Vec<Value> = told
            .upstreams
            .iter()
            .map(|name| {
                let candidate = self.large_candidate(name).ok();
                json!({
                    "name": name,
                    "usd_per_million_input_tokens":
                        candidate.map(|one| one.usd_per_million_input_tokens),
                    "usd_per_million_output_tokens":
                        candidate.map(|one| one.usd_per_million_output_tokens),
                })
            })
            .collect();
        let body = json!({
            "model": subject.name,
            "policy": self.settings.route.policy,
            "steps": told.steps,
            "side": told.side,
            "why": told.why,
            "score": told.score,
            "threshold": told.threshold,
            "calibrated": told.calibrated,
            "small_answer": told.small_answer,
            "upstreams": upstreams,
            "answer": answer.as_ref().map(|answer| json!({
                "output": answer.output,
                "model": answer.route.as_ref().map(|route| &route.model),
                "side": answer.route.as_ref().map(|route| route.side()),
                "why": answer.route.as_ref().map(|route| &route.why),
                "usd": answer.usd,
            })),
        });
        let mut page = self.explained(&subject.name, &told);
        if let Some(answer) = &answer {
            let by = answer.route.as_ref().map_or("", |route| route.model.as_str());
            let cost = answer.usd.map_or_else(String::new, |cost| format!(" ({})", usd(cost)));
            page = page
                .section("Asked")
                .facts([("answer", answer.output.clone()), ("by", format!("{by}{cost}"))]);
        }
        Ok(Done::new("sprat.route-explain/1", body, page))
    }

    fn explained(&self, model: &str, told: &Explained) -> Page {
        let text = match told.side {
            "large" => format!("goes to the large model: {}", told.why),
            _ => format!("stays with {model}: {}", told.why),
        };
        let mut table = Table::new("", &["looked at", "found", ""]);
        for step in &told.steps {
            let mark = if step.decided { "decided" } else { "" };
            table.push([step.step.to_owned(), step.found.clone(), mark.to_owned()]);
        }
        let mut facts = Vec::new();
        if let Some(answer) = &told.small_answer {
            facts.push(("the small model says", answer.clone()));
        }
        if let Some(calibrated) = told.calibrated {
            facts.push(("kept, it is no failure with probability", fixed(calibrated, 3)));
        }
        for name in &told.upstreams {
            let price = self.large_candidate(name).map(price).unwrap_or_default();
            facts.push(("large models, in order", format!("{name}{price}")));
        }
        Page::new("Route of one request").verdict(Tone::Plain, text).table(table).facts(facts)
    }

    /// The text of a trace, where it was kept.
    ///
    /// # Errors
    /// `SPRAT-FLOW-ROUTE-TRACES` where there is no such trace or no text; those of the log.
    pub fn traced_text(&self, id: &str) -> Result<String> {
        let log = sprat_monitor::TraceLog::open(&self.registry.traces_path())?;
        let mut found = None;
        log.each(&sprat_monitor::TraceFilter::default(), |row| {
            if row.id == id {
                found = Some(row.text);
            }
            self.interrupt.check()
        })?;
        let missing =
            |what: String| Error::new(&codes::ROUTE_TRACES, what).field("serve.trace_text");
        match found {
            None => Err(missing(format!("there is no trace `{id}`"))),
            Some(None) => Err(missing(format!("the trace `{id}` keeps no text"))),
            Some(Some(text)) => Ok(text),
        }
    }
}

fn price(candidate: &Candidate) -> String {
    format!(
        ": {} and {} for a million tokens read and written",
        usd(candidate.usd_per_million_input_tokens),
        usd(candidate.usd_per_million_output_tokens)
    )
}
