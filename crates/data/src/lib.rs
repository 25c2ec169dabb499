//! Readers, examples, the data gate's checks, splits and dataset versions.
