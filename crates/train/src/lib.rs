//! Training recipes, schedule, optimizer loop, early stopping, search and checkpoints.
