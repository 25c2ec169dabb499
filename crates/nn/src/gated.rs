//! Gated feed-forward units (Shazeer 2020): `h = f(gate) · up`, "SwiGLU" and "GeGLU".

use crate::kernels::elementwise;
use crate::threads::SharedMut;
use crate::{Activation, Mat, threads};

/// Rows in a piece of parallel work of [`gated_backward_into`].
const ROWS: usize = 8;

/// Elements in a piece of parallel work of [`gated_into`].
const PIECE: usize = 3_072;

/// `h = f(gate)·up` for `x` `[tokens, 2 · width]`, whose rows hold the gate and then the other
/// factor, into `h` `[tokens, width]`, whose memory is reused.
pub fn gated_into(f: Activation, x: &Mat, h: &mut Mat) {
    let width = x.cols / 2;
    assert!(x.cols.is_multiple_of(2), "a gate and a factor of one width");
    h.reshape(x.rows, width);
    threads::run_chunks(&mut h.data, PIECE, |index, mut piece| {
        let mut at = index * PIECE;
        // Pieces begin and end anywhere in a row.
        while !piece.is_empty() {
            let (row, column) = (at / width, at % width);
            let (h, rest) = piece.split_at_mut((width - column).min(piece.len()));
            let (gate, up) = x.row(row).split_at(width);
            h.copy_from_slice(&gate[column..column + h.len()]);
            elementwise::activate(f, h);
            elementwise::multiply(h, &up[column..column + h.len()]);
            at += h.len();
            piece = rest;
        }
    });
}

/// The gradient for `x` of [`gated_into`], from `dh` `[tokens, width]` into `dx`
/// `[tokens, 2 · width]`, whose memory is reused.
pub fn gated_backward_into(f: Activation, x: &Mat, dh: &Mat, dx: &mut Mat) {
    let width = x.cols / 2;
    assert_eq!((x.rows, width), (dh.rows, dh.cols), "shapes of a gated unit's gradient");
    dx.reshape(x.rows, x.cols);
    let out = SharedMut(dx.data.as_mut_ptr());
    threads::run(x.rows.div_ceil(ROWS), |task| {
        for row in task * ROWS..(task * ROWS + ROWS).min(x.rows) {
            let (gate, up) = x.row(row).split_at(width);
            // SAFETY: row `row` lies inside `dx` and belongs to this task alone.
            let dx = unsafe {
                std::slice::from_raw_parts_mut(out.get().add(row * 2 * width), 2 * width)
            };
            let (dgate, dup) = dx.split_at_mut(width);
            // dup = dh·f(gate), dgate = dh·up·f'(gate)
            dup.copy_from_slice(gate);
            elementwise::activate(f, dup);
            elementwise::multiply(dup, dh.row(row));
            dgate.copy_from_slice(dh.row(row));
            elementwise::multiply(dgate, up);
            elementwise::activate_backward(f, gate, dgate);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};

    #[test]
    fn the_unit_is_its_definition() {
        // More than one piece of work, whose bounds lie inside of rows.
        let x = matrix(500, 14, 1);
        let mut h = Mat::default();
        gated_into(Activation::Silu, &x, &mut h);
        for i in 0..500 {
            for j in 0..7 {
                let gate = f64::from(x.row(i)[j]);
                let want = gate / (1.0 + (-gate).exp()) * f64::from(x.row(i)[7 + j]);
                assert!((f64::from(h.row(i)[j]) - want).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn gated_gradients_agree_with_differences() {
        for f in [Activation::Silu, Activation::GeluTanh] {
            let (x, weight) = (matrix(11, 10, 2), matrix(11, 5, 3));
            let mut dx = Mat::default();
            gated_backward_into(f, &x, &weight, &mut dx);
            check("x", &x.data, &dx.data, |data| {
                let mut h = Mat::default();
                gated_into(f, &Mat::new(11, 10, data.to_vec()), &mut h);
                weigh(&h, &weight)
            });
        }
    }
}
