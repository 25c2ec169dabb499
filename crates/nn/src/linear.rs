//! Linear layers, `y = x·Wᵀ + b`.

use crate::kernels::f32::{self, Finish, Left, Panels, Right};
use crate::kernels::{bf16, blocks, int8};
use crate::{Activation, BlockFormat, Mat};
use std::sync::OnceLock;

/// How a frozen weight is stored and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// bfloat16 weights and activations, products summed in `f32`.
    Bf16,
    /// 8-bit integers: weights symmetric per output, activations quantized per row as they come
    /// (unsigned, with a zero point). Backward runs over the restored weights in `f32`.
    Int8,
    /// Weights in blocks of a GGML format, activations quantized to signed bytes as they come, 32
    /// to a scale; formats of floats are multiplied as [`Format::Bf16`] or [`Format::F32`].
    /// Backward restores the weights to `f32` a tile at a time and keeps nothing.
    Blocks(BlockFormat),
}

/// A linear layer; its weight is packed for the kernels of its [`Format`].
#[derive(Debug)]
pub struct Linear {
    outputs: usize,
    inputs: usize,
    format: Format,
    /// `Wᵀ`, `[inputs, outputs]`.
    forward: Packed,
    /// `W` for `dx = dy·W`, packed when first asked for: inference never pays for it.
    backward: OnceLock<Packed>,
    bias: Option<Vec<f32>>,
}

#[derive(Debug)]
enum Packed {
    F32(f32::Panels),
    Bf16(bf16::Panels),
    Int8(int8::Panels),
    Blocks(blocks::Panels),
}

impl Packed {
    fn get(&self, k: usize, j: usize) -> f32 {
        match self {
            Packed::F32(panels) => panels.get(k, j),
            Packed::Bf16(panels) => panels.get(k, j),
            Packed::Int8(panels) => panels.get(k, j),
            Packed::Blocks(panels) => panels.get(k, j),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Packed::F32(panels) => panels.bytes(),
            Packed::Bf16(panels) => panels.bytes(),
            Packed::Int8(panels) => panels.bytes(),
            Packed::Blocks(panels) => panels.bytes(),
        }
    }

    fn multiply(&self, x: &Mat, y: &mut Mat, finish: Finish<'_>) {
        match self {
            Packed::F32(panels) => {
                let left = Left { data: &x.data, row: x.cols, step: 1 };
                f32::multiply(x.rows, left, Right::Packed(panels), &mut y.data, y.cols, finish);
            }
            Packed::Bf16(panels) => bf16::multiply(x.rows, &x.data, panels, &mut y.data, finish),
            Packed::Int8(panels) => int8::multiply(x.rows, &x.data, panels, &mut y.data, finish),
            Packed::Blocks(panels) => {
                blocks::multiply(x.rows, &x.data, panels, &mut y.data, finish);
            }
        }
    }
}

impl Linear {
    /// A layer with `weight` `[outputs, inputs]` and, where given, `bias` `[outputs]`.
    pub fn new(weight: Mat, bias: Option<Vec<f32>>, format: Format) -> Self {
        assert!(bias.as_ref().is_none_or(|b| b.len() == weight.rows), "one bias per output");
        let (outputs, inputs) = (weight.rows, weight.cols);
        let forward = match format {
            Format::F32 => {
                let mut panels = Panels::default();
                panels.pack_columns(inputs, outputs, |j| weight.row(j));
                Packed::F32(panels)
            }
            Format::Bf16 => {
                Packed::Bf16(bf16::Panels::pack(inputs, outputs, &weight.data, 1, inputs))
            }
            Format::Int8 => {
                let mut values = Vec::with_capacity(weight.data.len());
                let scales =
                    (0..outputs).map(|i| quantize_symmetric(weight.row(i), &mut values)).collect();
                return Linear::from_int8(inputs, &values, scales, bias);
            }
            Format::Blocks(blocks) => {
                let row = blocks.bytes_for(inputs).unwrap_or(0);
                assert!(row > 0, "{inputs} inputs are no whole blocks of {blocks}");
                let mut bytes = vec![0; outputs * row];
                blocks.quantize_rows(inputs, &weight.data, None, &mut bytes);
                return Linear::from_blocks(blocks, inputs, &bytes, bias);
            }
        };
        Linear { outputs, inputs, format, forward, backward: OnceLock::new(), bias }
    }

    /// An [`Format::Int8`] layer from stored bytes `[outputs, inputs]` and `scales` `[outputs]`:
    /// the weight is `value · scale`.
    pub fn from_int8(
        inputs: usize,
        values: &[i8],
        scales: Vec<f32>,
        bias: Option<Vec<f32>>,
    ) -> Self {
        let outputs = scales.len();
        assert_eq!(values.len(), outputs * inputs, "bytes of an int8 weight");
        assert!(bias.as_ref().is_none_or(|b| b.len() == outputs), "one bias per output");
        let forward = Packed::Int8(int8::Panels::pack(inputs, values, scales));
        let backward = OnceLock::new();
        Linear { outputs, inputs, format: Format::Int8, forward, backward, bias }
    }

    /// A [`Format::Blocks`] layer from the stored rows of a GGML format, `[outputs, inputs]`.
    /// Formats of floats give a layer of [`Format::F32`] or [`Format::Bf16`].
    ///
    /// # Panics
    /// If `inputs` are no whole blocks, or the bytes no whole rows of them.
    pub fn from_blocks(
        format: BlockFormat,
        inputs: usize,
        bytes: &[u8],
        bias: Option<Vec<f32>>,
    ) -> Self {
        let row = format.bytes_for(inputs).unwrap_or(0);
        assert!(
            row > 0 && bytes.len().is_multiple_of(row),
            "{} bytes are no rows of {inputs} weights in {format}",
            bytes.len()
        );
        let outputs = bytes.len() / row;
        assert!(bias.as_ref().is_none_or(|b| b.len() == outputs), "one bias per output");
        let Some(layout) = format.layout() else {
            let mut weight = Mat::zeros(outputs, inputs);
            format.dequantize_all(bytes, &mut weight.data);
            let kept = if format == BlockFormat::Bf16 { Format::Bf16 } else { Format::F32 };
            return Linear::new(weight, bias, kept);
        };
        let panels = blocks::Panels::pack(inputs, outputs, layout, |j, group| {
            format.group(&bytes[j * row..(j + 1) * row], group)
        });
        let (forward, format) = (Packed::Blocks(panels), Format::Blocks(format));
        Linear { outputs, inputs, format, forward, backward: OnceLock::new(), bias }
    }

    /// The bytes `[outputs, inputs]` and scales `[outputs]` of an [`Format::Int8`] layer, as
    /// [`Self::from_int8`] takes them.
    pub fn int8_parts(&self) -> Option<(Vec<i8>, &[f32])> {
        let Packed::Int8(panels) = &self.forward else { return None };
        let bytes = (0..self.outputs)
            .flat_map(|j| (0..self.inputs).map(move |k| panels.byte(k, j)))
            .collect();
        Some((bytes, panels.scales()))
    }

    /// Bytes that weight and bias take in memory, both directions together.
    pub fn bytes(&self) -> usize {
        self.forward.bytes()
            + self.backward.get().map_or(0, Packed::bytes)
            + self.bias.as_ref().map_or(0, |b| b.len() * 4)
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Width of the input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// How the weight is stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The bias, `[outputs]`.
    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// The weight `[outputs, inputs]` as it is multiplied: what the format has kept of it.
    pub fn weight(&self) -> Mat {
        let mut weight = Mat::zeros(self.outputs, self.inputs);
        for j in 0..self.outputs {
            self.weight_row(j, weight.row_mut(j));
        }
        weight
    }

    /// Row `j` of [`Self::weight`], into `row` `[inputs]`.
    pub fn weight_row(&self, j: usize, row: &mut [f32]) {
        assert!(j < self.outputs && row.len() == self.inputs, "a row of the weight");
        if let Packed::Blocks(panels) = &self.forward {
            return panels.restore_row(j, row);
        }
        row.iter_mut().enumerate().for_each(|(k, w)| *w = self.forward.get(k, j));
    }

    /// Replaces weight and bias, which keep their shapes, after an optimizer's step.
    pub fn set(&mut self, weight: &Mat, bias: Option<&[f32]>) {
        assert_eq!((weight.rows, weight.cols), (self.outputs, self.inputs), "shape of a weight");
        if let Packed::F32(panels) = &mut self.forward {
            // The optimizer comes by at every step: the memory is reused.
            panels.pack_columns(self.inputs, self.outputs, |j| weight.row(j));
            if let Some(Packed::F32(panels)) = self.backward.get_mut() {
                panels.pack_rows(self.outputs, self.inputs, |i| weight.row(i));
            }
            self.bias = bias.map(<[f32]>::to_vec);
        } else {
            *self = Linear::new(weight.clone(), bias.map(<[f32]>::to_vec), self.format);
        }
    }

    /// `y = x·Wᵀ + b`: `[tokens, inputs]` to `[tokens, outputs]`.
    pub fn forward(&self, x: &Mat) -> Mat {
        let mut y = Mat::default();
        self.forward_into(x, None, &mut y);
        y
    }

    /// [`Self::forward`] with an activation on the result, into a matrix whose memory is reused.
    pub fn forward_into(&self, x: &Mat, activation: Option<Activation>, y: &mut Mat) {
        assert_eq!(x.cols, self.inputs, "width of a linear layer's input");
        y.reshape(x.rows, self.outputs);
        let finish = Finish { bias: self.bias.as_deref(), activation, ..Finish::REPLACE };
        self.forward.multiply(x, y, finish);
    }

    /// `y += x·Wᵀ + b`: the same bits as adding the result of [`Self::forward`].
    pub fn forward_add(&self, x: &Mat, y: &mut Mat) {
        assert_eq!(
            (x.cols, x.rows, self.outputs),
            (self.inputs, y.rows, y.cols),
            "shapes of a sum"
        );
        if let Packed::Int8(_) = &self.forward {
            return y.add(&self.forward(x));
        }
        let finish = Finish { bias: self.bias.as_deref(), ..Finish::ADD };
        self.forward.multiply(x, y, finish);
    }

    /// `dx = dy·W`: `[tokens, outputs]` to `[tokens, inputs]`.
    pub fn backward_input(&self, dy: &Mat) -> Mat {
        let mut dx = Mat::zeros(dy.rows, self.inputs);
        self.backward_input_into(dy, false, &mut dx);
        dx
    }

    /// [`Self::backward_input`] into a matrix whose memory is reused, or, with `accumulate`,
    /// added to what it holds.
    pub fn backward_input_into(&self, dy: &Mat, accumulate: bool, dx: &mut Mat) {
        assert_eq!(dy.cols, self.outputs, "width of a linear layer's output gradient");
        if accumulate {
            assert_eq!((dx.rows, dx.cols), (dy.rows, self.inputs), "shapes of a sum");
        } else {
            dx.reshape(dy.rows, self.inputs);
        }
        if let Packed::Blocks(panels) = &self.forward {
            return blocks::multiply_transposed(
                dy.rows,
                &dy.data,
                panels,
                &mut dx.data,
                accumulate,
            );
        }
        let packed = self.backward.get_or_init(|| {
            let weight = self.weight();
            let (k, n) = (self.outputs, self.inputs);
            match self.format {
                Format::Bf16 => Packed::Bf16(bf16::Panels::pack(k, n, &weight.data, n, 1)),
                Format::F32 | Format::Int8 | Format::Blocks(_) => {
                    let mut panels = Panels::default();
                    panels.pack_rows(k, n, |i| weight.row(i));
                    Packed::F32(panels)
                }
            }
        });
        packed.multiply(dy, dx, Finish { accumulate, ..Finish::REPLACE });
    }

    /// Adds `dyᵀ·x` to `dweight` `[outputs, inputs]` and the column sums of `dy` to `dbias`
    /// `[outputs]`.
    pub fn backward_weight(x: &Mat, dy: &Mat, dweight: &mut Mat, dbias: Option<&mut [f32]>) {
        assert_eq!(x.rows, dy.rows, "tokens of a weight gradient");
        assert_eq!((dweight.rows, dweight.cols), (dy.cols, x.cols), "shape of a weight gradient");
        let left = Left { data: &dy.data, row: 1, step: dy.cols };
        let mut panels = Panels::default();
        let right = rows_or_packed(&x.data, x.cols, x.rows, x.cols, &mut panels);
        f32::multiply(dy.cols, left, right, &mut dweight.data, x.cols, Finish::ADD);
        if let Some(dbias) = dbias {
            add_column_sums(dy, dbias);
        }
    }
}

/// `sums[j] += Σ_i m(i, j)`.
pub(crate) fn add_column_sums(m: &Mat, sums: &mut [f32]) {
    assert_eq!(sums.len(), m.cols, "one sum per column");
    for i in 0..m.rows {
        crate::kernels::elementwise::add(sums, m.row(i));
    }
}

/// Appends a row as `i8` with one symmetric scale, which it returns: `x ≈ value · scale`,
/// `scale = max|x| / 127`.
pub(crate) fn quantize_symmetric(row: &[f32], values: &mut Vec<i8>) -> f32 {
    let largest = row.iter().fold(0f32, |m, x| m.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    values.extend(row.iter().map(|x| (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8));
    scale
}

/// A row-major right operand `[k, n]`, rows `step` apart: as it stands where kernels can read it
/// so, else packed into `panels`.
pub(crate) fn rows_or_packed<'a>(
    data: &'a [f32],
    step: usize,
    k: usize,
    n: usize,
    panels: &'a mut Panels,
) -> Right<'a> {
    if n.is_multiple_of(crate::kernels::tile::LANES) {
        Right::Rows { data, step, k, n }
    } else {
        panels.pack_rows(k, n, |i| &data[i * step..]);
        Right::Packed(panels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};
    use crate::threads::set_threads;

    const FORMATS: [Format; 3] = [Format::F32, Format::Bf16, Format::Int8];

    #[test]
    fn blocks_multiply_the_weights_that_dequantizing_gives() {
        for format in BlockFormat::ALL.into_iter().filter(|format| format.is_quantized()) {
            let (x, weight) = (matrix(9, 512, 1), matrix(50, 512, 2));
            let mut bytes = vec![0; 50 * format.bytes_for(512).unwrap()];
            format.quantize_rows(512, &weight.data, None, &mut bytes);
            let layer = Linear::from_blocks(format, 512, &bytes, None);
            let mut restored = Mat::zeros(50, 512);
            format.dequantize_all(&bytes, &mut restored.data);
            assert_eq!(layer.weight(), restored, "{format}");
            let same = Linear::new(weight, None, Format::Blocks(format));
            assert_eq!(same.forward(&x), layer.forward(&x), "{format}");
            // Activations lose up to half a step of their largest over 127.
            assert_close(&layer.forward(&x), &plain(&x, &restored, &[0.0; 50]), 0.2, "blocks");
            let dy = matrix(20, 50, 3);
            let want = plain(&dy, &restored.transposed(), &[0.0; 512]);
            assert_close(&layer.backward_input(&dy), &want, 1e-4, "dx");
        }
    }

    /// `x·Wᵀ + b` in f64.
    fn plain(x: &Mat, weight: &Mat, bias: &[f32]) -> Vec<f64> {
        let product = |i: usize, j: usize| {
            let terms = x.row(i).iter().zip(weight.row(j));
            terms.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>() + f64::from(bias[j])
        };
        (0..x.rows).flat_map(|i| (0..weight.rows).map(move |j| product(i, j))).collect()
    }

    fn assert_close(got: &Mat, want: &[f64], tolerance: f64, what: &str) {
        assert_eq!(got.data.len(), want.len());
        for (at, (got, want)) in got.data.iter().zip(want).enumerate() {
            assert!((f64::from(*got) - want).abs() < tolerance, "{what}, {at}: {got}, not {want}");
        }
    }

    #[test]
    fn adding_gives_the_bits_of_computing_and_then_adding() {
        let formats = FORMATS.into_iter().chain([Format::Blocks(BlockFormat::Q4_0)]);
        for (format, bias) in formats.flat_map(|format| [(format, false), (format, true)]) {
            let (x, start) = (matrix(13, 64, 1), matrix(13, 50, 2));
            let bias = bias.then(|| matrix(1, 50, 3).data);
            let layer = Linear::new(matrix(50, 64, 4), bias, format);
            let (mut want, mut got) = (start.clone(), start);
            want.add(&layer.forward(&x));
            layer.forward_add(&x, &mut got);
            assert_eq!(got, want, "{format:?}");
        }
    }

    /// What bfloat16 keeps of a matrix.
    fn rounded(x: &Mat) -> Mat {
        let data = x.data.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect();
        Mat::new(x.rows, x.cols, data)
    }

    /// What the unsigned 8-bit rows with a zero point keep of a matrix: the definition.
    fn quantized(x: &Mat) -> Mat {
        let mut kept = x.clone();
        for i in 0..x.rows {
            let low = x.row(i).iter().fold(0f32, |m, v| m.min(*v));
            let high = x.row(i).iter().fold(0f32, |m, v| m.max(*v));
            let scale = (high - low) / 255.0;
            let zero = (-low / scale).round_ties_even();
            for v in kept.row_mut(i) {
                *v = ((*v / scale + zero).round_ties_even().clamp(0.0, 255.0) - zero) * scale;
            }
        }
        kept
    }

    #[test]
    fn each_format_multiplies_exactly_what_it_keeps() {
        for (rows, inputs, outputs) in [(1, 7, 5), (9, 130, 50), (70, 384, 112)] {
            let (x, weight) = (matrix(rows, inputs, 1), matrix(outputs, inputs, 2));
            let bias = matrix(1, outputs, 3).data;
            for format in FORMATS {
                let layer = Linear::new(weight.clone(), Some(bias.clone()), format);
                let (seen, tolerance) = match format {
                    Format::F32 => (x.clone(), 3e-5),
                    Format::Bf16 => (rounded(&x), 3e-5),
                    // A value on the edge between two bytes may fall to either side.
                    _ => (quantized(&x), 1e-2),
                };
                let want = plain(&seen, &layer.weight(), &bias);
                assert_close(&layer.forward(&x), &want, tolerance, &format!("{format:?}"));
                let bound = match format {
                    Format::F32 => 0.0,
                    Format::Bf16 => 1.0 / 256.0,
                    _ => 0.5 / 127.0 + 1e-6,
                };
                let kept = layer.weight();
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= bound;
                assert!(kept.data.iter().zip(&weight.data).all(near), "{format:?}");
            }
        }
    }

    #[test]
    fn the_gradient_for_the_input_is_the_product_with_the_kept_weight() {
        for format in FORMATS {
            let layer = Linear::new(matrix(33, 50, 1), None, format);
            let dy = matrix(20, 33, 2);
            let seen = if format == Format::Bf16 { rounded(&dy) } else { dy.clone() };
            let want = plain(&seen, &layer.weight().transposed(), &[0.0; 50]);
            assert_close(&layer.backward_input(&dy), &want, 1e-5, "dx");
            let mut sum = matrix(20, 50, 3);
            layer.backward_input_into(&dy, true, &mut sum);
            let both: Vec<_> =
                want.iter().zip(matrix(20, 50, 3).data).map(|(a, b)| a + f64::from(b)).collect();
            assert_close(&sum, &both, 1e-5, "dx added");
        }
    }

    #[test]
    fn blocks_go_backward_over_restored_tiles_and_keep_nothing() {
        // More than one tile in either direction, the last ones not whole.
        for format in BlockFormat::ALL.into_iter().filter(|format| format.is_quantized()) {
            let weight = matrix(300, 256, 1);
            let layer = Linear::new(weight, None, Format::Blocks(format));
            let (dy, bytes) = (matrix(7, 300, 2), layer.bytes());
            let want = plain(&dy, &layer.weight().transposed(), &[0.0; 256]);
            set_threads(1);
            let dx = layer.backward_input(&dy);
            assert_close(&dx, &want, 2e-5, "dx");
            set_threads(3);
            assert_eq!(layer.backward_input(&dy), dx, "{format}");
            let mut sum = matrix(7, 256, 3);
            layer.backward_input_into(&dy, true, &mut sum);
            let both: Vec<_> =
                want.iter().zip(matrix(7, 256, 3).data).map(|(a, b)| a + f64::from(b)).collect();
            assert_close(&sum, &both, 2e-5, "dx added");
            assert_eq!(layer.bytes(), bytes, "{format}");
        }
    }

    #[test]
    fn weight_and_bias_gradients_agree_with_differences() {
        for inputs in [7, 16] {
            let (x, weight) = (matrix(5, inputs, 1), matrix(6, inputs, 2));
            let (bias, dy) = (matrix(1, 6, 3).data, matrix(5, 6, 4));
            let (mut dweight, mut dbias) = (Mat::zeros(6, inputs), vec![0.0; 6]);
            Linear::backward_weight(&x, &dy, &mut dweight, Some(&mut dbias));
            let loss = |weight: &Mat, bias: &[f32]| {
                let layer = Linear::new(weight.clone(), Some(bias.to_vec()), Format::F32);
                weigh(&layer.forward(&x), &dy)
            };
            check("weight", &weight.data, &dweight.data, |data| {
                loss(&Mat::new(6, inputs, data.to_vec()), &bias)
            });
            check("bias", &bias, &dbias, |bias| loss(&weight, bias));
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (x, weight) = (matrix(150, 384, 1), matrix(300, 384, 2));
        for format in FORMATS {
            let layer = Linear::new(weight.clone(), None, format);
            let mut results = Vec::new();
            for count in [1, 2, 3] {
                set_threads(count);
                let mut y = Mat::default();
                layer.forward_into(&x, Some(Activation::GeluErf), &mut y);
                let dx = layer.backward_input(&y);
                let mut dw = Mat::zeros(300, 384);
                Linear::backward_weight(&x, &y, &mut dw, None);
                results.push((y, dx, dw));
            }
            assert!(results.iter().all(|r| *r == results[0]), "{format:?}");
        }
    }

    #[test]
    fn a_fused_activation_is_that_of_the_plain_result() {
        let (x, layer) = (matrix(20, 40, 1), Linear::new(matrix(70, 40, 2), None, Format::F32));
        let mut fused = Mat::default();
        layer.forward_into(&x, Some(Activation::GeluErf), &mut fused);
        assert_eq!(fused, Activation::GeluErf.forward(&layer.forward(&x)));
    }

    #[test]
    fn a_layer_that_was_set_is_a_new_layer() {
        for format in FORMATS {
            let (x, dy) = (matrix(3, 20, 3), matrix(3, 9, 4));
            let mut layer = Linear::new(matrix(9, 20, 1), None, format);
            layer.backward_input(&dy);
            layer.set(&matrix(9, 20, 2), Some(&[1.0; 9]));
            let new = Linear::new(matrix(9, 20, 2), Some(vec![1.0; 9]), format);
            assert_eq!(layer.forward(&x), new.forward(&x));
            assert_eq!(layer.backward_input(&dy), new.backward_input(&dy));
        }
    }

    #[test]
    fn stored_bytes_make_the_same_layer() {
        let layer = Linear::new(matrix(10, 30, 1), Some(vec![0.5; 10]), Format::Int8);
        let (bytes, scales) = layer.int8_parts().unwrap();
        let again = Linear::from_int8(30, &bytes, scales.to_vec(), Some(vec![0.5; 10]));
        let x = matrix(4, 30, 2);
        assert_eq!(layer.forward(&x), again.forward(&x));
        assert_eq!(layer.weight(), again.weight());
    }

    #[test]
    fn a_layer_of_zeros_or_a_row_of_zeros_gives_the_bias() {
        for format in FORMATS {
            let layer = Linear::new(Mat::zeros(3, 5), Some(vec![1.0, 2.0, 3.0]), format);
            assert_eq!(layer.forward(&matrix(1, 5, 1)).data, [1.0, 2.0, 3.0]);
            let layer = Linear::new(matrix(3, 5, 1), Some(vec![1.0, 2.0, 3.0]), format);
            assert_eq!(layer.forward(&Mat::zeros(1, 5)).data, [1.0, 2.0, 3.0]);
            assert_eq!(layer.forward(&Mat::zeros(0, 5)).rows, 0);
        }
    }
}
