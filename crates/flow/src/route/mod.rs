//! Routes between a small model and large ones: [`upstreams`] names the large ones, [`graded`]
//! and [`large`] collect graded requests, [`judged`] has free texts graded by a judge, [`fit`] finds
//! a threshold on them and [`report`] says what is expected of it, [`document`] keeps it beside the
//! version that it was found for, [`raise`] is what an alarm makes of it, [`serving`] puts it to work,
//! [`explain`] replays one request.

mod document;
mod explain;
mod fit;
mod graded;
mod judged;
mod large;
mod page;
mod raise;
mod report;
mod serving;
mod upstreams;

pub use document::FittedRoute;
pub use explain::ExplainOptions;
pub use fit::RouteFitOptions;
pub use serving::{Came, Opened, RouteState, Subject};
