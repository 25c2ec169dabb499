//! How much the columns of a decoder's matrices matter: the mean square of what each column is
//! multiplied with. The error of a stored weight changes a product by itself times its input, so
//! the expected square of that change is the weight's squared error times this mean. It is the
//! importance matrix of llama.cpp (<https://github.com/ggml-org/llama.cpp/pull/4861>).

use super::batch::TokenExample;
use super::gguf_matrices::Matrix;
use super::output::{batches, chosen};
use super::projection::Slot;
use super::{Decoder, DecoderAdapter};
use sprat_nn::Mat;

/// The mean squares of all columns of a decoder's matrices, over some texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// Of every layer, in the order of [`Slot::ALL`]; matrices of one product share their inputs.
    layers: Vec<[Vec<f32>; 4]>,
    /// Of the output's table.
    output: Vec<f32>,
}

impl Importance {
    /// The importance of a matrix's columns; none for a table whose rows are looked up, and where
    /// every input is 0.
    pub(super) fn of(&self, matrix: &Matrix<'_>) -> Option<&[f32]> {
        let columns = match matrix.projection {
            Some((layer, part)) => &self.layers.get(layer)?[part.slot() as usize],
            None if matrix.is_output => &self.output,
            None => return None,
        };
        columns.iter().any(|mean| *mean > 0.0).then_some(columns)
    }
}

impl Decoder {
    /// The importance of columns over the tokens of some examples, as the model with its adapter
    /// sees them: a layer's over all tokens, the output's over those that an answer's token
    /// follows. So many tokens are read at once at most, or one example.
    ///
    /// # Panics
    /// If an id is not in the vocabulary.
    pub fn importance(
        &self,
        examples: &[TokenExample],
        adapter: Option<&DecoderAdapter>,
        tokens: usize,
    ) -> Importance {
        let mut layers = vec![[const { Squares::NONE }; 4]; self.layers.len()];
        let mut output = Squares::NONE;
        let mut normed = Mat::default();
        for batch in batches(examples, tokens) {
            let states = self.read_batch(&batch, adapter, &mut |layer, slot, inputs| {
                layers[layer][slot as usize].add(inputs);
            });
            self.norm.forward_into(&chosen(&states, &batch.rows), &mut normed);
            output.add(&normed);
        }
        let layers = layers.into_iter().map(|slots| slots.map(|squares| squares.means()));
        Importance { layers: layers.collect(), output: output.means() }
    }
}

/// What looks at the inputs `[tokens, inputs]` of a layer's products while they are computed.
pub(crate) type Observer<'a> = dyn FnMut(usize, Slot, &Mat) + 'a;

/// Sums of squares, column by column.
#[derive(Clone)]
struct Squares {
    sums: Vec<f64>,
    rows: usize,
}

impl Squares {
    const NONE: Squares = Squares { sums: Vec::new(), rows: 0 };

    /// Rows are taken in their order, whoever computed them.
    fn add(&mut self, inputs: &Mat) {
        self.sums.resize(inputs.cols, 0.0);
        self.rows += inputs.rows;
        for row in inputs.data.chunks_exact(inputs.cols.max(1)) {
            for (sum, x) in self.sums.iter_mut().zip(row) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
    }

    /// A column whose inputs are not finite says nothing.
    fn means(self) -> Vec<f32> {
        let mean = |sum: f64| (sum / self.rows.max(1) as f64) as f32;
        let counted = |mean: f32| if mean.is_finite() { mean } else { 0.0 };
        self.sums.iter().map(|sum| counted(mean(*sum))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::gguf_matrices::Origin;
    use crate::decoder::tiny;
    use sprat_nn::{Format, threads};

    /// One text through the tiny decoder in plain loops over 64-bit numbers: what goes into each
    /// product, `[layer][slot][token]`, and into the output.
    struct Plain<'a> {
        decoder: &'a Decoder,
        inputs: Vec<[Vec<Vec<f64>>; 4]>,
        output: Vec<Vec<f64>>,
    }

    fn norm(x: &[f64], gamma: &[f32]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + 1e-6).sqrt();
        x.iter().zip(gamma).map(|(x, g)| x * scale * f64::from(*g)).collect()
    }

    fn product(weight: &Mat, x: &[f64]) -> Vec<f64> {
        let row = |row: usize| weight.row(row).iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
        (0..weight.rows).map(row).collect()
    }

    impl<'a> Plain<'a> {
        fn read(decoder: &'a Decoder, ids: &[u32]) -> Self {
            let mut plain = Plain { decoder, inputs: Vec::new(), output: Vec::new() };
            let table = decoder.output.weights().weight;
            let row = |id: &u32| table.row(*id as usize).iter().map(|x| f64::from(*x)).collect();
            let mut states: Vec<Vec<f64>> = ids.iter().map(row).collect();
            for layer in 0..decoder.layers.len() {
                plain.layer(layer, &mut states);
            }
            plain.output = states.iter().map(|x| norm(x, &decoder.norm.gamma)).collect();
            plain
        }

        fn layer(&mut self, at: usize, states: &mut [Vec<f64>]) {
            let (layer, heads) = (&self.decoder.layers[at], self.decoder.config.heads);
            let weight = |slot: Slot| layer.linear(slot).weights().weight;
            let norms = layer.norms();
            let [attention, query, key, feed_forward] = norms[..] else { panic!("a Qwen 3") };
            let normed: Vec<_> = states.iter().map(|x| norm(x, &attention.gamma)).collect();
            let turned = |position: usize, head: &[f64], gamma: &[f32]| {
                let (x, half) = (norm(head, gamma), heads.width / 2);
                let mut out = x.clone();
                for i in 0..half {
                    let theta = self.decoder.config.ropes[0].theta;
                    let angle = position as f64 * theta.powf(-(i as f64) / half as f64);
                    out[i] = x[i] * angle.cos() - x[i + half] * angle.sin();
                    out[i + half] = x[i + half] * angle.cos() + x[i] * angle.sin();
                }
                out
            };
            let qkv: Vec<Vec<f64>> =
                normed.iter().map(|x| product(&weight(Slot::Qkv), x)).collect();
            let part = |token: usize, head: usize| {
                qkv[token][head * heads.width..(head + 1) * heads.width].to_vec()
            };
            let shared = heads.query / heads.key_value;
            let mut contexts = Vec::new();
            for token in 0..states.len() {
                let mut context = Vec::new();
                for head in 0..heads.query {
                    let q = turned(token, &part(token, head), &query.gamma);
                    let scores: Vec<f64> = (0..=token)
                        .map(|other| {
                            let k = part(other, heads.query + head / shared);
                            let k = turned(other, &k, &key.gamma);
                            let dot: f64 = q.iter().zip(&k).map(|(q, k)| q * k).sum();
                            (dot / (heads.width as f64).sqrt()).exp()
                        })
                        .collect();
                    let total: f64 = scores.iter().sum();
                    let mut mean = vec![0.0; heads.width];
                    for (other, score) in scores.iter().enumerate() {
                        let v = part(other, heads.query + heads.key_value + head / shared);
                        mean.iter_mut().zip(v).for_each(|(m, v)| *m += score / total * v);
                    }
                    context.extend(mean);
                }
                contexts.push(context);
            }
            let add = |states: &mut [Vec<f64>], slot: Slot, inputs: &[Vec<f64>]| {
                for (state, x) in states.iter_mut().zip(inputs) {
                    let change = product(&weight(slot), x);
                    state.iter_mut().zip(change).for_each(|(state, change)| *state += change);
                }
            };
            add(states, Slot::AttentionOutput, &contexts);
            let wide: Vec<_> = states.iter().map(|x| norm(x, &feed_forward.gamma)).collect();
            let gated: Vec<Vec<f64>> = wide
                .iter()
                .map(|x| {
                    let both = product(&weight(Slot::GateUp), x);
                    let (gate, up) = both.split_at(both.len() / 2);
                    gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
                })
                .collect();
            add(states, Slot::Down, &gated);
            self.inputs.push([normed, contexts, wide, gated]);
        }
    }

    fn open() -> (Decoder, [TokenExample; 2]) {
        let folder = tempfile::tempdir().unwrap();
        tiny::write(folder.path(), 5).unwrap();
        let example =
            |ids: &[u32], from| TokenExample { ids: ids.to_vec(), answer: from..ids.len() };
        let examples = [example(&[1, 7, 4, 4, 12, 9, 3], 4), example(&[1, 15, 6, 2], 2)];
        (Decoder::open(folder.path(), Format::F32, None).unwrap(), examples)
    }

    #[test]
    fn it_is_what_plain_loops_find() {
        let (decoder, examples) = open();
        let found = decoder.importance(&examples, None, 512);
        let read: Vec<_> =
            examples.iter().map(|one| Plain::read(&decoder, &one.ids[..one.read()])).collect();
        let mean = |inputs: Vec<&Vec<f64>>, column: usize| {
            inputs.iter().map(|x| x[column] * x[column]).sum::<f64>() / inputs.len() as f64
        };
        let near = |found: &[f32], inputs: Vec<&Vec<f64>>| {
            assert_eq!(found.len(), inputs[0].len());
            for (column, found) in found.iter().enumerate() {
                let wanted = mean(inputs.clone(), column);
                assert!((f64::from(*found) - wanted).abs() < 1e-4 * wanted + 1e-9, "{column}");
            }
        };
        for (layer, slots) in found.layers.iter().enumerate() {
            for (slot, found) in slots.iter().enumerate() {
                near(found, read.iter().flat_map(|plain| &plain.inputs[layer][slot]).collect());
            }
        }
        let pairs = examples.iter().zip(&read);
        let output = pairs.flat_map(|(one, plain)| &plain.output[one.answer.start - 1..]);
        near(&found.output, output.collect());
    }

    #[test]
    fn neither_threads_nor_batches_change_a_bit() {
        let (decoder, examples) = open();
        threads::set_threads(1);
        let one = decoder.importance(&examples, None, 512);
        threads::set_threads(2);
        assert_eq!(one, decoder.importance(&examples, None, 512));
        assert_eq!(one, decoder.importance(&examples, None, 1));
    }

    #[test]
    fn every_matrix_that_multiplies_has_it() {
        let folder = tempfile::tempdir().unwrap();
        crate::tiny::write_decoder(folder.path(), 5).unwrap();
        let decoder = Decoder::open(folder.path(), Format::F32, None).unwrap();
        let found = decoder.importance(&open().1, None, 512);
        let origin = Origin::open(folder.path()).unwrap();
        for matrix in origin.matrices().unwrap() {
            let own = found.of(&matrix).map(<[f32]>::len);
            let wanted = (matrix.shape.len() > 1).then(|| matrix.shape[1]);
            assert_eq!(own, wanted, "{}", matrix.name);
        }
    }
}
