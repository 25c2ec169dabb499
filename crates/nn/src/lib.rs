//! Neural-network layers with forward and backward, kernels and threads.
