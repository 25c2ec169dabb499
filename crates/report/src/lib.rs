//! What people look at: one description of a page, shown on a terminal or as a self-contained
//! HTML file with SVG charts.
//!
//! ```
//! use sprat_report::{Page, Table, Terminal};
//!
//! let table = Table::new("Rows per class", &["class", "rows"])
//!     .numeric(&[1])
//!     .row(["refund", "120"])
//!     .row(["delivery", "96"]);
//! let page = Page::new("Data check").section("Classes").table(table);
//! assert!(page.text(&Terminal::plain(80)).contains("refund"));
//! assert!(page.render()?.starts_with("<!doctype html>"));
//! # Ok::<(), sprat_task::Error>(())
//! ```
//!
//! Text that comes from users' data is never trusted: HTML is escaped, and control and
//! bidirectional-override characters are made visible on terminals.

pub mod chart;
pub mod codes;
mod html;
pub mod number;
mod page;
mod table;
mod terminal;

pub use chart::Chart;
pub use page::{Block, Figure, Page, Section};
pub use table::{Align, Cell, Table};
pub use terminal::{Terminal, Tone, visible};
