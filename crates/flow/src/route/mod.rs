//! Routes between a small model and large ones: [`upstreams`] names the large ones, [`graded`]
//! and [`large`] collect graded requests, [`fit`] finds a threshold on them, [`document`] keeps it
//! beside the version that it was found for, [`raise`] what an alarm makes of it, [`serving`] puts it to work, [`explain`] replays one
//! request.

mod document;
mod explain;
mod fit;
mod graded;
mod large;
mod page;
mod raise;
mod serving;
mod upstreams;

pub use document::FittedRoute;
pub use explain::ExplainOptions;
pub use fit::RouteFitOptions;
pub use serving::{Opened, RouteState, Subject};
