//! The thread that computes: each step reads a piece of every prompt that is being read, writes
//! the next token of every answer that is being written, and lets new requests in (continuous
//! batching, Yu et al. 2022; prompts are cut into chunks so that answers do not wait for them).

use super::DecoderLimits;
use super::choosing::{Prompt, Reader};
use super::pages::{Content, Pages};
use super::sequence::{Goal, Sequence, Work};
use crate::answer::{Answer, Finish};
use crate::codes;
use crate::constraint::Validity;
use crate::queue::{Job, Queue};
use crate::sampling::{TokenScore, log_sum_exp, top};
use sprat_model::LanguageModel;
use sprat_model::decoder::{DecoderAdapter, Step, StepMemory};
use sprat_nn::{Mat, PagedCache, Span};
use sprat_task::{Error, Result};
use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

pub(super) struct Worker {
    model: Arc<LanguageModel>,
    limits: DecoderLimits,
    queue: Arc<Queue<Work>>,
    cache: PagedCache,
    memory: StepMemory,
    pages: Pages,
    /// Under which adapter, if any, pages may be shared among requests.
    beginnings: Vec<(Option<Weak<DecoderAdapter>>, Content)>,
    /// Pages that are promised to those who choose among labels, together.
    reserved: usize,
    active: Vec<Sequence>,
    /// Requests for which there is no room yet, or that are begun again.
    held: VecDeque<Job<Work>>,
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
        let (memory, pages) = (StepMemory::default(), Pages::new(pages));
        let (beginnings, active, held) = (Vec::new(), Vec::new(), VecDeque::new());
        let reserved = 0;
        Worker { model, limits, queue, cache, memory, pages, beginnings, reserved, active, held }
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
        self.release_reserve();
        while self.active.len() < self.limits.sequences {
            let job = match self.held.pop_front().or_else(|| self.queue.try_take()) {
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
            if !self.reserve(job.work.branch_pages()) {
                self.held.push_front(job);
                return true;
            }
            let times = (job.queued, job.deadline);
            let beginning = self.beginning(job.work.adapter.as_ref());
            match Sequence::begin(job.work, beginning, &mut self.pages, times) {
                Ok(mut sequence) => match sequence.take_forced() {
                    Ok(true) => self.active.push(sequence),
                    Ok(false) => sequence.end(Err(truncated()), &mut self.pages),
                    Err(error) => sequence.end(Err(error), &mut self.pages),
                },
                Err(work) => {
                    self.held.push_front(Job { work: *work, queued: times.0, deadline: times.1 });
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
        self.reserved = 0;
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
        let (spans, adapters) = (&spans[..], &adapters[..]);
        let step = Step { ids: &ids, spans, wanted: &wanted, adapters, ..Step::default() };
        let logits = self.model.decoder().forward_in(&step, &mut self.cache, &mut self.memory);
        let mut ended: Vec<Option<End>> = Vec::new();
        ended.resize_with(self.active.len(), || None);
        let mut choosing = Vec::new();
        for part in &parts {
            let sequence = &mut self.active[part.sequence];
            sequence.company = sequence.company.max(parts.len());
            if sequence.work.prompt_scores {
                note_prompt(&self.model, sequence, part, logits);
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
                    choice.note_prompt(logits.row(last));
                    choosing.push(part.sequence);
                }
            }
        }
        for at in choosing {
            ended[at] = Some(End::Over(self.choose(at).map(Box::new)));
        }
        for (sequence, ended) in std::mem::take(&mut self.active).into_iter().zip(ended) {
            match ended {
                None => self.active.push(sequence),
                Some(End::Over(result)) => {
                    sequence.end(result.map(|answer| *answer), &mut self.pages)
                }
                Some(End::Rejected(why)) => self.begin_again(sequence, why),
            }
        }
    }

    /// Throws an answer away that does not satisfy its constraint, and tries another one.
    fn begin_again(&mut self, sequence: Sequence, why: String) {
        let (work, queued, deadline) = sequence.into_work(&mut self.pages);
        let Work { reply, prompt, goal, adapter, prompt_scores, logprobs } = work;
        let Goal::Write(writing) = goal else { return };
        match writing.again(&prompt, why) {
            Ok(writing) => {
                let goal = Goal::Write(Box::new(writing));
                let work = Work { reply, prompt, goal, adapter, prompt_scores, logprobs };
                self.held.push_back(Job { work, queued, deadline });
            }
            Err(error) => reply.end(Err(error)),
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

    /// Reads all labels of a request behind its prompt, whose logits are noted.
    fn choose(&mut self, at: usize) -> Result<Answer> {
        let sequence = &mut self.active[at];
        let (pages, Work { prompt, adapter, goal, .. }) = (&sequence.pages, &mut sequence.work);
        let Goal::Choose(choice) = goal else { return Ok(sequence.answer(Finish::Stop)) };
        let prompt = Prompt { tokens: prompt.len(), pages, adapter: adapter.as_deref() };
        let (decoder, tokens) = (self.model.decoder(), self.limits.step_tokens);
        let (cache, memory) = (&mut self.cache, &mut self.memory);
        let mut reader = Reader { decoder, cache, memory, tokens };
        // What was promised is there.
        let own: Vec<u32> = (0..choice.room.pages()).map_while(|_| self.pages.take()).collect();
        choice.read(&prompt, &own, &mut reader);
        let chosen = choice.chosen();
        self.pages.lend_again(&own);
        let (best, scores) = chosen?;
        let (output, confidence) = scores[best].clone();
        let (label, confidence) = (Some(output.clone()), Some(confidence));
        Ok(Answer { output, label, confidence, scores, ..sequence.answer(Finish::Stop) })
    }

    /// Sees to it that `pages` are promised for the labels of whoever comes next; false where
    /// they can't be had now. Those who choose do so one after another, in the same pages.
    fn reserve(&mut self, pages: usize) -> bool {
        let more = pages.saturating_sub(self.reserved);
        let possible = self.pages.promise(more);
        if possible {
            self.reserved += more;
        }
        possible
    }

    /// Gives back what nobody's labels need any more.
    fn release_reserve(&mut self) {
        let need = self.active.iter().map(|one| one.work.branch_pages()).max().unwrap_or(0);
        self.pages.release_promise(self.reserved.saturating_sub(need));
        self.reserved = self.reserved.min(need);
    }
}

fn late() -> Error {
    Error::new(&codes::TIMEOUT, "the request was not answered within its time limit")
}

/// A token with the logarithm of its probability under `logits`, and the `count` most likely.
fn score(model: &LanguageModel, id: u32, logits: &[f32], count: usize) -> TokenScore {
    let log_sum = log_sum_exp(logits);
    let likely = top(logits, count, log_sum).into_iter();
    let top = likely.map(|(id, logprob)| scored(model, id, logprob)).collect();
    TokenScore { top, ..scored(model, id, logits[id as usize] - log_sum) }
}

fn scored(model: &LanguageModel, id: u32, logprob: f32) -> TokenScore {
    let bytes = model.tokenizer().token_bytes(id).to_vec();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    TokenScore { id, text, bytes, logprob, top: Vec::new() }
}

/// Notes the scores of the prompt's tokens that follow from this part's rows.
fn note_prompt(model: &LanguageModel, sequence: &mut Sequence, part: &Part, logits: &Mat) {
    let count = sequence.work.logprobs.unwrap_or(0);
    if part.position == 0 {
        sequence.prompt_scores.push(scored(model, sequence.work.prompt[0], 0.0));
    }
    for (at, row) in part.wanted.clone().enumerate() {
        let Some(&next) = sequence.work.prompt.get(part.position + at + 1) else { break };
        sequence.prompt_scores.push(score(model, next, logits.row(row), count));
    }
}

/// How a sequence ends.
enum End {
    /// With an answer, or an error.
    Over(Result<Box<Answer>>),
    /// Its answer does not satisfy the constraint.
    Rejected(String),
}

fn truncated() -> Error {
    Error::new(&codes::TRUNCATED, "the answer was not complete at its limit of tokens")
        .field("max_tokens")
}

/// Draws the next token of an answer, and takes those that must follow; says how the answer ends
/// where it does.
fn write_next(model: &LanguageModel, sequence: &mut Sequence, logits: &mut [f32]) -> Option<End> {
    match drawn(model, sequence, logits) {
        Ok(None) => {
            sequence.send(false);
            None
        }
        Ok(Some(why)) => Some(finish(sequence, why)),
        Err(error) => Some(End::Over(Err(error))),
    }
}

fn drawn(
    model: &LanguageModel,
    sequence: &mut Sequence,
    logits: &mut [f32],
) -> Result<Option<Finish>> {
    let logprobs = sequence.work.logprobs;
    let prompt = sequence.work.prompt.len();
    let Goal::Write(writing) = &mut sequence.work.goal else { return Ok(None) };
    let most = writing.most;
    if sequence.tokens.len() - prompt >= most {
        return Ok(Some(Finish::Length));
    }
    // The scores are the model's own, before anything changes its logits.
    let raw = logprobs.map(|_| logits.to_vec());
    let mask = writing.guide.as_mut().map(|guide| guide.matcher.mask()).transpose()?;
    let Some(id) = writing.sampler.draw(logits, mask) else {
        return Err(Error::new(&codes::PANIC, "the model gave no token that could be written"));
    };
    writing.sampler.accept(id);
    if let Some(guide) = &mut writing.guide {
        guide.matcher.accept(id)?;
    }
    sequence.tokens.push(id);
    if model.tokenizer().ends().contains(&id) {
        return Ok(Some(Finish::Stop));
    }
    let score = raw.map(|raw| score(model, id, &raw, logprobs.unwrap_or(0)));
    let stopped = writing.writer.push(id, score);
    let guided = writing.guide.is_some();
    sequence.wrote();
    if stopped {
        return Ok(Some(Finish::Stop));
    }
    if guided && !sequence.take_forced()? {
        return Ok(Some(Finish::Length));
    }
    let Goal::Write(writing) = &sequence.work.goal else { return Ok(None) };
    if writing.guide.as_ref().is_some_and(|guide| guide.matcher.must_end()) {
        return Ok(Some(Finish::Stop));
    }
    let full = sequence.tokens.len() - prompt >= most;
    Ok(full.then_some(Finish::Length))
}

fn finish(sequence: &mut Sequence, why: Finish) -> End {
    let mut enforced = None;
    if let Goal::Write(writing) = &mut sequence.work.goal {
        writing.writer.finish();
        if let Some(guide) = &writing.guide {
            if why == Finish::Length {
                return End::Over(Err(truncated()));
            }
            match guide.matcher.finish(writing.writer.text()) {
                Ok(Validity::Valid) => enforced = Some(guide.matcher.enforced(guide.retries)),
                Ok(Validity::Invalid { why }) => return End::Rejected(why),
                Err(error) => return End::Over(Err(error)),
            }
        }
    }
    sequence.send(true);
    let mut answer = sequence.answer(why);
    answer.enforced = enforced;
    if let Goal::Write(writing) = &mut sequence.work.goal {
        (answer.output, answer.tokens) = writing.writer.take();
    }
    End::Over(Ok(Box::new(answer)))
}
