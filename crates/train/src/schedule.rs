//! The learning rate over the steps of a run: a linear rise, then a fall.

use sprat_task::settings::Decay;

/// A learning-rate schedule over a fixed number of optimizer steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps in which the rate rises from `peak / warmup` to `peak`.
    pub warmup: u64,
    /// All steps of the run.
    pub total: u64,
    /// How the rate falls after the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// A schedule whose warm-up takes `share` (0 to 1) of `total` steps.
    pub fn new(peak: f64, share: f64, total: u64, decay: Decay) -> Self {
        let warmup = ((total as f64 * share).round() as u64).min(total);
        Schedule { peak, warmup, total, decay }
    }

    /// The rate of step `step`, counted from 0. Never zero before the end: the first step already
    /// learns, and a step at rate zero would be wasted work.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let falling = (self.total - self.warmup).max(1) as f64;
        let left = self.total.saturating_sub(step) as f64 / falling;
        match self.decay {
            Decay::Linear => self.peak * left,
            Decay::Cosine => self.peak * 0.5 * (1.0 - (std::f64::consts::PI * left).cos()),
            Decay::None => self.peak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_in_a_line_then_falls_in_a_line() {
        let schedule = Schedule::new(1.0, 0.2, 10, Decay::Linear);
        let rates: Vec<f64> = (0..10).map(|step| schedule.rate(step)).collect();
        assert_eq!(rates, [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]);
    }

    #[test]
    fn half_a_cosine_is_half_way_in_the_middle() {
        let schedule = Schedule::new(2.0, 0.0, 10, Decay::Cosine);
        assert_eq!(schedule.rate(0), 2.0);
        assert!((schedule.rate(5) - 1.0).abs() < 1e-12);
        assert!(schedule.rate(9) > 0.0 && schedule.rate(9) < 0.1);
    }

    #[test]
    fn without_decay_the_peak_stays_and_odd_lengths_never_divide_by_zero() {
        assert_eq!(Schedule::new(3.0, 0.0, 5, Decay::None).rate(4), 3.0);
        for total in 0..4 {
            for share in [0.0, 0.5, 1.0] {
                for step in 0..=total {
                    assert!(Schedule::new(1.0, share, total, Decay::Linear).rate(step).is_finite());
                }
            }
        }
    }
}
