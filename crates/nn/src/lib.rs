//! Neural-network layers with forward and backward, kernels and threads.
//!
//! Everything is a plain function of row-major `f32` matrices ([`Mat`]); batches are *ragged*:
//! the tokens of all sequences stand one after another and `bounds` (`n + 1` offsets) says where
//! each begins, so that no padding is ever computed. Layers own their weights and know how to go
//! forward and backward; whoever calls keeps what backward needs (the "tape").
//!
//! Results do not depend on the number of threads: work is cut by shape alone, and no sum is ever
//! split in a way that depends on who computes it.
//!
//! Shapes are the caller's duty: a layer given matrices of the wrong shape panics, as indexing a
//! slice does.

pub mod attention;
mod blocks;
pub mod cache;
pub mod dropout;
pub mod embedding;
pub mod gated;
mod kernels;
pub mod lbfgs;
pub mod linear;
pub mod lora;
pub mod loss;
mod mat;
mod memory;
pub mod norm;
pub mod optimizer;
pub mod packed_lora;
pub mod pooling;
pub mod rms_norm;
pub mod rotary;
pub mod scored;
pub mod threads;
pub mod token_loss;

mod activation;

pub use activation::Activation;
pub use attention::{Attention, AttentionTape, Heads};
pub use blocks::BlockFormat;
pub use cache::{PAGE, PagedCache, Scoring, Span};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use gated::{gated_backward_into, gated_into};
pub use linear::{Format, Linear};
pub use lora::{Lora, LoraGrad, Placed};
pub use loss::{CrossEntropy, softmax};
pub use mat::Mat;
pub use norm::{LayerNorm, NormTape, l2_normalize, l2_normalize_backward};
pub use optimizer::{AdamW, AdamWState, clip_gradients};
pub use packed_lora::PackedLora;
pub use pooling::Pooling;
pub use rms_norm::{RmsNorm, RmsTape};
pub use rotary::{Rotary, RotatedHeads, Rotations};
pub use scored::ScoredAttention;
pub use token_loss::{TokenLoss, token_cross_entropy, token_losses};

#[cfg(test)]
mod gradient_check;
