//! Smaller number formats for trained weights, and their files.
