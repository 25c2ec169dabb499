//! What is trained, and how it begins.

use crate::codes;
use crate::config::EncoderConfig;
use crate::encoder::Encoder;
use crate::family::Part;
use crate::training::{SlotAdapter, SlotAdapters};
use crate::weights::Slot;
use rand::Rng;
use sprat_nn::{Format, Lora, Mat};
use sprat_task::random::stream;
use sprat_task::{Error, Result};

/// LoRA's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSettings<P = Part> {
    /// The rank, at least 1.
    pub rank: usize,
    /// Adapters are scaled by `alpha / rank`.
    pub alpha: f32,
    /// Dropout on the adapters' inputs; recorded here, applied through [`crate::Noise`].
    pub dropout: f32,
    /// Which linear layers get an adapter.
    pub targets: Vec<P>,
    /// The first layer that gets adapters; 0 for all.
    pub first_layer: usize,
}

/// What is trained besides the head.
#[derive(Clone, Debug, PartialEq)]
pub enum Tuning {
    /// Nothing.
    Head,
    /// LoRA adapters.
    Lora(LoraSettings),
    /// All weights from a layer on; with `first_layer` 0 the embedding tables too.
    Full {
        /// The first encoder layer that is trained.
        first_layer: usize,
    },
}

/// Whether a tuning fits an encoder.
///
/// # Errors
/// As [`crate::Learner::new`].
pub(crate) fn check(tuning: &Tuning, encoder: &Encoder) -> Result<()> {
    let layers = encoder.layers.len();
    let wrong = |field: &str, what: String| Error::new(&codes::ADAPTER, what).field(field);
    let first = match tuning {
        Tuning::Head => return Ok(()),
        Tuning::Lora(settings) => {
            if settings.rank == 0 || settings.rank > encoder.config.hidden {
                let what = format!(
                    "rank {} is not between 1 and the model's width {}",
                    settings.rank, encoder.config.hidden
                );
                return Err(wrong("rank", what));
            }
            if settings.targets.is_empty() {
                return Err(wrong("targets", "no layer is to be adapted".to_owned()));
            }
            settings.first_layer
        }
        Tuning::Full { first_layer } => {
            if encoder.format() != Format::F32 {
                let what = "all weights can be trained only in F32";
                return Err(Error::new(&codes::CONFIG, what).field("format"));
            }
            *first_layer
        }
    };
    if first >= layers {
        let what = format!("layer {first} does not exist: the model has {layers}");
        return Err(wrong("first_layer", what));
    }
    Ok(())
}

/// The adapters of one layer as training begins: `A` uniform in ±1/√inputs, which is what PEFT's
/// `kaiming_uniform_(a=√5)` comes to, and `B` zero.
pub(crate) fn fresh_adapters(
    config: &EncoderConfig,
    tuning: &Tuning,
    layer: usize,
    seed: u64,
) -> [SlotAdapters; 4] {
    let Tuning::Lora(settings) = tuning else { return Default::default() };
    Slot::ALL.map(|slot| {
        let parts = slot.parts().iter().filter(|part| settings.targets.contains(part));
        let parts = parts.filter(|_| layer >= settings.first_layer);
        parts
            .map(|&part| {
                let (outputs, inputs) = config.linear_shape(part);
                let name = config.family.linear_name(layer, part);
                let mut random = stream(seed, &format!("lora {name}"));
                let bound = 1.0 / (inputs as f32).sqrt();
                SlotAdapter {
                    part,
                    column: Slot::of(part, config).1,
                    lora: Lora {
                        a: uniform(&mut random, settings.rank, inputs, bound),
                        b: Mat::zeros(outputs, settings.rank),
                        scale: settings.alpha / settings.rank as f32,
                    },
                }
            })
            .collect()
    })
}

/// Numbers uniform in ±`bound`.
pub(crate) fn uniform(random: &mut impl Rng, rows: usize, cols: usize, bound: f32) -> Mat {
    let draw = |_| (random.random::<f32>() * 2.0 - 1.0) * bound;
    Mat::new(rows, cols, (0..rows * cols).map(draw).collect())
}
