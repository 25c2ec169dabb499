//! The linear layers of a decoder's layer: what adapters are for, and how they are joined.

use super::config::DecoderConfig;
use super::names::{self, Role};
use super::source::PREFIXES;
use crate::adapter::Adaptable;

/// A linear layer as files have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Queries, keys and values in one (Phi-3).
    Qkv,
    /// Attention's output.
    AttentionOutput,
    /// The feed-forward part's gate.
    Gate,
    /// What the gate multiplies.
    Up,
    /// Gate and up in one (Phi-3).
    GateUp,
    /// The feed-forward part's output.
    Down,
}

/// One of the products of a layer; several projections over the same inputs are one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Qkv = 0,
    AttentionOutput = 1,
    GateUp = 2,
    Down = 3,
}

impl Slot {
    /// In the order of a layer.
    pub(crate) const ALL: [Slot; 4] = [Slot::Qkv, Slot::AttentionOutput, Slot::GateUp, Slot::Down];

    /// The projections that a slot computes, in the order of its outputs.
    pub(crate) fn projections(self, config: &DecoderConfig) -> &'static [Projection] {
        match (self, config.family.fused) {
            (Slot::Qkv, true) => &[Projection::Qkv],
            (Slot::Qkv, false) => &[Projection::Query, Projection::Key, Projection::Value],
            (Slot::AttentionOutput, _) => &[Projection::AttentionOutput],
            (Slot::GateUp, true) => &[Projection::GateUp],
            (Slot::GateUp, false) => &[Projection::Gate, Projection::Up],
            (Slot::Down, _) => &[Projection::Down],
        }
    }

    /// Roles and rows of the slot's projections.
    pub(crate) fn parts(self, config: &DecoderConfig) -> Vec<(Role, usize)> {
        let parts = self.projections(config).iter();
        parts.map(|part| (part.role(), config.projection_shape(*part).0)).collect()
    }

    /// Outputs and inputs of the whole product.
    pub(crate) fn shape(self, config: &DecoderConfig) -> (usize, usize) {
        let parts = self.projections(config).iter();
        parts.fold((0, 0), |(rows, _), part| {
            let (outputs, inputs) = config.projection_shape(*part);
            (rows + outputs, inputs)
        })
    }

    /// Whether it has biases.
    pub(crate) fn biased(self, config: &DecoderConfig) -> bool {
        match self {
            Slot::Qkv => config.biases.qkv,
            Slot::AttentionOutput => config.biases.output,
            Slot::GateUp | Slot::Down => config.biases.feed_forward,
        }
    }
}

impl Projection {
    /// Of families with a tensor for each.
    const SEPARATE: [Projection; 7] = [
        Projection::Query,
        Projection::Key,
        Projection::Value,
        Projection::AttentionOutput,
        Projection::Gate,
        Projection::Up,
        Projection::Down,
    ];
    /// Of families with fused tensors.
    const FUSED: [Projection; 4] =
        [Projection::Qkv, Projection::AttentionOutput, Projection::GateUp, Projection::Down];

    /// Those that a model has.
    pub fn all(config: &DecoderConfig) -> &'static [Projection] {
        if config.family.fused { &Projection::FUSED } else { &Projection::SEPARATE }
    }

    /// The short name, by which settings select it: `q`, `k`, `v`, `o`, `gate`, `up`, `down`, and
    /// `qkv` and `gate_up` in families that fuse them.
    pub fn name(self) -> &'static str {
        match self {
            Projection::Query => "q",
            Projection::Key => "k",
            Projection::Value => "v",
            Projection::Qkv => "qkv",
            Projection::AttentionOutput => "o",
            Projection::Gate => "gate",
            Projection::Up => "up",
            Projection::GateUp => "gate_up",
            Projection::Down => "down",
        }
    }

    /// The projection of this model that a name means: the short name, PEFT's (`q_proj`), or the
    /// one that encoders have for it (`query`). Parts of a fused tensor mean the whole.
    pub fn by_name(name: &str, config: &DecoderConfig) -> Option<Projection> {
        let short = name.strip_suffix("_proj").unwrap_or(name);
        let short = match short {
            "query" => "q",
            "key" => "k",
            "value" => "v",
            "attention_output" => "o",
            other => other,
        };
        let short = match (short, config.family.fused) {
            ("q" | "k" | "v", true) => "qkv",
            ("gate" | "up", true) => "gate_up",
            _ => short,
        };
        Projection::all(config).iter().copied().find(|part| part.name() == short)
    }

    pub(crate) fn role(self) -> Role {
        match self {
            Projection::Query => Role::Query,
            Projection::Key => Role::Key,
            Projection::Value => Role::Value,
            Projection::Qkv => Role::Qkv,
            Projection::AttentionOutput => Role::AttentionOutput,
            Projection::Gate => Role::Gate,
            Projection::Up => Role::Up,
            Projection::GateUp => Role::GateUp,
            Projection::Down => Role::Down,
        }
    }

    pub(crate) fn slot(self) -> Slot {
        match self {
            Projection::Query | Projection::Key | Projection::Value | Projection::Qkv => Slot::Qkv,
            Projection::AttentionOutput => Slot::AttentionOutput,
            Projection::Gate | Projection::Up | Projection::GateUp => Slot::GateUp,
            Projection::Down => Slot::Down,
        }
    }

    /// The first output of its slot that it computes.
    pub(crate) fn column(self, config: &DecoderConfig) -> usize {
        let before = self.slot().projections(config).iter().take_while(|part| **part != self);
        before.map(|part| config.projection_shape(*part).0).sum()
    }
}

impl DecoderConfig {
    /// Outputs and inputs of a projection.
    pub fn projection_shape(&self, projection: Projection) -> (usize, usize) {
        let (hidden, wide, heads) = (self.hidden, self.intermediate, self.heads);
        let (inner, shared) = (heads.query * heads.width, heads.key_value * heads.width);
        match projection {
            Projection::Query => (inner, hidden),
            Projection::Key | Projection::Value => (shared, hidden),
            Projection::Qkv => (heads.columns(), hidden),
            Projection::AttentionOutput => (hidden, inner),
            Projection::Gate | Projection::Up => (wide, hidden),
            Projection::GateUp => (2 * wide, hidden),
            Projection::Down => (hidden, wide),
        }
    }
}

impl Adaptable for DecoderConfig {
    type Part = Projection;
    const TASK: &'static str = "CAUSAL_LM";

    fn layer_count(&self) -> usize {
        self.layers.len()
    }

    fn adaptable_parts(&self) -> &'static [Projection] {
        Projection::all(self)
    }

    fn part_shape(&self, part: Projection) -> (usize, usize) {
        self.projection_shape(part)
    }

    fn modules(&self, layer: usize, part: Projection) -> Vec<String> {
        let name = names::hugging_face(self.family, part.role(), layer);
        PREFIXES.iter().map(|prefix| format!("{prefix}{name}")).collect()
    }

    fn module_end(&self, part: Projection) -> String {
        format!("{}_proj", part.name())
    }
}
