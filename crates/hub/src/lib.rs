//! Model references: fetching, pinning by digest and the local model cache.
