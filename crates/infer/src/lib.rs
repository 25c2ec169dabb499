//! The Generator interface and its implementations: local with dynamic batching, and remote.
