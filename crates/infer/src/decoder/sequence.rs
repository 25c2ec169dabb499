//! One request on its way through the engine.

use super::choosing::Choosing;
use super::pages::{Content, Pages};
use super::writer::Writer;
use crate::answer::{Answer, Event, Finish, Reply, Timing};
use crate::codes;
use crate::constraint::{Enforced, Matcher};
use crate::sampling::{Sampler, Sampling, TokenScore};
use sprat_model::TextStream;
use sprat_model::decoder::DecoderAdapter;
use sprat_nn::PAGE;
use sprat_task::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// What a request wants, ready to be computed.
pub(crate) struct Work {
    pub(crate) reply: Reply,
    /// The tokens to read.
    pub(crate) prompt: Vec<u32>,
    pub(crate) goal: Goal,
    /// What is added to the weights.
    pub(crate) adapter: Option<Arc<DecoderAdapter>>,
    /// With the scores of the prompt's tokens.
    pub(crate) prompt_scores: bool,
    /// How many of the most likely tokens come with each score; none: no scores.
    pub(crate) logprobs: Option<usize>,
}

/// What is to come out.
pub(crate) enum Goal {
    /// A text.
    Write(Box<Writing>),
    /// One of some labels.
    Choose(Choosing),
}

/// A text in the making.
pub(crate) struct Writing {
    pub(crate) sampler: Sampler,
    pub(crate) writer: Writer,
    /// At most so many tokens.
    pub(crate) most: usize,
    pub(crate) guide: Option<Guide>,
    /// How a further answer would be begun, should this one be thrown away.
    pub(crate) plan: Plan,
}

/// What an answer must satisfy.
pub(crate) struct Guide {
    pub(crate) matcher: Matcher,
    /// Answers that were thrown away.
    pub(crate) retries: u32,
}

/// How an answer is drawn and written.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) sampling: Sampling,
    /// Temperature and seed, where the request names none.
    pub(crate) own: (f32, u64),
    pub(crate) stops: Vec<String>,
    pub(crate) stream: TextStream,
}

/// How often an answer is tried again that a schema's last keywords reject.
const RETRIES: u32 = 4;
/// The least temperature of a further try: the most likely answer was rejected.
const RETRY_TEMPERATURE: f32 = 0.7;

impl Writing {
    pub(crate) fn new(plan: Plan, prompt: &[u32], most: usize, guide: Option<Guide>) -> Self {
        let sampler = Sampler::new(plan.sampling.clone(), prompt, plan.own);
        let writer = Writer::new(plan.stream.clone(), plan.stops.clone());
        Writing { sampler, writer, most, guide, plan }
    }

    /// Another try, where one is left; or why there is none.
    pub(crate) fn again(self, prompt: &[u32], why: String) -> Result<Self> {
        let Writing { most, guide, mut plan, .. } = self;
        let Some(guide) = guide.filter(|guide| guide.retries < RETRIES) else {
            let what = format!("none of {} answers satisfied the constraint", RETRIES + 1);
            return Err(Error::new(&codes::UNSATISFIED, what).why(why));
        };
        let guide = Some(Guide { matcher: guide.matcher.again()?, retries: guide.retries + 1 });
        let temperature = plan.sampling.temperature.unwrap_or(plan.own.0);
        plan.sampling.temperature = Some(temperature.max(RETRY_TEMPERATURE));
        let seed = plan.sampling.seed.unwrap_or(plan.own.1);
        plan.sampling.seed = Some(seed.wrapping_add(1));
        Ok(Writing::new(plan, prompt, most, guide))
    }

    /// Whether pieces may go out before the answer is complete: not where it may yet be thrown
    /// away.
    fn streams(&self) -> bool {
        self.guide.as_ref().is_none_or(|guide| guide.matcher.enforced(0) == Enforced::Exact)
    }
}

impl Work {
    /// Pages that the request needs at most for itself.
    pub(crate) fn pages(&self) -> usize {
        let written = match &self.goal {
            // The last token is written and never read.
            Goal::Write(writing) => writing.most,
            Goal::Choose(_) => 0,
        };
        (self.prompt.len() + written).div_ceil(PAGE)
    }

    /// Pages that it needs for a moment: requests take turns in using them.
    pub(crate) fn branch_pages(&self) -> usize {
        match &self.goal {
            Goal::Write(_) => 0,
            Goal::Choose(choosing) => choosing.room.pages(),
        }
    }
}

/// A request that is being computed.
pub(crate) struct Sequence {
    pub(crate) work: Work,
    /// The prompt, then what was written.
    pub(crate) tokens: Vec<u32>,
    /// How many of them are in the cache, or will be after the present step.
    pub(crate) computed: usize,
    /// Tokens that were found in the cache.
    pub(crate) cached: usize,
    pub(crate) pages: Vec<u32>,
    /// Pages that were promised and are not taken yet.
    promised: usize,
    /// How many pages are remembered by what they hold, and what the last of them holds.
    remembered: usize,
    content: Content,
    started: bool,
    pub(crate) prompt_scores: Vec<TokenScore>,
    pub(crate) deadline: Option<Instant>,
    queued: Instant,
    begun: Instant,
    first: Option<Instant>,
    /// The most sequences that shared a step with it.
    pub(crate) company: usize,
}

impl Sequence {
    /// Begins a request, if the pages that it may need can be promised.
    pub(crate) fn begin(
        work: Work,
        beginning: Content,
        pages: &mut Pages,
        (queued, deadline): (Instant, Option<Instant>),
    ) -> std::result::Result<Sequence, Box<Work>> {
        let need = work.pages();
        if !pages.promise(need) {
            return Err(Box::new(work));
        }
        Ok(Sequence {
            tokens: work.prompt.clone(),
            work,
            computed: 0,
            cached: 0,
            pages: Vec::new(),
            promised: need,
            remembered: 0,
            content: beginning,
            started: false,
            prompt_scores: Vec::new(),
            deadline,
            queued,
            begun: Instant::now(),
            first: None,
            company: 0,
        })
    }

    /// Whether the whole prompt is in the cache.
    pub(crate) fn is_read(&self) -> bool {
        self.computed >= self.work.prompt.len()
    }

    /// Tokens that are not in the cache yet.
    pub(crate) fn left(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Takes over what the cache holds of the prompt. The last token is computed in any case:
    /// what follows from it is wanted.
    pub(crate) fn share(&mut self, pages: &mut Pages) {
        if std::mem::replace(&mut self.started, true) || self.work.prompt_scores {
            return;
        }
        let but_last = &self.tokens[..self.tokens.len().saturating_sub(1)];
        let (shared, content) = pages.share(self.content, but_last);
        self.promised -= shared.len();
        self.remembered = shared.len();
        self.computed = shared.len() * PAGE;
        self.cached = self.computed;
        self.content = content;
        self.pages = shared;
    }

    /// Makes room for the next `count` tokens and counts them as computed; gives their range.
    pub(crate) fn advance(&mut self, count: usize, pages: &mut Pages) -> std::ops::Range<usize> {
        let from = self.computed;
        self.computed += count;
        while self.pages.len() * PAGE < self.computed {
            // What was promised is there.
            let Some(page) = pages.take() else { break };
            self.promised = self.promised.saturating_sub(1);
            self.pages.push(page);
        }
        while (self.remembered + 1) * PAGE <= self.computed {
            let at = self.remembered;
            let Ok(tokens) = self.tokens[at * PAGE..(at + 1) * PAGE].try_into() else { break };
            self.content = pages.remember(self.pages[at], self.content, tokens);
            self.remembered += 1;
        }
        from..self.computed
    }

    /// Notes that the first token is written.
    pub(crate) fn wrote(&mut self) {
        self.first.get_or_insert_with(Instant::now);
    }

    /// Sends a piece of the text; false when nobody waits for it any more.
    pub(crate) fn send(&mut self, all: bool) -> bool {
        let Goal::Write(writing) = &mut self.work.goal else { return true };
        if !all && !writing.streams() {
            return !self.work.reply.is_cancelled();
        }
        match writing.writer.piece(all) {
            Some(delta) => self.work.reply.send(Event::Delta(delta)),
            None => !self.work.reply.is_cancelled(),
        }
    }

    /// What every answer says.
    pub(crate) fn answer(&mut self, finish: Finish) -> Answer {
        let now = Instant::now();
        Answer {
            prompt_tokens: self.work.prompt.len(),
            completion_tokens: self.tokens.len() - self.work.prompt.len(),
            cached_tokens: self.cached,
            prompt_scores: std::mem::take(&mut self.prompt_scores),
            finish,
            latency: now - self.queued,
            timing: Timing {
                queued: self.begun - self.queued,
                computed: now - self.begun,
                batch: self.company,
                first: self.first.map(|first| first - self.queued),
            },
            ..Answer::default()
        }
    }

    /// Takes the tokens that the constraint leaves no choice about; false when they are more than
    /// may be written.
    pub(crate) fn take_forced(&mut self) -> Result<bool> {
        let written = self.tokens.len() - self.work.prompt.len();
        let scores = self.work.logprobs.is_some();
        let Goal::Write(writing) = &mut self.work.goal else { return Ok(true) };
        // Who asks for probabilities gets those of every token.
        let Some(guide) = writing.guide.as_mut().filter(|_| !scores) else { return Ok(true) };
        for id in guide.matcher.forced() {
            if self.tokens.len() - self.work.prompt.len() >= writing.most {
                return Ok(false);
            }
            guide.matcher.accept(id)?;
            writing.sampler.accept(id);
            writing.writer.push(id, None);
            self.tokens.push(id);
        }
        if self.tokens.len() - self.work.prompt.len() > written {
            self.first.get_or_insert_with(Instant::now);
        }
        Ok(true)
    }

    /// Gives the pages back and the request, to be begun again, with when it was queued and when
    /// it must be answered.
    pub(crate) fn into_work(self, pages: &mut Pages) -> (Work, Instant, Option<Instant>) {
        pages.leave(&self.pages);
        pages.release_promise(self.promised);
        (self.work, self.queued, self.deadline)
    }

    /// Ends the request and gives its pages back.
    pub(crate) fn end(self, result: Result<Answer>, pages: &mut Pages) {
        pages.leave(&self.pages);
        pages.release_promise(self.promised);
        self.work.reply.end(result);
    }

    /// Whether it can end without an answer: nobody waits, or the time is over.
    pub(crate) fn is_vain(&self, now: Instant) -> bool {
        self.work.reply.is_cancelled() || self.is_late(now)
    }

    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}
