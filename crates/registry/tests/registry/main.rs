//! The registry from outside: its story, and what it withstands.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod archives;
mod full_disk;
mod keeping;
mod killed;
mod story;
mod support;
