//! Traces of served requests.
