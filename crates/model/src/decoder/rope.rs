//! Rotary frequencies as configurations describe them.

use crate::fields::Fields;
use serde_json::{Map, Value};
use sprat_nn::Rotary;
use sprat_task::Result;
use std::f64::consts::PI;

/// How frequencies are derived, before a context length is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies `θ^(−2i/d)`.
    pub theta: f64,
    /// Columns of a head that are rotated.
    pub columns: usize,
    /// How the context was extended.
    pub scaling: RopeScaling,
}

/// How a model's context was extended after its first training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by a factor (Chen et al. 2023).
    Linear(f64),
    /// Low frequencies divided, high ones kept, smoothly in between (Llama 3.1).
    Llama3 {
        /// Divides low frequencies.
        factor: f64,
        /// Wavelengths over `original / low` count as low.
        low: f64,
        /// Wavelengths under `original / high` count as high.
        high: f64,
        /// The context of the first training.
        original: f64,
    },
    /// YaRN (Peng et al. 2023).
    Yarn {
        /// Divides interpolated frequencies.
        factor: f64,
        /// Rotations in the original context above which a pair is kept.
        fast: f64,
        /// Rotations under which a pair is interpolated.
        slow: f64,
        /// The context of the first training.
        original: f64,
        /// Multiplies cosine and sine.
        magnitude: f64,
        /// Whether the bounds of the ramp are whole pairs.
        truncate: bool,
    },
    /// LongRoPE (Ding et al. 2024): a divisor for each pair, one list for contexts up to the
    /// original one and another beyond.
    LongRope {
        /// Divisors within the original context.
        short: Vec<f64>,
        /// Divisors beyond it.
        long: Vec<f64>,
        /// The context of the first training.
        original: f64,
        /// Multiplies cosine and sine.
        magnitude: f64,
    },
    /// A divisor for each pair, as GGUF files keep those of [`RopeScaling::Llama3`].
    Divisors(Vec<f64>),
}

impl RopeConfig {
    /// The frequencies for contexts of up to `context` tokens.
    pub fn rotary(&self, context: usize) -> Rotary {
        let pairs = self.columns / 2;
        let plain = |i: usize| self.theta.powf(-(2.0 * i as f64) / self.columns as f64);
        let divided = |divisors: &[f64], magnitude: f64| Rotary {
            frequencies: (0..pairs).map(|i| (plain(i) / divisors[i]) as f32).collect(),
            magnitude: magnitude as f32,
        };
        let each = |frequency: &dyn Fn(usize) -> f64, magnitude: f64| Rotary {
            frequencies: (0..pairs).map(|i| frequency(i) as f32).collect(),
            magnitude: magnitude as f32,
        };
        match &self.scaling {
            RopeScaling::None => each(&plain, 1.0),
            RopeScaling::Linear(factor) => each(&|i| plain(i) / factor, 1.0),
            RopeScaling::Llama3 { factor, low, high, original } => {
                let scaled = |i| {
                    let frequency = plain(i);
                    let wavelength = 2.0 * PI / frequency;
                    let smooth = (original / wavelength - low) / (high - low);
                    if wavelength < original / high {
                        frequency
                    } else if wavelength > original / low {
                        frequency / factor
                    } else {
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                each(&scaled, 1.0)
            }
            RopeScaling::Yarn { factor, fast, slow, original, magnitude, truncate } => {
                // The pair that makes so many rotations in the original context.
                let pair = |rotations: f64| {
                    self.columns as f64 * (original / (rotations * 2.0 * PI)).ln()
                        / (2.0 * self.theta.ln())
                };
                let (mut first, mut last) = (pair(*fast), pair(*slow));
                if *truncate {
                    (first, last) = (first.floor(), last.ceil());
                }
                let first = first.max(0.0);
                let last = last.min(self.columns as f64 - 1.0);
                let width = if last == first { 0.001 } else { last - first };
                let scaled = |i| {
                    let kept = 1.0 - ((i as f64 - first) / width).clamp(0.0, 1.0);
                    plain(i) / factor * (1.0 - kept) + plain(i) * kept
                };
                each(&scaled, *magnitude)
            }
            RopeScaling::LongRope { short, long, original, magnitude } => {
                divided(if context as f64 > *original { long } else { short }, *magnitude)
            }
            RopeScaling::Divisors(divisors) => divided(divisors, 1.0),
        }
    }
}

/// Reads what Hugging Face calls `rope_scaling` or, in newer files, `rope_parameters`, of a model
/// with heads of `width` columns and a context of `context` tokens. `outer` is the whole
/// configuration, `inner` the rotary part of it, where there is one.
pub(crate) fn read(
    outer: &Fields<'_>,
    inner: Option<&Map<String, Value>>,
    default_theta: f64,
    (width, context): (usize, usize),
) -> Result<RopeConfig> {
    let empty = Map::new();
    let fields = outer.inner(inner.unwrap_or(&empty), "rope_parameters");
    let theta = fields.positive("rope_theta", default_theta)?;
    let share =
        fields.positive("partial_rotary_factor", outer.positive("partial_rotary_factor", 1.0)?)?;
    let columns = (width as f64 * share) as usize;
    if theta <= 1.0 || columns < 2 || columns > width || !columns.is_multiple_of(2) {
        let what = format!("rotary base {theta} over {columns} of {width} columns is impossible");
        return Err(outer.wrong("rope_parameters", what));
    }
    let kind = match fields.map.get("rope_type").or_else(|| fields.map.get("type")) {
        None | Some(Value::Null) => "default",
        Some(Value::String(kind)) => kind.as_str(),
        Some(_) => return Err(fields.wrong("rope_type", "must be a text")),
    };
    let factor = || -> Result<f64> { fields.positive("factor", f64::NAN) };
    let original = || -> Result<f64> {
        let outside = outer.positive("original_max_position_embeddings", context as f64)?;
        fields.positive("original_max_position_embeddings", outside)
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear(factor()?),
        "llama3" => RopeScaling::Llama3 {
            factor: factor()?,
            low: fields.positive("low_freq_factor", 1.0)?,
            high: fields.positive("high_freq_factor", 4.0)?,
            original: original()?,
        },
        "yarn" => {
            let factor = factor()?;
            let default = 0.1 * factor.ln() + 1.0;
            RopeScaling::Yarn {
                factor,
                fast: fields.positive("beta_fast", 32.0)?,
                slow: fields.positive("beta_slow", 1.0)?,
                original: original()?,
                magnitude: fields.positive("attention_factor", default)?,
                truncate: fields.flag("truncate", true)?,
            }
        }
        "longrope" | "su" => {
            let original = original()?;
            let factor = fields.positive("factor", context as f64 / original)?;
            let default: f64 =
                if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
            let (short, long) =
                (fields.positives("short_factor")?, fields.positives("long_factor")?);
            if short.len() != columns / 2 || long.len() != columns / 2 {
                let what = format!("needs {} factors, one for each pair", columns / 2);
                return Err(fields.wrong("short_factor", what));
            }
            let magnitude = fields.positive("attention_factor", default)?;
            RopeScaling::LongRope { short, long, original, magnitude }
        }
        other => {
            let what = format!("rotary scaling `{other}` is not supported");
            return Err(fields
                .wrong("rope_type", what)
                .help("Supported: default, linear, llama3, yarn, longrope."));
        }
    };
    Ok(RopeConfig { theta, columns, scaling })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(scaling: RopeScaling) -> RopeConfig {
        RopeConfig { theta: 10_000.0, columns: 64, scaling }
    }

    #[test]
    fn plain_frequencies_fall_from_one_to_the_base() {
        let rotary = config(RopeScaling::None).rotary(100);
        assert_eq!((rotary.frequencies.len(), rotary.frequencies[0]), (32, 1.0));
        assert!((rotary.frequencies[31] - 10_000f32.powf(-62.0 / 64.0)).abs() < 1e-9);
    }

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let plain = RopeConfig { theta: 500_000.0, ..config(RopeScaling::None) }.rotary(1);
        let scaled = RopeConfig { theta: 500_000.0, ..config(scaling) }.rotary(1);
        assert_eq!(scaled.frequencies[0], plain.frequencies[0]);
        assert_eq!(scaled.frequencies[31], plain.frequencies[31] / 8.0);
    }

    #[test]
    fn longrope_chooses_its_factors_by_the_context() {
        let scaling = RopeScaling::LongRope {
            short: vec![1.0; 32],
            long: vec![2.0; 32],
            original: 4096.0,
            magnitude: 1.19,
        };
        let config = config(scaling);
        assert_eq!(config.rotary(4096).frequencies[0], 1.0);
        assert_eq!(config.rotary(4097).frequencies[0], 0.5);
        assert_eq!(config.rotary(1).magnitude, 1.19);
    }
}
