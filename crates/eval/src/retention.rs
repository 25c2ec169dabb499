//! Did shrinking hurt the tuned skill, and more than it hurt the rest?
//!
//! Three questions, each on paired rows (the same row before and after):
//!
//! 1. Is the loss on the task small? The upper bound of the loss must stay below a margin
//!    (non-inferiority).
//! 2. Did the task lose more than general ability did? The difference of the two losses, a
//!    difference of differences, must not lie above a tolerance with its whole interval.
//! 3. Did any class lose more answers than it gained? One exact test per class, adjusted for the
//!    number of classes (Holm).

use crate::bootstrap;
use crate::codes::{EMPTY, INPUT};
use crate::interval::{Interval, LEVEL};
use crate::multiple::holm;
use crate::paired::{more_losses_than_gains, paired_difference};
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};

/// Scores of the same rows before and after, each between 0 and 1: whether the answer is right,
/// the probability of the true class, or a share of kept neighbours.
#[derive(Clone, Copy, Debug)]
pub struct PairedScores<'a> {
    /// What the scores are: "right answers", "nearest neighbour of the same class".
    pub measure: &'a str,
    /// With the full weights.
    pub before: &'a [f64],
    /// With the shrunk weights.
    pub after: &'a [f64],
}

/// What counts as too much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Margins {
    /// The greatest loss on the task that would be accepted, as a share: 0.02 is two points.
    pub task: f64,
    /// How much more than general ability the task may evidently lose.
    pub excess: f64,
    /// Level of the tests: one-sided for the loss and the classes.
    pub alpha: f64,
}

impl Default for Margins {
    fn default() -> Self {
        Margins { task: 0.02, excess: 0.005, alpha: 0.05 }
    }
}

/// What happened to one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassChange {
    /// The class.
    pub label: String,
    /// Its rows.
    pub rows: u64,
    /// Rows whose score fell.
    pub lost: u64,
    /// Rows whose score rose.
    pub gained: u64,
    /// Mean loss.
    pub loss: f64,
    /// One-sided p-value of the exact sign test, adjusted over the classes (Holm).
    pub adjusted_p: f64,
}

/// The evidence on one shrunk variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// The variant: "int8".
    pub variant: String,
    /// What was scored on the task.
    pub task_measure: String,
    /// Rows of the task.
    pub task_rows: u64,
    /// Mean score on the task before.
    pub task_before: f64,
    /// Mean score on the task after.
    pub task_after: f64,
    /// Loss on the task, before minus after; two-sided at `1 - 2 alpha`, so that each bound is a
    /// one-sided one at `alpha`. Tango's interval for right and wrong, else bootstrap.
    pub task_loss: Interval,
    /// What was scored for general ability.
    pub general_measure: String,
    /// Rows of the general measure.
    pub general_rows: u64,
    /// Mean general score before.
    pub general_before: f64,
    /// Mean general score after.
    pub general_after: f64,
    /// Loss of general ability (bootstrap).
    pub general_loss: Interval,
    /// Loss on the task minus loss of general ability (bootstrap).
    pub excess_loss: Interval,
    /// Per class of the task.
    pub classes: Vec<ClassChange>,
    /// What counts as too much.
    pub margins: Margins,
}

impl Retention {
    /// Why the variant is refused, one sentence each; empty when the skill was retained.
    pub fn objections(&self) -> Vec<String> {
        use sprat_report::number::{p_value, points_unsigned};
        let mut objections = Vec::new();
        if self.task_loss.high > self.margins.task {
            let cause = if self.task_loss.low > 0.0 {
                "the task lost quality"
            } else {
                "the evidence is not enough to exclude a loss; test on more rows"
            };
            objections.push(format!(
                "a loss of up to {} on the task cannot be excluded, {} is allowed: {cause}",
                points_unsigned(self.task_loss.high),
                points_unsigned(self.margins.task)
            ));
        }
        if self.task_loss.estimate > 0.0 && self.excess_loss.low > self.margins.excess {
            objections.push(format!(
                "the tuned skill lost {} more than general ability, at least {} with {:.0}% \
                 confidence",
                points_unsigned(self.excess_loss.estimate),
                points_unsigned(self.excess_loss.low),
                self.excess_loss.level * 100.0
            ));
        }
        for class in self.classes.iter().filter(|c| c.adjusted_p < self.margins.alpha) {
            objections.push(format!(
                "class `{}` lost {} answers and gained {} (adjusted p {})",
                class.label,
                class.lost,
                class.gained,
                p_value(class.adjusted_p)
            ));
        }
        objections
    }

    /// Whether the tuned skill was retained.
    pub fn passed(&self) -> bool {
        self.objections().is_empty()
    }

    /// # Errors
    /// [`crate::codes::RETENTION`] with the objections, when the skill was not retained.
    pub fn require(&self) -> Result<()> {
        let objections = self.objections();
        if objections.is_empty() {
            return Ok(());
        }
        let what = format!("the variant `{}` did not retain the tuned skill", self.variant);
        Err(Error::new(&crate::codes::RETENTION, what).why(objections.join("; ")))
    }
}

/// Compares full and shrunk weights. `classes[i]` is the true class of task row `i`, a position
/// in `labels`.
///
/// # Errors
/// [`EMPTY`] without rows, [`INPUT`] when vectors differ in length or hold anything but scores.
pub fn retention(
    variant: &str,
    (labels, classes): (&[String], &[usize]),
    task: PairedScores<'_>,
    general: PairedScores<'_>,
    margins: Margins,
    seed: u64,
) -> Result<Retention> {
    let task_losses = losses(&task)?;
    let general_losses = losses(&general)?;
    if classes.len() != task_losses.len() || classes.iter().any(|&class| class >= labels.len()) {
        return Err(Error::new(&INPUT, "every task row needs the position of its true class"));
    }
    let loss_level = (1.0 - 2.0 * margins.alpha).clamp(0.5, 0.999);
    let name = |what: &str| format!("eval retention {what}");
    let task_loss = task_interval(&task, &task_losses, loss_level, seed, &name("task"));
    let (mut excess, mut general_means) = (Vec::new(), Vec::new());
    bootstrap::resample(
        general_losses.len(),
        bootstrap::RESAMPLES,
        seed,
        &name("general"),
        |counts| general_means.push(weighted_mean(&general_losses, counts)),
    );
    let mut at = 0;
    bootstrap::resample(task_losses.len(), bootstrap::RESAMPLES, seed, &name("excess"), |counts| {
        excess.push(weighted_mean(&task_losses, counts) - general_means[at]);
        at += 1;
    });
    let general_loss = bootstrap::percentile(mean(&general_losses), &general_means, LEVEL);
    let difference = mean(&task_losses) - mean(&general_losses);
    Ok(Retention {
        variant: variant.to_owned(),
        task_measure: task.measure.to_owned(),
        task_rows: task_losses.len() as u64,
        task_before: mean(task.before),
        task_after: mean(task.after),
        task_loss,
        general_measure: general.measure.to_owned(),
        general_rows: general_losses.len() as u64,
        general_before: mean(general.before),
        general_after: mean(general.after),
        general_loss,
        excess_loss: bootstrap::percentile(difference, &excess, LEVEL),
        classes: by_class(labels, classes, &task_losses),
        margins,
    })
}

fn losses(scores: &PairedScores<'_>) -> Result<Vec<f64>> {
    if scores.before.is_empty() {
        return Err(Error::new(&EMPTY, format!("no rows to compare {}", scores.measure)));
    }
    let proper = |score: &f64| (0.0..=1.0).contains(score);
    if scores.before.len() != scores.after.len()
        || !scores.before.iter().chain(scores.after).all(proper)
    {
        let what =
            format!("{}: one score between 0 and 1 per row, before and after", scores.measure);
        return Err(Error::new(&INPUT, what));
    }
    Ok(scores.before.iter().zip(scores.after).map(|(before, after)| before - after).collect())
}

/// Right and wrong get Tango's interval, which knows that "no change in 200 rows" is not "no
/// change ever"; the bootstrap does not.
fn task_interval(
    scores: &PairedScores<'_>,
    losses: &[f64],
    level: f64,
    seed: u64,
    name: &str,
) -> Interval {
    let binary = |score: &f64| *score == 0.0 || *score == 1.0;
    if scores.before.iter().chain(scores.after).all(binary) {
        let lost = losses.iter().filter(|loss| **loss > 0.0).count() as u64;
        let gained = losses.iter().filter(|loss| **loss < 0.0).count() as u64;
        return paired_difference(lost, gained, losses.len() as u64, level);
    }
    bootstrap::mean(losses, seed, name, level)
}

fn by_class(labels: &[String], classes: &[usize], losses: &[f64]) -> Vec<ClassChange> {
    let mut changes: Vec<ClassChange> = labels
        .iter()
        .map(|label| ClassChange {
            label: label.clone(),
            rows: 0,
            lost: 0,
            gained: 0,
            loss: 0.0,
            adjusted_p: 1.0,
        })
        .collect();
    for (&class, &loss) in classes.iter().zip(losses) {
        let change = &mut changes[class];
        change.rows += 1;
        change.lost += u64::from(loss > 0.0);
        change.gained += u64::from(loss < 0.0);
        change.loss += loss;
    }
    let p_values: Vec<f64> =
        changes.iter().map(|c| more_losses_than_gains(c.lost, c.gained)).collect();
    for (change, adjusted) in changes.iter_mut().zip(holm(&p_values)) {
        change.loss /= change.rows.max(1) as f64;
        change.adjusted_p = adjusted;
    }
    changes
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn weighted_mean(values: &[f64], counts: &[u32]) -> f64 {
    let sum: f64 = values.iter().zip(counts).map(|(value, &n)| value * f64::from(n)).sum();
    sum / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    const ROWS: usize = 3000;

    /// Full and shrunk models whose answers change at given rates.
    fn simulate(seed: u64, task: (f64, f64), general: (f64, f64)) -> Retention {
        let mut rng = sprat_task::random::stream(seed, "simulate");
        let mut pair = |rows: usize, (lost, gained): (f64, f64)| {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for _ in 0..rows {
                let draw: f64 = rng.random();
                let (b, a) = if draw < lost {
                    (1.0, 0.0)
                } else if draw < lost + gained {
                    (0.0, 1.0)
                } else if draw < 0.95 {
                    (1.0, 1.0)
                } else {
                    (0.0, 0.0)
                };
                before.push(b);
                after.push(a);
            }
            (before, after)
        };
        let (before, after) = pair(ROWS, task);
        let (general_before, general_after) = pair(1000, general);
        let labels: Vec<String> = (0..20).map(|at| format!("c{at}")).collect();
        let classes: Vec<usize> = (0..ROWS).map(|at| at % 20).collect();
        retention(
            "int8",
            (&labels, &classes),
            PairedScores { measure: "right answers", before: &before, after: &after },
            PairedScores { measure: "hits", before: &general_before, after: &general_after },
            Margins { task: 0.01, ..Margins::default() },
            1,
        )
        .unwrap()
    }

    #[test]
    fn harmless_shrinking_is_rarely_refused_and_harm_nearly_always() {
        let runs = 30;
        let refused = |task, general| {
            (0..runs).filter(|&seed| !simulate(seed, task, general).passed()).count()
        };
        // As many answers gained as lost: at most 5 in 100 may be refused.
        let harmless = refused((0.004, 0.004), (0.01, 0.01));
        assert!(harmless <= 3, "{harmless} of {runs}");
        // A true loss of 2.5 points where the general measure loses nothing.
        let harmful = refused((0.03, 0.005), (0.01, 0.01));
        assert!(harmful >= 28, "{harmful} of {runs}");
    }

    #[test]
    fn the_excess_interval_covers_the_true_difference_of_differences() {
        let covered = (0..50)
            .filter(|&seed| {
                let interval = simulate(seed, (0.02, 0.01), (0.03, 0.01)).excess_loss;
                (interval.low..=interval.high).contains(&(0.01 - 0.02))
            })
            .count();
        assert!((44..=50).contains(&covered), "{covered}");
    }

    #[test]
    fn one_ruined_class_is_named_though_the_mean_hides_it() {
        let labels: Vec<String> = (0..50).map(|at| format!("c{at}")).collect();
        let classes: Vec<usize> = (0..ROWS).map(|at| at % 50).collect();
        let before = vec![1.0; ROWS];
        // Class 7 loses 14 of its 60 rows: half a point over all.
        let after: Vec<f64> =
            (0..ROWS).map(|at| f64::from(u8::from(at % 50 != 7 || at > 700))).collect();
        let scores = PairedScores { measure: "right answers", before: &before, after: &after };
        let same = PairedScores { measure: "hits", before: &before, after: &before };
        let found =
            retention("int8", (&labels, &classes), scores, same, Margins::default(), 1).unwrap();
        let objections = found.objections();
        assert_eq!(objections.len(), 1, "{objections:?}");
        assert!(objections[0].contains("`c7`"), "{objections:?}");
        assert_eq!(found.require().unwrap_err().code().id, "SPRAT-EVAL-RETENTION");
    }

    #[test]
    fn no_change_in_few_rows_is_not_proof() {
        let (labels, classes) = (["a".to_owned()], [0; 40]);
        let scores =
            PairedScores { measure: "right answers", before: &[1.0; 40], after: &[1.0; 40] };
        let found =
            retention("int8", (&labels, &classes), scores, scores, Margins::default(), 1).unwrap();
        assert!(!found.passed());
        assert!(found.objections()[0].contains("more rows"));
        let wrong = PairedScores { after: &[2.0; 40], ..scores };
        assert!(retention("x", (&labels, &classes), wrong, scores, Margins::default(), 1).is_err());
    }
}
