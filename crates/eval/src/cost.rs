//! What answers cost, on the user's own machines and at a hosted model.

use serde::{Deserialize, Serialize};

const SECONDS_PER_DAY: f64 = 86_400.0;

/// How a model is paid for, in US dollars.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Pricing {
    /// Hosted: per token.
    Tokens {
        /// Per million input tokens.
        usd_per_million_input: f64,
        /// Per million output tokens.
        usd_per_million_output: f64,
        /// Mean input tokens of a request, as measured.
        input_tokens: f64,
        /// Mean output tokens of a request, as measured.
        output_tokens: f64,
    },
    /// Local: per machine and hour, whether it works or waits.
    Machine {
        /// Per machine and hour.
        usd_per_hour: f64,
        /// Requests per second that one machine answers when fully busy, as measured.
        requests_per_s: f64,
        /// How busy a machine may be on average, 0 to 1: the rest is for peaks.
        utilisation: f64,
    },
}

impl Pricing {
    /// Requests a day that one machine takes; `None` for hosted models or without a throughput.
    pub fn capacity_per_day(&self) -> Option<f64> {
        match *self {
            Pricing::Machine { requests_per_s, utilisation, .. } => {
                let capacity = requests_per_s * utilisation.clamp(0.01, 1.0) * SECONDS_PER_DAY;
                (capacity.is_finite() && capacity > 0.0).then_some(capacity)
            }
            Pricing::Tokens { .. } => None,
        }
    }

    /// Machines needed for a daily volume, at least one; `None` for hosted models.
    pub fn machines(&self, requests_per_day: f64) -> Option<u64> {
        let capacity = self.capacity_per_day()?;
        Some((requests_per_day / capacity - 1e-9).ceil().max(1.0) as u64)
    }

    /// Cost of 1,000 requests: at a hosted model by its tokens, on machines when they are as
    /// busy as `utilisation` allows. At a low volume a machine costs more: [`Pricing::usd_per_day`].
    pub fn usd_per_1000(&self) -> Option<f64> {
        let cost = match *self {
            Pricing::Tokens {
                usd_per_million_input,
                usd_per_million_output,
                input_tokens,
                output_tokens,
            } => {
                (input_tokens * usd_per_million_input + output_tokens * usd_per_million_output)
                    / 1e3
            }
            Pricing::Machine { usd_per_hour, .. } => {
                usd_per_hour * 24.0 / self.capacity_per_day()? * 1e3
            }
        };
        cost.is_finite().then_some(cost)
    }

    /// Cost of a day at a daily volume: whole machines, or tokens.
    pub fn usd_per_day(&self, requests_per_day: f64) -> Option<f64> {
        match *self {
            Pricing::Tokens { .. } => Some(self.usd_per_1000()? * requests_per_day / 1e3),
            Pricing::Machine { usd_per_hour, .. } => {
                Some(self.machines(requests_per_day)? as f64 * usd_per_hour * 24.0)
            }
        }
    }
}

/// From which daily volume machines are cheaper than a hosted model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreakEven {
    /// The least daily volume at which machines cost no more.
    pub first: f64,
    /// The daily volume from which they never cost more again: machines come whole, so that each
    /// further one is cheaper only once it has enough to do.
    pub always: f64,
}

/// The break-even volume of machines against a hosted model; `None` when machines are never
/// cheaper, or the prices are unknown or the wrong way round.
///
/// With capacity `C` a day and machine, machine cost `m` a day and hosted cost `h` a request, `k`
/// machines pay from a volume of `k·m/h` on, if `C·h >= m`; the `k`-th pays at once when already
/// `(k-1)·C·h >= k·m`, which holds from `k = C·h / (C·h - m)` on.
pub fn break_even(machine: &Pricing, hosted: &Pricing) -> Option<BreakEven> {
    let (Pricing::Machine { usd_per_hour, .. }, Pricing::Tokens { .. }) = (machine, hosted) else {
        return None;
    };
    let per_request = hosted.usd_per_1000()? / 1e3;
    let (capacity, per_day) = (machine.capacity_per_day()?, usd_per_hour * 24.0);
    let full = capacity * per_request;
    if per_request <= 0.0 || full < per_day {
        return None;
    }
    let first = per_day / per_request;
    let steps =
        if full > per_day { (full / (full - per_day) - 1e-9).ceil() } else { f64::INFINITY };
    Some(BreakEven { first, always: first * (steps - 1.0).max(1.0) })
        .filter(|b| b.always.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(usd_per_hour: f64, requests_per_s: f64) -> Pricing {
        Pricing::Machine { usd_per_hour, requests_per_s, utilisation: 0.5 }
    }

    const HOSTED: Pricing = Pricing::Tokens {
        usd_per_million_input: 2.5,
        usd_per_million_output: 10.0,
        input_tokens: 400.0,
        output_tokens: 5.0,
    };

    #[test]
    fn costs_are_what_a_calculator_says() {
        // 400 × 2.5 $/M + 5 × 10 $/M = 0.00105 $ a request.
        assert!((HOSTED.usd_per_1000().unwrap() - 1.05).abs() < 1e-12);
        // 100/s at half load: 4.32 M a day for 2.4 $.
        let local = machine(0.1, 100.0);
        assert!((local.usd_per_1000().unwrap() - 2.4 / 4320.0).abs() < 1e-12);
        assert_eq!(local.machines(5e6), Some(2));
        assert_eq!(local.machines(10.0), Some(1));
        assert!((local.usd_per_day(5e6).unwrap() - 4.8).abs() < 1e-12);
        let even = break_even(&local, &HOSTED).unwrap();
        assert!(
            (even.first - 2.4 / 0.00105).abs() < 1e-6 && (even.always - even.first).abs() < 1e-6
        );
    }

    #[test]
    fn a_slow_dear_machine_never_pays() {
        assert_eq!(break_even(&machine(10.0, 0.1), &HOSTED), None);
        assert_eq!(break_even(&HOSTED, &HOSTED), None);
        assert_eq!(break_even(&machine(1.0, f64::NAN), &HOSTED), None);
    }

    proptest::proptest! {
        #[test]
        fn the_break_even_is_where_the_bills_cross(hour in 0.01f64..20.0, rps in 0.1f64..50.0) {
            let local = machine(hour, rps);
            let bills = |volume: f64| (local.usd_per_day(volume).unwrap(), HOSTED.usd_per_day(volume).unwrap());
            if let Some(even) = break_even(&local, &HOSTED) {
                let (ours, theirs) = bills(even.first * 1.0001);
                proptest::prop_assert!(ours <= theirs * 1.001 || even.first * 1.0001 > local.capacity_per_day().unwrap());
                let (ours, theirs) = bills(even.first * 0.999);
                proptest::prop_assert!(ours >= theirs);
                for step in 0..200 {
                    let (ours, theirs) = bills(even.always * (1.001 + 0.05 * f64::from(step)));
                    proptest::prop_assert!(ours <= theirs * 1.0011, "{ours} {theirs}");
                }
            } else {
                for step in 1..60 {
                    let volume = local.capacity_per_day().unwrap() * 0.25 * f64::from(step);
                    let (ours, theirs) = bills(volume);
                    proptest::prop_assert!(ours >= theirs * 0.98);
                }
            }
        }
    }
}
