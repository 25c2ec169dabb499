//! The HTTP server: OpenAI-compatible API, classification API, limits, keys and shutdown.
