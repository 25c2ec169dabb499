//! The admin API: what the page shows, and the two things that it can change.

use crate::codes;
use crate::console::{Change, Console, Overview, Window, overview as figures};
use crate::error::{ApiError, ApiResult};
use crate::guard::Admin;
use crate::state::State;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sprat_task::Timestamp;
use std::sync::{Arc, PoisonError};
use utoipa::{IntoParams, ToSchema};

/// The longest body of a change, in bytes.
const BODY: usize = 16 << 10;
/// Traces read at a time, and so many times for one request.
const PORTION: u64 = 10_000;
const PORTIONS: usize = 20;

/// Which window.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WindowQuery {
    /// `15m`, `1h` (the default), `6h`, `24h`, `7d` or `30d`.
    window: Option<String>,
}

/// Which two versions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffQuery {
    /// The version before: a number, an alias or a digest's beginning.
    from: String,
    /// The version after.
    to: String,
}

/// The permission to see a report without a key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TicketQuery {
    /// What stands in the link that `/admin/reports` gives.
    ticket: Option<String>,
}

/// The body of `/admin/promote`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromoteRequest {
    /// The version: a number, an alias or a digest's beginning.
    version: String,
    /// The alias to move; without it the one that the settings release to.
    alias: Option<String>,
    /// Why; the log keeps it.
    why: Option<String>,
    /// The alias's revision as the client has seen it: when it has moved since, nothing is changed
    /// and the answer is 409.
    revision: Option<u64>,
}

/// The body of `/admin/rollback`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackRequest {
    /// The alias to move; without it the one that the settings release to.
    alias: Option<String>,
    /// Why; the log keeps it.
    why: Option<String>,
    /// The alias's revision as the client has seen it: when it has moved since, nothing is changed
    /// and the answer is 409.
    revision: Option<u64>,
}

/// The reports.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportList {
    /// Always `sprat.reports/1`.
    schema: &'static str,
    /// The newest first.
    reports: Vec<ReportCard>,
}

/// One report.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportCard {
    /// Its name, such as `bench`.
    name: String,
    /// Its size.
    bytes: u64,
    /// When it was written, in milliseconds since 1970 (UTC).
    modified: u64,
    /// Where it is; good for an hour and without a key.
    href: String,
}

/// Does work that may block away from the threads that answer models' clients, a few at a time.
async fn work<T: Send + 'static>(
    state: &Arc<State>,
    run: impl FnOnce(&State, &dyn Console) -> sprat_task::Result<T> + Send + 'static,
) -> ApiResult<T> {
    let Some(console) = state.config.console.clone() else {
        return Err(ApiError::plain(&codes::CONSOLE, "this server has no project to look at"));
    };
    let Ok(_permit) = state.looks.try_acquire() else {
        let what = "others look at the same time";
        return Err(ApiError::plain(&codes::BUSY, what));
    };
    let shared = Arc::clone(state);
    let result = tokio::task::spawn_blocking(move || run(&shared, console.as_ref())).await;
    match result {
        Ok(result) => Ok(result?),
        Err(_) => Err(ApiError::plain(&codes::PANIC, "the server met an unexpected state")),
    }
}

/// An answer that no cache may keep.
fn fresh(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> ApiResult<T> {
    query.map(|Query(query)| query).map_err(|why| {
        ApiError::plain(&codes::PARAMETER, "the query is not valid").because(&why.body_text())
    })
}

/// Traffic, errors, latency, labels, routes and cost over a window.
#[utoipa::path(get, path = "/admin/overview", tag = "Admin", params(WindowQuery),
    responses(
        (status = 200, description = "The figures", body = Overview),
        (status = 400, description = "No such window", body = crate::wire::ErrorBody),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No project", body = crate::wire::ErrorBody)))]
pub(crate) async fn overview(
    Shared(state): Shared<Arc<State>>,
    asked: Result<Query<WindowQuery>, QueryRejection>,
) -> ApiResult<Response> {
    let name = query(asked)?.window.unwrap_or_else(|| "1h".to_owned());
    let Some(window) = Window::named(&name) else {
        let what = format!("`window` is one of {}", Window::NAMES);
        return Err(ApiError::field(&codes::PARAMETER, "window", what));
    };
    let found = work(&state, move |state, console| {
        let now = state.clock.now();
        let complete = catch_up(state, console, now)?;
        let prices = console.prices();
        let tally = state.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(figures(&tally, window, now, prices.as_ref(), complete))
    });
    Ok(fresh(found.await?))
}

/// Counts the traces that came since the last time; says whether all are counted.
fn catch_up(state: &State, console: &dyn Console, now: Timestamp) -> sprat_task::Result<bool> {
    let since = Timestamp(now.0.saturating_sub(crate::console::HORIZON));
    let mut tally = state.tally.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..PORTIONS {
        let rows = console.traces(tally.seen, since, PORTION)?;
        tally.add(&rows);
        if (rows.len() as u64) < PORTION {
            // Positions begin anew when all traces were removed.
            if rows.is_empty() && tally.seen > 0 && console.traces(0, since, 1)?.is_empty() {
                tally.seen = 0;
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// Versions, aliases and their history.
#[utoipa::path(get, path = "/admin/releases", tag = "Admin",
    responses(
        (status = 200, description = "The document `sprat.releases/1`", body = Value),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No project", body = crate::wire::ErrorBody)))]
pub(crate) async fn releases(Shared(state): Shared<Arc<State>>) -> ApiResult<Response> {
    Ok(fresh(work(&state, |_, console| console.releases()).await?))
}

/// One version with its lineage.
#[utoipa::path(get, path = "/admin/releases/{version}", tag = "Admin",
    params(("version" = String, Path, description = "A number, an alias or a digest's beginning")),
    responses(
        (status = 200, description = "The document that `sprat show --json` prints", body = Value),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No such version", body = crate::wire::ErrorBody)))]
pub(crate) async fn release(
    Shared(state): Shared<Arc<State>>,
    Path(version): Path<String>,
) -> ApiResult<Response> {
    Ok(fresh(work(&state, move |_, console| console.release(&version)).await?))
}

/// What differs between two versions.
#[utoipa::path(get, path = "/admin/diff", tag = "Admin", params(DiffQuery),
    responses(
        (status = 200, description = "The document that `sprat diff --json` prints", body = Value),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No such version", body = crate::wire::ErrorBody)))]
pub(crate) async fn diff(
    Shared(state): Shared<Arc<State>>,
    asked: Result<Query<DiffQuery>, QueryRejection>,
) -> ApiResult<Response> {
    let DiffQuery { from, to } = query(asked)?;
    Ok(fresh(work(&state, move |_, console| console.diff(&from, &to)).await?))
}

/// Points an alias at a version.
#[utoipa::path(post, path = "/admin/promote", tag = "Admin", request_body = PromoteRequest,
    responses(
        (status = 200, description = "The document that `sprat promote --json` prints", body = Value),
        (status = 401, description = "No key", body = crate::wire::ErrorBody),
        (status = 403, description = "No admin's key, or another site's page",
            body = crate::wire::ErrorBody),
        (status = 404, description = "No such version", body = crate::wire::ErrorBody),
        (status = 409, description = "The alias has moved", body = crate::wire::ErrorBody)))]
pub(crate) async fn promote(
    Shared(state): Shared<Arc<State>>,
    Extension(Admin(who)): Extension<Admin>,
    body: Body,
) -> ApiResult<Response> {
    let request: PromoteRequest = read(&state, body).await?;
    let PromoteRequest { version, alias, why, revision } = request;
    let done = work(&state, move |_, console| {
        let why = why.unwrap_or_default();
        let change = Change { alias: alias.as_deref(), revision, who: &who, why: &why };
        let done = console.promote(&version, &change)?;
        tracing::info!(who, version, alias, "promoted over HTTP");
        Ok(done)
    });
    Ok(fresh(done.await?))
}

/// Points an alias back to where it stood.
#[utoipa::path(post, path = "/admin/rollback", tag = "Admin", request_body = RollbackRequest,
    responses(
        (status = 200, description = "The document that `sprat rollback --json` prints",
            body = Value),
        (status = 401, description = "No key", body = crate::wire::ErrorBody),
        (status = 403, description = "No admin's key, or another site's page",
            body = crate::wire::ErrorBody),
        (status = 404, description = "No such alias", body = crate::wire::ErrorBody),
        (status = 409, description = "The alias has moved, or has nowhere to go back to",
            body = crate::wire::ErrorBody)))]
pub(crate) async fn rollback(
    Shared(state): Shared<Arc<State>>,
    Extension(Admin(who)): Extension<Admin>,
    body: Body,
) -> ApiResult<Response> {
    let RollbackRequest { alias, why, revision } = read(&state, body).await?;
    let done = work(&state, move |_, console| {
        let why = why.unwrap_or_default();
        let change = Change { alias: alias.as_deref(), revision, who: &who, why: &why };
        let done = console.rollback(&change)?;
        tracing::info!(who, alias, "rolled back over HTTP");
        Ok(done)
    });
    Ok(fresh(done.await?))
}

async fn read<T: serde::de::DeserializeOwned>(state: &State, body: Body) -> ApiResult<T> {
    let reading = crate::body::read(body, BODY);
    let bytes = tokio::time::timeout(state.config.request_timeout, reading)
        .await
        .map_err(|_| crate::body::too_slow())??;
    crate::body::parse(&bytes)
}

/// The reports that the steps wrote.
#[utoipa::path(get, path = "/admin/reports", tag = "Admin",
    responses(
        (status = 200, description = "Their names and where they are", body = ReportList),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No project", body = crate::wire::ErrorBody)))]
pub(crate) async fn reports(Shared(state): Shared<Arc<State>>) -> ApiResult<Response> {
    let mut found = work(&state, |_, console| console.reports()).await?;
    found.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.name.cmp(&b.name)));
    let now = state.clock.now();
    let card = |report: crate::console::Report| ReportCard {
        href: format!(
            "/admin/reports/{}?ticket={}",
            report.name,
            state.links.ticket(&report.name, now)
        ),
        name: report.name,
        bytes: report.bytes,
        modified: report.modified.0,
    };
    let reports = found.into_iter().map(card).collect();
    Ok(fresh(ReportList { schema: "sprat.reports/1", reports }))
}

/// A report as it was written, in a sandbox: it may neither run scripts nor load anything.
#[utoipa::path(get, path = "/admin/reports/{name}", tag = "Admin",
    params(("name" = String, Path, description = "Its name"), TicketQuery),
    responses(
        (status = 200, description = "The report", content_type = "text/html", body = String),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No such report, or an old link",
            body = crate::wire::ErrorBody)))]
pub(crate) async fn report(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    headers: axum::http::HeaderMap,
    asked: Result<Query<TicketQuery>, QueryRejection>,
) -> ApiResult<Response> {
    match query(asked)?.ticket {
        Some(ticket) if state.links.admits(&ticket, &name, state.clock.now()) => {}
        Some(_) => return Err(ApiError::plain(&codes::REPORT, "the link is not valid any more")),
        None => crate::guard::allowed(&state, &headers)?,
    }
    let asked = name.clone();
    match work(&state, move |_, console| console.report(&asked)).await? {
        Some(html) => Ok((crate::page::SANDBOX, html).into_response()),
        None => {
            let name: String = name.chars().take(100).collect();
            Err(ApiError::plain(&codes::REPORT, format!("there is no report `{name}`")))
        }
    }
}
