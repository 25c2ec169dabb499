//! JSON pointers (RFC 6901) to places in a schema.

/// Adds a step to a pointer.
pub(super) fn push(path: &mut String, step: &str) {
    path.push('/');
    path.push_str(&step.replace('~', "~0").replace('/', "~1"));
}

/// A pointer for people; that to the whole schema is empty, which says nothing.
pub(super) fn shown(path: &str) -> String {
    const LONGEST: usize = 300;
    match path {
        "" => "/".to_owned(),
        path => path.chars().take(LONGEST).collect(),
    }
}
