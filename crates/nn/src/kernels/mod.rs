//! The loops that take the time. Each instruction set computes the same partition of the work;
//! which one runs is found out once, when the program runs.
//!
//! All matrix products have one shape ([`tile`]): a small block of the result stays in registers
//! while 32 bits of the left operand (one `f32`, two bfloat16 or four bytes) are broadcast
//! against 16 columns of the right one. [`f32`], [`bf16`] and [`int8`] bring operands into that
//! shape.

#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod bf16;
pub(crate) mod blocks;
pub(crate) mod cpu;
pub(crate) mod elementwise;
pub(crate) mod f32;
pub(crate) mod int8;
pub(crate) mod paged;
mod portable;
pub(crate) mod rows;
pub(crate) mod tile;
