//! Axes: what they measure, how far they reach, where their ticks stand.

use crate::number;

/// How the values of an axis are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Plain numbers.
    #[default]
    Number,
    /// Whole numbers.
    Count,
    /// Shares, 0 to 1, written as percentages; the axis never leaves 0 to 1.
    Percent,
    /// Milliseconds.
    Millis,
    /// US dollars.
    Usd,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// A value as people read it.
    pub fn write(self, value: f64) -> String {
        match self {
            Unit::Number => number::significant(value),
            Unit::Count => number::count(value.max(0.0).round() as u64),
            Unit::Percent => number::percent(value),
            Unit::Millis => number::millis(value),
            Unit::Usd => number::usd(value),
            Unit::Bytes => number::bytes(value.max(0.0) as u64),
        }
    }

    /// A tick: as short as it can be without being ambiguous.
    fn tick(self, value: f64, step: f64) -> String {
        let decimals = |step: f64| (-step.abs().log10()).ceil().clamp(0.0, 9.0) as usize;
        match self {
            Unit::Percent => format!("{}%", number::fixed(value * 100.0, decimals(step * 100.0))),
            Unit::Number if value.abs() < 1000.0 => number::fixed(value, decimals(step)),
            Unit::Millis => {
                let text = self.write(value);
                // "10.0 ms" says no more than "10 ms" on an axis.
                match text.split_once(' ') {
                    Some((n, unit)) if n.contains('.') => {
                        format!("{} {unit}", n.trim_end_matches('0').trim_end_matches('.'))
                    }
                    _ => text,
                }
            }
            _ => self.write(value),
        }
    }
}

/// What an axis measures.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Axis {
    /// The quantity, with its statistic where it is one: "latency, 95th percentile".
    pub label: String,
    /// How values are written.
    pub unit: Unit,
    /// Whether the axis is logarithmic; values that are not positive are then left out.
    pub log: bool,
}

impl Axis {
    /// A linear axis.
    pub fn new(label: impl Into<String>, unit: Unit) -> Self {
        Axis { label: label.into(), unit, log: false }
    }

    /// The same, logarithmic.
    #[must_use]
    pub fn logarithmic(mut self) -> Self {
        self.log = true;
        self
    }
}

/// An axis with its reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    unit: Unit,
}

impl Scale {
    /// Reaches over all `values` with some room at both ends.
    pub(crate) fn around(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite() && (!axis.log || *v > 0.0)) {
            // Kept well inside what the type can hold, so that differences stay finite.
            low = low.min(value.max(-1e300));
            high = high.max(value.min(1e300));
        }
        if low > high {
            (low, high) = if axis.log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        if axis.log {
            let room = ((high / low).ln() * 0.08).max(0.15).exp();
            (low, high) = ((low / room).max(f64::MIN_POSITIVE), (high * room).min(f64::MAX));
        } else {
            let room = (high - low) * 0.08;
            let room = if room > 0.0 { room } else { high.abs().max(1.0) * 0.05 };
            let starts_at_zero = low >= 0.0;
            (low, high) = (low - room, high + room);
            if starts_at_zero {
                low = low.max(0.0);
            }
            if axis.unit == Unit::Percent {
                (low, high) = (low.max(0.0), high.min(1.0));
            }
        }
        Scale { low, high, log: axis.log, unit: axis.unit }
    }

    /// Reaches from `low` to `high` exactly.
    pub(crate) fn exact(low: f64, high: f64, unit: Unit) -> Self {
        Scale { low, high: if high > low { high } else { low + 1.0 }, log: false, unit }
    }

    /// Where a value stands, 0 to 1; `None` outside.
    pub(crate) fn at(&self, value: f64) -> Option<f64> {
        let share = self.unbounded(value);
        (-1e-9..=1.0 + 1e-9).contains(&share).then_some(share.clamp(0.0, 1.0))
    }

    /// Where a value stands, moved to the nearer end when it is outside.
    pub(crate) fn clamped(&self, value: f64) -> f64 {
        let share = self.unbounded(value);
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    fn unbounded(&self, value: f64) -> f64 {
        if self.log {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// At most about `wanted` round values with their labels.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let wanted = wanted.max(2) as f64;
        if self.log {
            let decades = (self.high / self.low).log10();
            if decades >= 0.7 {
                return self.decades(wanted);
            }
        }
        let raw = (self.high - self.low) / wanted;
        let magnitude = 10f64.powf(raw.log10().floor());
        let mut step =
            [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|s| *s >= raw * 0.999);
        if self.unit == Unit::Count {
            step = step.map(|s| s.max(1.0));
        }
        let Some(step) = step.filter(|s| s.is_finite() && *s > 0.0) else { return Vec::new() };
        let first = (self.low / step - 1e-9).ceil();
        (0..64)
            .map(|at| (first + f64::from(at)) * step)
            .take_while(|value| *value <= self.high + step * 1e-9)
            .map(|value| (value, self.unit.tick(value, step)))
            .collect()
    }

    fn decades(&self, wanted: f64) -> Vec<(f64, String)> {
        let decades = (self.high / self.low).log10();
        let marks: &[f64] = if decades * 3.0 <= wanted * 1.3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = ((decades / wanted).ceil() as i32).max(1);
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        (first..=last)
            .filter(|decade| decade.rem_euclid(stride) == 0)
            .flat_map(|decade| marks.iter().map(move |mark| mark * 10f64.powi(decade)))
            .filter(|value| self.at(*value).is_some())
            .map(|value| (value, self.unit.tick(value, value)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::new("accuracy", Unit::Percent);
        let scale = Scale::around(&axis, [0.81, 0.93].into_iter());
        let labels: Vec<_> = scale.ticks(5).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["85%", "90%"]);
        let log =
            Scale::around(&Axis::new("t", Unit::Millis).logarithmic(), [3.0, 900.0].into_iter());
        let labels: Vec<_> = log.ticks(6).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["10 ms", "100 ms", "1 s"]);
    }

    proptest::proptest! {
        #[test]
        fn any_values_give_a_usable_axis(values in proptest::collection::vec(proptest::num::f64::ANY, 0..6), log: bool) {
            let axis = Axis { label: String::new(), unit: Unit::Number, log };
            let scale = Scale::around(&axis, values.iter().copied());
            proptest::prop_assert!(scale.ticks(5).len() <= 64);
            for value in values {
                proptest::prop_assert!((0.0..=1.0).contains(&scale.clamped(value)));
            }
        }
    }
}
