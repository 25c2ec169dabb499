//! The lifecycle steps as resumable, cached jobs.
