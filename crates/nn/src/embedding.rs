//! Embedding tables: gather forward, scatter-add backward.

use crate::{Format, Mat, threads};
use half::bf16;

/// A table of vectors, `[entries, width]`.
#[derive(Debug)]
pub struct Embedding {
    entries: usize,
    width: usize,
    table: Table,
}

#[derive(Debug)]
enum Table {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    /// Values and one scale per entry: `value · scale`, symmetric.
    Int8(Vec<i8>, Vec<f32>),
}

impl Embedding {
    /// A table stored in `format`; [`Format::Int8`] is symmetric with one scale per entry.
    pub fn new(table: Mat, format: Format) -> Self {
        let (entries, width) = (table.rows, table.cols);
        let table = match format {
            // Tables in blocks stay with the layer that shares them; see `Linear::weight_row`.
            Format::F32 | Format::Blocks(_) => Table::F32(table.data),
            Format::Bf16 => Table::Bf16(table.data.iter().map(|x| bf16::from_f32(*x)).collect()),
            Format::Int8 => {
                let mut values = Vec::with_capacity(table.data.len());
                let mut scales = Vec::with_capacity(entries);
                for i in 0..entries {
                    scales.push(crate::linear::quantize_symmetric(table.row(i), &mut values));
                }
                Table::Int8(values, scales)
            }
        };
        Embedding { entries, width, table }
    }

    /// Number of vectors.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Length of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes that the table takes in memory.
    pub fn bytes(&self) -> usize {
        match &self.table {
            Table::F32(data) => data.len() * 4,
            Table::Bf16(data) => data.len() * 2,
            Table::Int8(data, scales) => data.len() + scales.len() * 4,
        }
    }

    /// The table as it is used, `[entries, width]`.
    pub fn table(&self) -> Mat {
        let mut all = Mat::zeros(self.entries, self.width);
        for i in 0..self.entries {
            self.add(i, all.row_mut(i));
        }
        all
    }

    /// Replaces the table, which keeps its shape, after an optimizer's step.
    pub fn set(&mut self, table: &Mat) {
        assert_eq!((table.rows, table.cols), (self.entries, self.width), "shape of a table");
        if let Table::F32(data) = &mut self.table {
            data.copy_from_slice(&table.data);
        } else {
            let format =
                if matches!(self.table, Table::Int8(..)) { Format::Int8 } else { Format::Bf16 };
            *self = Embedding::new(table.clone(), format);
        }
    }

    /// Adds entry `id` to `into`, `[width]`.
    fn add(&self, id: usize, into: &mut [f32]) {
        let at = id * self.width..(id + 1) * self.width;
        match &self.table {
            Table::F32(data) => crate::kernels::elementwise::add(into, &data[at]),
            Table::Bf16(data) => {
                into.iter_mut().zip(&data[at]).for_each(|(x, v)| *x += v.to_f32());
            }
            Table::Int8(data, scales) => {
                let scale = scales[id];
                into.iter_mut().zip(&data[at]).for_each(|(x, v)| *x += f32::from(*v) * scale);
            }
        }
    }

    /// Adds the entry of each id to its row of `sum`, `[ids, width]`: token, position and type
    /// embeddings are summed this way. Ids are checked by the caller against [`Self::entries`].
    pub fn gather_add(&self, ids: &[u32], sum: &mut Mat) {
        assert_eq!((ids.len(), self.width), (sum.rows, sum.cols), "shape of the embeddings");
        const ROWS: usize = 64;
        threads::run_chunks(&mut sum.data, ROWS * self.width.max(1), |index, piece| {
            for (i, row) in piece.chunks_exact_mut(self.width).enumerate() {
                self.add(ids[index * ROWS + i] as usize, row);
            }
        });
    }

    /// The entries of `ids`, `[ids, width]`.
    pub fn gather(&self, ids: &[u32]) -> Mat {
        let mut out = Mat::zeros(ids.len(), self.width);
        self.gather_add(ids, &mut out);
        out
    }

    /// Adds each row of `dy` `[ids, width]` to the row of its id in `dtable` `[entries, width]`,
    /// in the order of the ids.
    pub fn scatter_add(ids: &[u32], dy: &Mat, dtable: &mut Mat) {
        assert_eq!((ids.len(), dy.cols), (dy.rows, dtable.cols), "shape of the gradients");
        for (i, id) in ids.iter().enumerate() {
            crate::kernels::elementwise::add(dtable.row_mut(*id as usize), dy.row(i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Mat {
        Mat::new(3, 2, vec![1.0, -2.0, 0.5, 0.25, 3.0, 127.0])
    }

    #[test]
    fn gather_sums_tables_and_scatter_is_its_transpose() {
        let embedding = Embedding::new(table(), Format::F32);
        let mut sum = embedding.gather(&[2, 0, 2]);
        assert_eq!(sum.data, [3.0, 127.0, 1.0, -2.0, 3.0, 127.0]);
        embedding.gather_add(&[1, 1, 1], &mut sum);
        assert_eq!(sum.row(1), [1.5, -1.75]);
        let mut gradient = Mat::zeros(3, 2);
        Embedding::scatter_add(&[2, 0, 2], &sum, &mut gradient);
        assert_eq!(gradient.data, [1.5, -1.75, 0.0, 0.0, 7.0, 254.5]);
    }

    #[test]
    fn stored_formats_stay_within_their_rounding() {
        for (format, share) in [(Format::Bf16, 1.0 / 256.0), (Format::Int8, 0.5 / 127.0)] {
            let kept = Embedding::new(table(), format).table();
            for i in 0..3 {
                let largest = table().row(i).iter().fold(0f32, |m, x| m.max(x.abs()));
                for (a, b) in kept.row(i).iter().zip(table().row(i)) {
                    assert!((a - b).abs() <= share * largest * 1.0001, "{format:?}: {a} for {b}");
                }
            }
        }
    }
}
