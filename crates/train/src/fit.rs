//! The training loop: steps, validations, patience, checkpoints.

use crate::batches;
use crate::codes::DIVERGED;
use crate::history::{Best, Point};
use crate::learner::{Learner, Measure};
use crate::optimizer;
use crate::recipe::Recipe;
use crate::schedule::Schedule;
use crate::state::{Checkpoints, Counters, State};
use sprat_task::{Error, Interrupt, Progress, Result};
use std::time::Instant;

/// What the loop is told, besides the model.
pub(crate) struct Plan<'a> {
    pub(crate) recipe: &'a Recipe,
    /// The learning rate at the top of the schedule.
    pub(crate) rate: f64,
    /// The training examples' lengths in tokens.
    pub(crate) lengths: &'a [usize],
    /// How many examples are validated.
    pub(crate) validated: usize,
    pub(crate) checkpoints: &'a Checkpoints,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) interrupt: &'a Interrupt,
    /// Training ends after so many seconds even if steps are left: for trials of a search only,
    /// since the result then depends on the machine's speed.
    pub(crate) seconds: Option<f64>,
}

/// What the loop ends with; the model then has the values of the best validation.
#[derive(Clone, Debug)]
pub(crate) struct Fitted<M> {
    pub(crate) best: Best<M>,
    pub(crate) steps: u64,
    /// Steps that the schedule foresaw.
    pub(crate) planned: u64,
    pub(crate) history: Vec<Point<M>>,
    pub(crate) seconds: f64,
    /// The time ran out, not the steps or the patience.
    pub(crate) cut: bool,
}

impl<M: Copy> Fitted<M> {
    /// The result of no step at all, for a head that is fitted without the loop.
    pub(crate) fn nothing(metrics: M) -> Self {
        let best = Best { step: 0, metrics };
        let point = Point {
            step: 0,
            epoch: 0.0,
            train_loss: None,
            learning_rate: 0.0,
            validation: Some(metrics),
            seconds: 0.0,
        };
        Fitted { best, steps: 0, planned: 0, history: vec![point], seconds: 0.0, cut: false }
    }
}

impl Plan<'_> {
    fn steps_per_epoch(&self) -> u64 {
        self.lengths.len().div_ceil(self.recipe.batch.max(1)).max(1) as u64
    }

    fn steps(&self) -> u64 {
        ((self.steps_per_epoch() as f64 * self.recipe.epochs).ceil() as u64).max(1)
    }

    /// Steps between validations: as the recipe says, or four times an epoch, but no more often
    /// than lets validation take about a third of the time (a validated example costs about a
    /// third of a trained one: no backward pass, which is worth two forward ones).
    fn eval_every(&self) -> u64 {
        let affordable = (2 * self.validated).div_ceil(3 * self.recipe.batch.max(1)) as u64;
        let given = self.recipe.eval_every.map(|steps| steps as u64);
        given.unwrap_or((self.steps_per_epoch() / 4).max(affordable)).max(1)
    }
}

/// Trains until the steps or the patience are used up, going on from a checkpoint if there is
/// one. Interrupted, it writes a checkpoint and returns the error `INTERRUPTED`.
pub(crate) fn fit<M: Measure>(
    learner: &mut dyn Learner<Measure = M>,
    plan: &Plan<'_>,
    notes: &mut Vec<String>,
) -> Result<Fitted<M>> {
    let loaded = plan.checkpoints.load(learner, notes)?;
    let mut state = loaded.unwrap_or_else(|| State::new(learner));
    let total = plan.steps();
    let schedule = Schedule::new(plan.rate, plan.recipe.warmup, total, plan.recipe.decay);

    plan.progress.start("training", Some(total), "steps");
    plan.progress.advance(state.counters.step);
    let mut run = Run { plan, schedule, total, epoch: None, before: state.counters.seconds };
    let result = run.go(learner, &mut state);
    plan.progress.finish();
    result?;

    let mut values = state.best.iter();
    learner.parameters(&mut |parameter| {
        if let Some(value) = values.next() {
            parameter.value.copy_from_slice(value);
        }
    });
    learner.updated();
    let Counters { best: Some(best), step: steps, history, seconds, cut, .. } = state.counters
    else {
        return Err(Error::new(&DIVERGED, "no validation gave a finite loss"));
    };
    Ok(Fitted { best, steps, planned: total, history, seconds, cut })
}

struct Run<'a> {
    plan: &'a Plan<'a>,
    schedule: Schedule,
    total: u64,
    /// The epoch whose batches are laid out, and they.
    epoch: Option<(u64, Vec<Vec<usize>>)>,
    /// Seconds trained before this process took over.
    before: f64,
}

impl Run<'_> {
    fn go<M: Measure>(
        &mut self,
        learner: &mut dyn Learner<Measure = M>,
        state: &mut State<M>,
    ) -> Result<()> {
        let began = Instant::now();
        let mut saved = Instant::now();
        if state.counters.history.is_empty() {
            self.validate(learner, state)?;
        }
        while !state.counters.over {
            if let Err(interrupted) = self.plan.interrupt.check() {
                self.plan.checkpoints.save(state, learner)?;
                return Err(interrupted);
            }
            self.step(learner, state)?;
            state.counters.seconds = self.before + began.elapsed().as_secs_f64();
            let step = state.counters.step;
            let late = self.plan.seconds.is_some_and(|most| state.counters.seconds >= most);
            let last = step >= self.total || late;
            state.counters.cut |= late && step < self.total;
            if last || step.is_multiple_of(self.plan.eval_every()) {
                self.validate(learner, state)?;
                state.counters.seconds = self.before + began.elapsed().as_secs_f64();
            }
            let patience = self.plan.recipe.patience;
            state.counters.over = last || state.counters.worse >= patience;
            let due = saved.elapsed() >= self.plan.recipe.checkpoint_every.0;
            if due || state.counters.over {
                self.plan.checkpoints.save(state, learner)?;
                saved = Instant::now();
            }
        }
        Ok(())
    }

    fn step<M: Measure>(
        &mut self,
        learner: &mut dyn Learner<Measure = M>,
        state: &mut State<M>,
    ) -> Result<()> {
        let step = state.counters.step;
        let per_epoch = self.plan.steps_per_epoch();
        let (epoch, at) = (step / per_epoch, (step % per_epoch) as usize);
        if self.epoch.as_ref().is_none_or(|(laid_out, _)| *laid_out != epoch) {
            let Recipe { batch, seed, .. } = *self.plan.recipe;
            self.epoch = Some((epoch, batches::epoch(self.plan.lengths, batch, seed, epoch)));
        }
        let rows = self.epoch.as_ref().and_then(|(_, batches)| batches.get(at));
        let loss = learner.gradients(rows.map_or(&[], Vec::as_slice), step)?;
        if !loss.is_finite() {
            return Err(diverged(step, "the loss"));
        }
        let norm =
            optimizer::step(learner, &mut state.adam, self.schedule.rate(step), self.plan.recipe);
        if !norm.is_finite() {
            return Err(diverged(step, "the gradient"));
        }
        state.counters.step += 1;
        state.counters.loss.0 += loss;
        state.counters.loss.1 += 1;
        self.plan.progress.advance(1);
        if state.counters.step.is_multiple_of(NOTE_EVERY) {
            self.note(state);
        }
        Ok(())
    }

    fn validate<M: Measure>(
        &mut self,
        learner: &mut dyn Learner<Measure = M>,
        state: &mut State<M>,
    ) -> Result<()> {
        let metrics = learner.validate()?;
        let counters = &mut state.counters;
        let (sum, count) = std::mem::take(&mut counters.loss);
        counters.history.push(Point {
            step: counters.step,
            epoch: counters.step as f64 / self.plan.steps_per_epoch() as f64,
            train_loss: (count > 0).then(|| sum / count as f64),
            learning_rate: self.schedule.rate(counters.step.saturating_sub(1)),
            validation: metrics.loss().is_finite().then_some(metrics),
            seconds: counters.seconds,
        });
        let better = counters.best.is_none_or(|best| metrics.better_than(&best.metrics));
        if metrics.score().is_finite() && better {
            counters.best = Some(Best { step: counters.step, metrics });
            counters.worse = 0;
            let mut values = state.best.iter_mut();
            learner.parameters(&mut |parameter| {
                if let Some(best) = values.next() {
                    best.copy_from_slice(parameter.value);
                }
            });
        } else {
            counters.worse += 1;
        }
        self.note(state);
        Ok(())
    }

    fn note<M: Measure>(&self, state: &State<M>) {
        let counters = &state.counters;
        let mut parts = Vec::new();
        let loss = match counters.loss {
            (sum, count) if count > 0 => Some(sum / count as f64),
            _ => counters.history.last().and_then(|point| point.train_loss),
        };
        parts.extend(loss.map(|loss| format!("loss {loss:.3}")));
        let last = counters.history.last().and_then(|point| point.validation);
        parts.extend(last.map(|now| {
            let (name, value) = now.shown();
            format!("validation {name} {value:.4}")
        }));
        parts.extend(
            counters
                .best
                .map(|best| format!("best {:.4} at step {}", best.metrics.shown().1, best.step)),
        );
        self.plan.progress.note(&parts.join(", "));
    }
}

/// Steps between remarks on the loss.
const NOTE_EVERY: u64 = 10;

fn diverged(step: u64, what: &str) -> Error {
    Error::new(&DIVERGED, format!("{what} is not a finite number at step {step}"))
}
