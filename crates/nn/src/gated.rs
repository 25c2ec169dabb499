//! Gated feed-forward units (Shazeer 2020): `h = f(gate) · up`, "SwiGLU" and "GeGLU".

use crate::kernels::elementwise;
use crate::threads::SharedMut;
use crate::{Activation, Mat, threads};

/// Rows in a piece of parallel work.
const ROWS: usize = 8;

/// `h = f(gate)·up` for `x` `[tokens, 2 · width]`, whose rows hold the gate and then the other
/// factor, into `h` `[tokens, width]`, whose memory is reused.
pub fn gated_into(f: Activation, x: &Mat, h: &mut Mat) {
    let width = x.cols / 2;
    assert!(x.cols.is_multiple_of(2), "a gate and a factor of one width");
    h.reshape(x.rows, width);
    threads::run_chunks(&mut h.data, ROWS * width.max(1), |index, piece| {
        for (i, h) in piece.chunks_exact_mut(width.max(1)).enumerate() {
            let (gate, up) = x.row(index * ROWS + i).split_at(width);
            h.copy_from_slice(gate);
            elementwise::activate(f, h);
            elementwise::multiply(h, up);
        }
    });
}

/// The gradient for `x` of [`gated_into`], `[tokens, 2 · width]`, from `dh` `[tokens, width]`.
pub fn gated_backward(f: Activation, x: &Mat, dh: &Mat) -> Mat {
    let width = x.cols / 2;
    assert_eq!((x.rows, width), (dh.rows, dh.cols), "shapes of a gated unit's gradient");
    let mut dx = Mat::zeros(x.rows, x.cols);
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
    dx
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};

    #[test]
    fn the_unit_is_its_definition() {
        let x = matrix(19, 14, 1);
        let mut h = Mat::default();
        gated_into(Activation::Silu, &x, &mut h);
        for i in 0..19 {
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
            let dx = gated_backward(f, &x, &weight);
            check("x", &x.data, &dx.data, |data| {
                let mut h = Mat::default();
                gated_into(f, &Mat::new(11, 10, data.to_vec()), &mut h);
                weigh(&h, &weight)
            });
        }
    }
}
