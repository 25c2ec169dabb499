//! The equivalence check: held-out examples through the trainer's own forward pass and through the
//! engine that serves. Their token losses must agree, and what the engine writes greedily must be
//! what the trainer's forward would have written.

use super::bundle::Writer;
use crate::codes;
use serde::{Deserialize, Serialize};
use sprat_eval::Equivalence;
use sprat_infer::{Behaviour, DecoderModel, Generator, Input, Request, Sampling};
use sprat_model::decoder::TokenSum;
use sprat_task::settings::Precision;
use sprat_task::{Error, Interrupt, Result};
use sprat_train::TokenExample;

/// So many examples are replayed at most.
pub(crate) const REPLAYED: usize = 64;
/// So many answers are written at most, and how long they may get.
const WRITTEN: usize = 16;
const LONGEST: usize = 64;

/// What a replay gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Replay {
    /// Replayed examples.
    pub(crate) rows: u64,
    /// Mean loss of the answers' tokens in the trainer's forward, in nats.
    pub(crate) trained_loss: f64,
    /// The same in the engine.
    pub(crate) served_loss: f64,
    /// The greatest difference of an example's mean loss.
    pub(crate) greatest: f64,
    /// The example (from 1) with the greatest difference.
    pub(crate) worst_row: u64,
    /// The difference that is allowed.
    pub(crate) tolerance: f64,
    /// Answers that the engine wrote greedily.
    pub(crate) written: u64,
    /// Those of them in which the trainer's forward would have written another token that is
    /// clearly likelier.
    pub(crate) changed: u64,
}

/// What the trainer's forward says of some examples.
pub(crate) type Trainer<'a> = dyn Fn(&[TokenExample]) -> Result<Vec<TokenSum>> + 'a;

/// The allowed difference of an example's mean loss, in nats. Sums are taken in another order in
/// the engine; in bfloat16 activations are rounded on the way as well.
pub(crate) fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-3,
        Precision::Bf16 => 2e-2,
    }
}

impl Replay {
    /// The check as the release gate takes it.
    pub(crate) fn evidence(&self, step: &str) -> Equivalence {
        Equivalence {
            step: step.to_owned(),
            rows: self.rows,
            changed: self.changed,
            greatest: self.greatest,
            worst_row: self.worst_row,
            tolerance: self.tolerance,
        }
    }

    /// # Errors
    /// `SPRAT-FLOW-NOT-EQUIVALENT`, naming the step and the worst example, when the check failed.
    pub(crate) fn require(&self, step: &str) -> Result<()> {
        if self.greatest <= self.tolerance && self.changed == 0 {
            return Ok(());
        }
        let what = format!("`{step}`: what is served is not what was trained");
        Err(Error::new(&codes::NOT_EQUIVALENT, what).why(format!(
            "the mean loss of example {} differs by {:.2e} nats, {:.0e} is allowed; {} of {} \
             answers differ",
            self.worst_row, self.greatest, self.tolerance, self.changed, self.written
        )))
    }
}

/// Replays examples through a trainer's forward and through the engine.
///
/// # Errors
/// Those of the engine and of the trainer.
pub(crate) fn replay(
    writer: &Writer,
    trainer: &Trainer<'_>,
    examples: &[TokenExample],
    interrupt: &Interrupt,
) -> Result<Replay> {
    let chosen: Vec<TokenExample> = examples.iter().take(REPLAYED).cloned().collect();
    let trained = trainer(&chosen)?;
    let served = served_losses(writer, &chosen, interrupt)?;
    let tolerance = tolerance(writer.manifest.precision);
    let mut replay = compare(&trained, &served, tolerance);
    let answers = greedy(writer, &chosen, interrupt)?;
    let judged = trainer(&answers)?;
    let raw = raw(writer);
    for (answer, sum) in answers.iter().zip(judged) {
        replay.written += 1;
        // Where two tokens are equally likely, either may be written.
        let clear = sum.hits < sum.tokens && {
            let own = answer_losses(&raw, answer)?;
            let difference = (sum.loss - own.iter().sum::<f64>()).abs() / sum.tokens.max(1) as f64;
            difference > tolerance
        };
        replay.changed += u64::from(clear);
    }
    Ok(replay)
}

/// Compares the sums of the trainer with the engine's.
fn compare(trained: &[TokenSum], served: &[Vec<f64>], tolerance: f64) -> Replay {
    let (mut tokens, mut ours, mut theirs) = (0, 0.0, 0.0);
    let (mut greatest, mut worst_row) = (0.0, 1);
    for (at, (sum, losses)) in trained.iter().zip(served).enumerate() {
        let own: f64 = losses.iter().sum();
        let difference = (sum.loss - own).abs() / sum.tokens.max(1) as f64;
        // A loss that is not a number must not pass for equal.
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        if difference > greatest {
            (greatest, worst_row) = (difference, at as u64 + 1);
        }
        tokens += sum.tokens;
        ours += sum.loss;
        theirs += own;
    }
    let count = tokens.max(1) as f64;
    Replay {
        rows: trained.len() as u64,
        trained_loss: ours / count,
        served_loss: theirs / count,
        greatest,
        worst_row,
        tolerance,
        written: 0,
        changed: 0,
    }
}

/// The model without an instruction, labels or a schema: it reads tokens as they are.
fn raw(writer: &Writer) -> DecoderModel {
    writer.behaving("replay", Behaviour { temperature: 0.0, ..Behaviour::default() })
}

/// For each example the losses of the answer's tokens, as the engine computes them.
///
/// # Errors
/// Those of the engine.
pub(crate) fn served_losses(
    writer: &Writer,
    examples: &[TokenExample],
    interrupt: &Interrupt,
) -> Result<Vec<Vec<f64>>> {
    let raw = raw(writer);
    let losses = examples.iter().map(|example| {
        interrupt.check()?;
        answer_losses(&raw, example)
    });
    losses.collect()
}

fn answer_losses(raw: &DecoderModel, example: &TokenExample) -> Result<Vec<f64>> {
    let request = Request {
        prompt_logprobs: true,
        logprobs: Some(0),
        max_tokens: Some(0),
        sampling: Sampling::greedy(),
        ..Request::new(Input::Tokens(example.ids[..example.answer.end].to_vec()))
    };
    let scores = raw.answer(request)?.prompt_scores;
    let own = scores.get(example.answer.clone()).unwrap_or_default();
    Ok(own.iter().map(|score| -f64::from(score.logprob)).collect())
}

/// What the engine writes greedily after the prompts of some examples, as examples.
fn greedy(
    writer: &Writer,
    examples: &[TokenExample],
    interrupt: &Interrupt,
) -> Result<Vec<TokenExample>> {
    let raw = raw(writer);
    let context = writer.engine.model().decoder().context();
    let mut written = Vec::new();
    for example in examples.iter().take(WRITTEN) {
        interrupt.check()?;
        let mut ids = example.ids[..example.answer.start].to_vec();
        let start = ids.len();
        let request = Request {
            logprobs: Some(0),
            max_tokens: Some(LONGEST.min(context.saturating_sub(start))),
            sampling: Sampling::greedy(),
            ..Request::new(Input::Tokens(ids.clone()))
        };
        ids.extend(raw.answer(request)?.tokens.iter().map(|token| token.id));
        if ids.len() > start {
            written.push(TokenExample { answer: start..ids.len(), ids });
        }
    }
    Ok(written)
}
