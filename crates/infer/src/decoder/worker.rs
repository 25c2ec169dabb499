//! The thread that computes: each step reads a piece of every prompt that is being read, writes
//! the next token of every answer that is being written, and lets new requests in (continuous
//! batching, Yu et al. 2022; prompts are cut into chunks so that answers do not wait for them).

use super::DecoderLimits;
use super::pages::{Content, Pages};
use super::sequence::{Goal, Sequence, Work};
use crate::answer::{Answer, Finish};
use crate::codes;
use crate::queue::{Job, Queue};
use crate::sampling::{TokenScore, log_sum_exp, top};
use sprat_model::LanguageModel;
use sprat_model::decoder::{DecoderAdapter, Step};
use sprat_nn::{Mat, PagedCache, Span};
use sprat_task::{Error, Result};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

pub(super) struct Worker {
    model: Arc<LanguageModel>,
    limits: DecoderLimits,
    queue: Arc<Queue<Work>>,
    cache: PagedCache,
    pages: Pages,
    /// Under which adapter, if any, pages may be shared among requests.
    beginnings: Vec<(Option<Weak<DecoderAdapter>>, Content)>,
    active: Vec<Sequence>,
    /// A request for which there is no room yet.
    held: Option<Job<Work>>,
}

/// A sequence's part of a step.
struct Part {
    sequence: usize,
    rows: Range<usize>,
    position: usize,
    /// Rows whose logits are wanted, as places in the step's list.
    wanted: Range<usize>,
}

impl Worker {
    pub(super) fn new(
        model: Arc<LanguageModel>,
        limits: DecoderLimits,
        queue: Arc<Queue<Work>>,
        pages: usize,
    ) -> Self {
        let cache = model.decoder().cache(pages);
        let pages = Pages::new(pages);
        let (active, held) = (Vec::new(), None);
        Worker { model, limits, queue, cache, pages, beginnings: Vec::new(), active, held }
    }

    /// Works until the queue is closed and everything in it is answered.
    pub(super) fn run(mut self) {
        while self.admit() {
            self.drop_vain();
            if catch_unwind(AssertUnwindSafe(|| self.step())).is_err() {
                self.fail_all();
            }
        }
    }

    /// Lets requests in for which there is room; waits for one where there is nothing to do.
    /// False when there will be none any more.
    fn admit(&mut self) -> bool {
        while self.active.len() < self.limits.sequences {
            let job = match self.held.take().or_else(|| self.queue.try_take()) {
                Some(job) => job,
                None if !self.active.is_empty() => return true,
                None => match self.queue.take(|_| false).and_then(|mut jobs| jobs.pop()) {
                    Some(job) => job,
                    None => return false,
                },
            };
            if job.work.reply.is_cancelled() {
                continue;
            }
            if job.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                job.work.reply.end(Err(late()));
                continue;
            }
            let times = (job.queued, job.deadline);
            let beginning = self.beginning(job.work.adapter.as_ref());
            match Sequence::begin(job.work, beginning, &mut self.pages, times) {
                Ok(sequence) => self.active.push(sequence),
                Err(work) => {
                    self.held = Some(Job { work, queued: times.0, deadline: times.1 });
                    return true;
                }
            }
        }
        true
    }

    /// Ends what nobody waits for any more.
    fn drop_vain(&mut self) {
        let now = Instant::now();
        for sequence in std::mem::take(&mut self.active) {
            if sequence.is_vain(now) {
                sequence.end(Err(late()), &mut self.pages);
            } else {
                self.active.push(sequence);
            }
        }
    }

    /// After a computation that ended abnormally nothing in the cache is trusted.
    fn fail_all(&mut self) {
        for sequence in std::mem::take(&mut self.active) {
            let what = "the model's computation ended abnormally";
            sequence.end(Err(Error::new(&codes::PANIC, what)), &mut self.pages);
        }
        self.pages = Pages::new(self.pages.count());
        self.beginnings.clear();
    }

    /// The beginning of texts under an adapter: never the same for two adapters, nor for one that
    /// is opened again.
    fn beginning(&mut self, adapter: Option<&Arc<DecoderAdapter>>) -> Content {
        self.beginnings.retain(|(of, _)| of.as_ref().is_none_or(|weak| weak.strong_count() > 0));
        let pointer = adapter.map(Arc::as_ptr);
        let same = |of: &Option<Weak<DecoderAdapter>>| of.as_ref().map(Weak::as_ptr) == pointer;
        if let Some((_, content)) = self.beginnings.iter().find(|(of, _)| same(of)) {
            return *content;
        }
        let content = self.pages.beginning();
        self.beginnings.push((adapter.map(Arc::downgrade), content));
        content
    }

    /// One forward pass over all that is to be read, and what follows from it.
    fn step(&mut self) {
        let (ids, parts, wanted) = self.plan();
        if parts.is_empty() {
            return;
        }
        let spans: Vec<Span<'_>> = parts
            .iter()
            .map(|part| Span {
                rows: part.rows.clone(),
                position: part.position,
                pages: &self.active[part.sequence].pages,
            })
            .collect();
        let adapters: Vec<_> =
            parts.iter().map(|part| self.active[part.sequence].work.adapter.as_deref()).collect();
        let step = Step { ids: &ids, spans: &spans, wanted: &wanted, adapters: &adapters };
        let mut logits = self.model.decoder().forward(&step, &mut self.cache);
        let mut ended: Vec<Option<Result<Answer>>> = Vec::new();
        ended.resize_with(self.active.len(), || None);
        let mut choosing = Vec::new();
        for part in &parts {
            let sequence = &mut self.active[part.sequence];
            sequence.company = sequence.company.max(parts.len());
            if sequence.work.prompt_scores {
                note_prompt(&self.model, sequence, part, &logits);
            }
            if sequence.left() > 0 {
                continue;
            }
            let Some(last) = part.wanted.clone().last() else { continue };
            match &mut sequence.work.goal {
                Goal::Write(_) => {
                    ended[part.sequence] = write_next(&self.model, sequence, logits.row_mut(last));
                }
                Goal::Choose(choice) => {
                    let row = logits.row(last);
                    let log_sum = f64::from(log_sum_exp(row));
                    let first = |tokens: &Vec<u32>| {
                        tokens.first().map_or(0.0, |&id| f64::from(row[id as usize]) - log_sum)
                    };
                    choice.scores = choice.tokens.iter().map(first).collect();
                    choosing.push(part.sequence);
                }
            }
        }
        self.score_labels(&choosing);
        for at in choosing {
            ended[at] = Some(chosen(&mut self.active[at]));
        }
        for (sequence, ended) in std::mem::take(&mut self.active).into_iter().zip(ended) {
            match ended {
                Some(result) => sequence.end(result, &mut self.pages),
                None => self.active.push(sequence),
            }
        }
    }

    /// What the next step reads: every answer's last tokens, then prompts in the order in which
    /// they came, up to the limit on tokens.
    fn plan(&mut self) -> (Vec<u32>, Vec<Part>, Vec<usize>) {
        let (mut ids, mut parts, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let mut budget = self.limits.step_tokens;
        for reading in [false, true] {
            for (at, sequence) in self.active.iter_mut().enumerate() {
                if sequence.is_read() == reading {
                    continue;
                }
                sequence.share(&mut self.pages);
                let count = if reading { sequence.left().min(budget) } else { sequence.left() };
                if count == 0 {
                    continue;
                }
                budget = budget.saturating_sub(count);
                let range = sequence.advance(count, &mut self.pages);
                let rows = ids.len()..ids.len() + count;
                let from = wanted.len();
                if sequence.work.prompt_scores && reading {
                    wanted.extend(rows.clone());
                } else if sequence.left() == 0 {
                    wanted.push(rows.end - 1);
                }
                ids.extend_from_slice(&sequence.tokens[range.clone()]);
                let wanted = from..wanted.len();
                parts.push(Part { sequence: at, rows, position: range.start, wanted });
            }
        }
        (ids, parts, wanted)
    }

    /// Adds to each label's score the tokens after its first, for the sequences at `choosing`:
    /// all their labels are branches behind the prompts, computed together.
    fn score_labels(&mut self, choosing: &[usize]) {
        for &at in choosing {
            let Goal::Choose(choice) = &self.active[at].work.goal else { continue };
            let prompt = self.active[at].work.prompt.len();
            let each = choice.branch_pages(prompt);
            let long: Vec<usize> =
                (0..choice.tokens.len()).filter(|&label| choice.tokens[label].len() > 1).collect();
            for group in long.chunks(super::sequence::BRANCHES) {
                self.score_branches(at, group, each);
            }
        }
    }

    fn score_branches(&mut self, at: usize, group: &[usize], each: usize) {
        let sequence = &mut self.active[at];
        let prompt = sequence.work.prompt.len();
        let whole = prompt / sprat_nn::PAGE;
        let borrowed = sequence.borrow(group.len() * each, &mut self.pages);
        let Goal::Choose(choice) = &sequence.work.goal else { return };
        let tables: Vec<Vec<u32>> = borrowed
            .chunks(each.max(1))
            .map(|own| [&sequence.pages[..whole], own].concat())
            .collect();
        if prompt % sprat_nn::PAGE != 0 {
            // The page that the prompt ends in goes on differently in each branch.
            for own in borrowed.chunks(each.max(1)) {
                self.cache.copy_page(sequence.pages[whole], own[0]);
            }
        }
        let (mut ids, mut spans) = (Vec::new(), Vec::new());
        for (&label, pages) in group.iter().zip(&tables) {
            let tokens = &choice.tokens[label];
            let rows = ids.len()..ids.len() + tokens.len() - 1;
            ids.extend_from_slice(&tokens[..tokens.len() - 1]);
            spans.push(Span { rows, position: prompt, pages });
        }
        let wanted: Vec<usize> = (0..ids.len()).collect();
        let adapters = vec![sequence.work.adapter.as_deref(); spans.len()];
        let step = Step { ids: &ids, spans: &spans, wanted: &wanted, adapters: &adapters };
        let logits = self.model.decoder().forward(&step, &mut self.cache);
        let mut rows = 0..logits.rows;
        let mut sums = Vec::with_capacity(group.len());
        for &label in group {
            let follows = choice.tokens[label].iter().skip(1);
            let sum: f64 = follows
                .zip(&mut rows)
                .map(|(&id, row)| {
                    let row = logits.row(row);
                    f64::from(row[id as usize]) - f64::from(log_sum_exp(row))
                })
                .sum();
            sums.push(sum);
        }
        if let Goal::Choose(choice) = &mut sequence.work.goal {
            for (&label, sum) in group.iter().zip(sums) {
                choice.scores[label] += sum;
            }
        }
        sequence.give_back(&borrowed, &mut self.pages);
    }
}

fn late() -> Error {
    Error::new(&codes::TIMEOUT, "the request was not answered within its time limit")
}

/// A token with the logarithm of its probability under `logits`.
fn score(model: &LanguageModel, id: u32, logits: &[f32], count: usize) -> TokenScore {
    let log_sum = log_sum_exp(logits);
    let bytes = model.tokenizer().token_bytes(id).to_vec();
    let logprob = logits[id as usize] - log_sum;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    TokenScore { id, text, bytes, logprob, top: top(logits, count, log_sum) }
}

/// Notes the scores of the prompt's tokens that follow from this part's rows.
fn note_prompt(model: &LanguageModel, sequence: &mut Sequence, part: &Part, logits: &Mat) {
    let count = sequence.work.logprobs.unwrap_or(0);
    if part.position == 0 {
        let bytes = model.tokenizer().token_bytes(sequence.work.prompt[0]).to_vec();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let id = sequence.work.prompt[0];
        sequence.prompt_scores.push(TokenScore { id, text, bytes, logprob: 0.0, top: vec![] });
    }
    for (at, row) in part.wanted.clone().enumerate() {
        let Some(&next) = sequence.work.prompt.get(part.position + at + 1) else { break };
        sequence.prompt_scores.push(score(model, next, logits.row(row), count));
    }
}

/// Draws the next token of an answer; gives the answer where that ends it.
fn write_next(
    model: &LanguageModel,
    sequence: &mut Sequence,
    logits: &mut [f32],
) -> Option<Result<Answer>> {
    let logprobs = sequence.work.logprobs;
    let prompt = sequence.work.prompt.len();
    let Goal::Write(writing) = &mut sequence.work.goal else { return None };
    if writing.most == 0 {
        return Some(finish(sequence, Finish::Length));
    }
    // The scores are the model's own, before anything changes its logits.
    let raw = logprobs.map(|_| logits.to_vec());
    let Some(id) = writing.sampler.draw(logits, None) else {
        let what = "the model gave no token that could be written";
        return Some(Err(Error::new(&codes::PANIC, what)));
    };
    writing.sampler.accept(id);
    if model.tokenizer().ends().contains(&id) {
        sequence.tokens.push(id);
        return Some(finish(sequence, Finish::Stop));
    }
    let scored = raw.map(|raw| score(model, id, &raw, logprobs.unwrap_or(0)));
    let stopped = writing.writer.push(id, scored);
    let most = writing.most;
    sequence.tokens.push(id);
    sequence.wrote();
    if stopped {
        return Some(finish(sequence, Finish::Stop));
    }
    if sequence.tokens.len() - prompt >= most {
        return Some(finish(sequence, Finish::Length));
    }
    sequence.send(false);
    None
}

fn finish(sequence: &mut Sequence, why: Finish) -> Result<Answer> {
    if let Goal::Write(writing) = &mut sequence.work.goal {
        writing.writer.finish();
    }
    sequence.send(true);
    let mut answer = sequence.answer(why);
    if let Goal::Write(writing) = &mut sequence.work.goal {
        (answer.output, answer.tokens) = writing.writer.take();
    }
    Ok(answer)
}

/// The answer that the labels' scores give.
fn chosen(sequence: &mut Sequence) -> Result<Answer> {
    let answer = sequence.answer(Finish::Stop);
    let Goal::Choose(choice) = &mut sequence.work.goal else { return Ok(answer) };
    let most = choice.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !most.is_finite() {
        return Err(Error::new(&codes::PANIC, "the model gave no valid probabilities"));
    }
    let temperature = f64::from(choice.temperature);
    let weight = |score: &f64| ((score - most) / temperature).exp();
    let total: f64 = choice.scores.iter().map(weight).sum();
    let scores: Vec<(String, f32)> = choice
        .labels
        .iter()
        .cloned()
        .zip(choice.scores.iter().map(|score| (weight(score) / total) as f32))
        .collect();
    // The first of equal probabilities wins.
    let best = scores.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((label, confidence)) = best.cloned() else {
        return Err(Error::new(&codes::PANIC, "there are no labels"));
    };
    let (label, output) = (Some(label.clone()), label);
    Ok(Answer { output, label, confidence: Some(confidence), scores, ..answer })
}
