//! Storage traits and their backends: SQLite for rows, a folder of content-addressed blobs for bytes.
