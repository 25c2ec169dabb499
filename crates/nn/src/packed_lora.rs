//! Low-rank adapters packed once, to be added to many inputs: inference beside a frozen layer.

use crate::kernels::f32::{self, Finish, Left, Panels, Right};
use crate::{Mat, Placed};
use std::ops::Range;

/// The adapters of one linear layer, ready to be added to what it computes.
#[derive(Debug)]
pub struct PackedLora {
    inputs: usize,
    /// Ranks of all adapters together.
    rank: usize,
    /// `Aᵀ` of all adapters side by side, `[inputs, Σ rank]`.
    a: Panels,
    parts: Vec<PackedPart>,
}

/// `Bᵀ` of one adapter, `[rank, outputs]`.
#[derive(Debug)]
struct PackedPart {
    b: Panels,
    rank: usize,
    outputs: usize,
    column: usize,
    scale: f32,
}

impl PackedLora {
    /// Packs adapters, which have the same inputs.
    pub fn new(adapters: &[Placed<'_>]) -> Self {
        let inputs = adapters.first().map_or(0, |placed| placed.lora.a.cols);
        let mut rows = Vec::new();
        let mut parts = Vec::new();
        for Placed { lora, column } in adapters {
            let (rank, outputs) = (lora.a.rows, lora.b.rows);
            assert_eq!((lora.a.cols, lora.b.cols), (inputs, rank), "shapes of an adapter");
            rows.extend((0..rank).map(|i| lora.a.row(i)));
            let mut b = Panels::default();
            b.pack_columns(rank, outputs, |j| lora.b.row(j));
            parts.push(PackedPart { b, rank, outputs, column: *column, scale: lora.scale });
        }
        let mut a = Panels::default();
        a.pack_columns(inputs, rows.len(), |j| rows[j]);
        PackedLora { inputs, rank: rows.len(), a, parts }
    }

    /// Adds what the adapters make of `rows` of `x` `[tokens, inputs]` to the same rows of `y`;
    /// `hidden` is memory to reuse. What is added to a row depends on that row alone.
    pub fn add(&self, x: &Mat, rows: Range<usize>, y: &mut Mat, hidden: &mut Mat) {
        let (count, wide) = (rows.len(), y.cols);
        assert_eq!((x.cols, x.rows), (self.inputs, y.rows), "shape of an adapter's input");
        assert!(rows.end <= x.rows, "rows of the input");
        hidden.reshape(count, self.rank);
        if count == 0 || self.rank == 0 {
            return;
        }
        let left = Left { data: &x.data[rows.start * x.cols..], row: x.cols, step: 1 };
        let right = Right::Packed(&self.a);
        f32::multiply(count, left, right, &mut hidden.data, self.rank, Finish::REPLACE);
        let mut first = 0;
        for part in &self.parts {
            assert!(part.column + part.outputs <= wide, "place of an adapter");
            let left = Left { data: &hidden.data[first..], row: self.rank, step: 1 };
            let finish = Finish { alpha: part.scale, ..Finish::ADD };
            let target = &mut y.data[rows.start * wide + part.column..];
            f32::multiply(count, left, Right::Packed(&part.b), target, wide, finish);
            first += part.rank;
        }
    }

    /// Bytes that the packed matrices take.
    pub fn bytes(&self) -> usize {
        self.a.bytes() + self.parts.iter().map(|part| part.b.bytes()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::matrix;
    use crate::{Lora, lora};

    #[test]
    fn packed_adapters_add_the_same_bits_as_unpacked_ones() {
        let one = |outputs, salt| Lora {
            a: matrix(3, 19, salt),
            b: matrix(outputs, 3, salt + 10),
            scale: 0.5 * salt as f32,
        };
        let (first, second) = (one(5, 1), one(16, 2));
        let placed = [Placed { lora: &first, column: 3 }, Placed { lora: &second, column: 8 }];
        let (x, start) = (matrix(9, 19, 20), matrix(9, 26, 30));
        let mut want = start.clone();
        lora::forward_add(&placed, &x, None, &mut want);
        let packed = PackedLora::new(&placed);
        let (mut got, mut hidden) = (start.clone(), Mat::default());
        for rows in [0..1, 1..9, 4..4] {
            packed.add(&x, rows, &mut got, &mut hidden);
        }
        assert_eq!(got, want);
        packed.add(&x, 2..3, &mut got, &mut hidden);
        assert_eq!(got.row(1), want.row(1), "other rows stay");
        assert_ne!(got.row(2), want.row(2));
        assert!(packed.bytes() > 0);
    }
}
