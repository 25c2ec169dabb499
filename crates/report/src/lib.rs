//! What people look at: terminal tables, charts and self-contained HTML pages.
