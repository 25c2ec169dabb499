//! The tensors of an encoder under the names that files give them.

use crate::config::EncoderConfig;
use crate::weights::{EmbeddingWeights, LayerWeights, LinearWeights, NormWeights, Slot};

/// A tensor's name, shape, and whether weight decay applies to it in training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name, as files have it.
    pub name: String,
    /// The dimensions.
    pub shape: Vec<usize>,
    /// Whether weight decay applies: to matrices, not to biases and normalizations.
    pub decay: bool,
}

impl Named {
    pub(crate) fn new(name: String, shape: &[usize]) -> Self {
        Named { name, shape: shape.to_vec(), decay: shape.len() > 1 }
    }
}

/// Walks over tensors, each with its name and values.
pub(crate) type Visit<'v, 'a> = &'v mut dyn FnMut(Named, &'a [f32]);
/// Walks over tensors to change them, in the same order as [`Visit`].
pub(crate) type VisitMut<'v, 'a> = &'v mut dyn FnMut(&'a mut [f32]);

impl EmbeddingWeights {
    /// Visits the tables and their normalization.
    pub(crate) fn visit<'a>(&'a self, config: &EncoderConfig, visit: Visit<'_, 'a>) {
        let names = &config.family.embeddings;
        let tables = [
            (Some(names.word), &self.word),
            (Some(names.position), &self.position),
            (names.token_type, &self.token_type),
        ];
        for (name, table) in tables {
            if let Some(name) = name {
                visit(Named::new(format!("{name}.weight"), &[table.rows, table.cols]), &table.data);
            }
        }
        self.norm.visit(names.norm, visit);
    }

    /// As [`Self::visit`], to change the values.
    pub(crate) fn visit_mut<'a>(&'a mut self, config: &EncoderConfig, visit: VisitMut<'_, 'a>) {
        visit(&mut self.word.data);
        visit(&mut self.position.data);
        if config.family.embeddings.token_type.is_some() {
            visit(&mut self.token_type.data);
        }
        self.norm.visit_mut(visit);
    }
}

impl NormWeights {
    fn visit<'a>(&'a self, name: &str, visit: Visit<'_, 'a>) {
        visit(Named::new(format!("{name}.weight"), &[self.gamma.len()]), &self.gamma);
        visit(Named::new(format!("{name}.bias"), &[self.beta.len()]), &self.beta);
    }

    fn visit_mut<'a>(&'a mut self, visit: VisitMut<'_, 'a>) {
        visit(&mut self.gamma);
        visit(&mut self.beta);
    }
}

impl LayerWeights {
    /// Visits the parts' weights and biases and the normalizations.
    pub(crate) fn visit<'a>(&'a self, layer: usize, config: &EncoderConfig, visit: Visit<'_, 'a>) {
        let family = config.family;
        for slot in Slot::ALL {
            let LinearWeights { weight, bias } = &self.linear[slot as usize];
            let (mut data, mut rest) = (&weight.data[..], &bias[..]);
            for &part in slot.parts() {
                let (outputs, inputs) = config.linear_shape(part);
                let name = family.linear_name(layer, part);
                let (own, others) = data.split_at(outputs * inputs);
                visit(Named::new(format!("{name}.weight"), &[outputs, inputs]), own);
                data = others;
                let (own, others) = rest.split_at(outputs);
                visit(Named::new(format!("{name}.bias"), &[outputs]), own);
                rest = others;
            }
        }
        self.attention_norm.visit(&family.in_layer(layer, family.parts.attention_norm), visit);
        self.output_norm.visit(&family.in_layer(layer, family.parts.output_norm), visit);
    }

    /// As [`Self::visit`], to change the values.
    pub(crate) fn visit_mut<'a>(&'a mut self, config: &EncoderConfig, visit: VisitMut<'_, 'a>) {
        for (slot, linear) in Slot::ALL.into_iter().zip(&mut self.linear) {
            let (mut data, mut rest) = (&mut linear.weight.data[..], &mut linear.bias[..]);
            for &part in slot.parts() {
                let (outputs, inputs) = config.linear_shape(part);
                let (own, others) = data.split_at_mut(outputs * inputs);
                visit(own);
                data = others;
                let (own, others) = rest.split_at_mut(outputs);
                visit(own);
                rest = others;
            }
        }
        self.attention_norm.visit_mut(visit);
        self.output_norm.visit_mut(visit);
    }
}
