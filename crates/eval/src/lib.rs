//! Metrics, intervals, paired tests, slices, gates, latency and cost.
