//! The one matrix type.

/// A row-major matrix of `f32`: element `(i, j)` is `data[i * cols + j]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mat {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// The elements, row after row; its length is `rows * cols`.
    pub data: Vec<f32>,
}

impl Mat {
    /// A matrix from its elements, row after row.
    ///
    /// # Panics
    /// If `data` does not have `rows * cols` elements.
    pub fn new(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows}×{cols} matrix");
        Mat { rows, cols, data }
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Mat { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Row `i`, `[cols]`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Row `i`, `[cols]`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Gives the matrix another shape and keeps its memory. What it holds afterwards is
    /// unspecified: this is for outputs that are written whole.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        self.rows = rows;
        self.cols = cols;
        self.data.resize(rows * cols, 0.0);
    }

    /// Becomes a copy of another matrix, in the memory that it has.
    pub fn copy_from(&mut self, other: &Mat) {
        self.reshape(other.rows, other.cols);
        self.data.copy_from_slice(&other.data);
    }

    /// Sets every element to zero.
    pub fn clear(&mut self) {
        self.data.fill(0.0);
    }

    /// Adds another matrix of the same shape, element by element, on all threads.
    pub fn add(&mut self, other: &Mat) {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "shapes of a sum");
        const PIECE: usize = 16_384;
        crate::threads::run_chunks(&mut self.data, PIECE, |index, piece| {
            let from = index * PIECE;
            crate::kernels::elementwise::add(piece, &other.data[from..from + piece.len()]);
        });
    }

    /// The transposed matrix, `[cols, rows]`.
    #[must_use]
    pub fn transposed(&self) -> Mat {
        let mut out = Mat::zeros(self.cols, self.rows);
        for (i, row) in self.data.chunks_exact(self.cols.max(1)).enumerate() {
            for (j, value) in row.iter().enumerate() {
                out.data[j * self.rows + i] = *value;
            }
        }
        out
    }
}
