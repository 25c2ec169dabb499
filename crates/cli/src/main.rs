//! The `sprat` command line.
fn main() {}
