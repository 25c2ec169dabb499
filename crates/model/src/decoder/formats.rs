//! Which matrix of a GGUF file is stored in which format.

use super::gguf_matrices::Matrix;
use super::projection::Projection;
use sprat_nn::BlockFormat;

/// How the matrices of a GGUF file are stored. Where rows are no whole number of blocks, a format
/// means the next one that fits ([`BlockFormat::fitting`]).
#[derive(Clone, Copy, Debug)]
pub enum Formats<'a> {
    /// As they are.
    Own,
    /// All in one format.
    One(BlockFormat),
    /// llama.cpp's mix `Q4_K_M`: Q4_K, and Q6_K where errors hurt most.
    Q4KM,
    /// Each in the format that leaves the least error when all together may take so many bits a
    /// weight.
    Budget(f64),
    /// As those of another file of a model of the same shape.
    Like(&'a [StoredMatrix]),
}

/// A matrix as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMatrix {
    /// Its name in the file.
    pub name: String,
    /// How many weights it has.
    pub weights: usize,
    /// The format.
    pub format: BlockFormat,
}

impl StoredMatrix {
    /// Bytes that the weights take in the file.
    pub fn bytes(&self) -> usize {
        self.format.bytes_for(self.weights).unwrap_or_default()
    }
}

/// The format of a matrix in llama.cpp's `Q4_K_M` for a model of so many layers
/// (`llama_tensor_get_type` in llama.cpp's `src/llama-quant.cpp`).
pub(super) fn q4_k_m(matrix: &Matrix<'_>, layers: usize) -> BlockFormat {
    match matrix.projection {
        _ if matrix.is_output => BlockFormat::Q6K,
        Some((layer, Projection::Value | Projection::Down)) if more_bits(layer, layers) => {
            BlockFormat::Q6K
        }
        Some((_, Projection::Qkv)) => BlockFormat::Q5K,
        _ => BlockFormat::Q4K,
    }
}

/// Whether a layer is among the first or last eighth, or each third between (`use_more_bits`).
fn more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_layers_and_each_third_between_get_more_bits() {
        let chosen = |layers| (0..layers).filter(|&at| more_bits(at, layers)).collect::<Vec<_>>();
        assert_eq!(chosen(2), [1]);
        assert_eq!(chosen(4), [2, 3]);
        assert_eq!(chosen(16), [0, 1, 4, 7, 10, 13, 14, 15]);
        // As many layers as SmolLM2-135M has.
        let outer = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29];
        assert_eq!(chosen(30), outer);
    }
}
