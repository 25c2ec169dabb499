//! Architectures, tokenizers and file formats.
