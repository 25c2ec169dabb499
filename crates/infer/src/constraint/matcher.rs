//! One answer on its way through its constraint.

use super::compiled::Compiled;
use super::judge::Validity;
use crate::codes;
use sprat_task::{Error, Result};
use std::sync::Arc;

/// How far an answer can be relied on to satisfy its constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// Every token was chosen among those that the constraint allows.
    Exact,
    /// Some keywords of the schema cannot be enforced token by token: they were checked on the
    /// finished answer.
    Validated {
        /// Those keywords, sorted.
        keywords: Vec<String>,
        /// How many answers were thrown away before this one.
        retries: u32,
    },
}

/// Follows one answer and says which tokens may come next. Cheap to make from a
/// [`super::Grammars`], which keeps what was compiled.
pub struct Matcher {
    inner: llguidance::Matcher,
    compiled: Arc<Compiled>,
    mask: Vec<u32>,
    /// The text so far is complete.
    complete: bool,
    /// A token that ends the answer was accepted.
    ended: bool,
}

impl Matcher {
    pub(super) fn new(compiled: Arc<Compiled>) -> Result<Self> {
        let mut inner = compiled.start();
        let complete = inner.is_accepting().map_err(|why| stuck(&why.to_string()))?;
        let mask = vec![0; compiled.vocabulary().div_ceil(32)];
        Ok(Matcher { inner, compiled, mask, complete, ended: false })
    }

    /// The beginning of another answer under the same constraint; nothing is compiled.
    ///
    /// # Errors
    /// [`codes::MASK`], as at the beginning of the first.
    pub fn again(&self) -> Result<Self> {
        Matcher::new(Arc::clone(&self.compiled))
    }

    /// The tokens that may come next, one bit each: token `id` is bit `id % 32` of word
    /// `id / 32`. The tokens that end an answer are among them when it may end here.
    ///
    /// # Errors
    /// [`codes::MASK`] when there is none, or finding them takes too long.
    pub fn mask(&mut self) -> Result<&[u32]> {
        if self.ended {
            return Err(stuck("the answer has ended"));
        }
        self.mask.fill(0);
        if !self.inner.is_stopped() {
            let allowed = self.inner.compute_mask().map_err(|why| stuck(&why.to_string()))?;
            for (word, allowed) in self.mask.iter_mut().zip(allowed.as_slice()) {
                *word = *allowed;
            }
            self.clear(self.compiled.vocabulary());
        }
        if self.complete {
            for &end in self.compiled.ends() {
                if let Some(word) = self.mask.get_mut(end as usize / 32) {
                    *word |= 1 << (end % 32);
                }
            }
        } else if self.mask.iter().all(|word| *word == 0) {
            return Err(stuck("no token of the model continues the answer"));
        }
        Ok(&self.mask)
    }

    /// Clears the bit of the matcher's own end.
    fn clear(&mut self, bit: usize) {
        if let Some(word) = self.mask.get_mut(bit / 32) {
            *word &= !(1 << (bit % 32));
        }
    }

    /// Goes on with a token.
    ///
    /// # Errors
    /// [`codes::MASK`] when the constraint does not allow it here; the matcher is then as before.
    pub fn accept(&mut self, id: u32) -> Result<()> {
        let refused = || stuck(&format!("token {id} is not allowed here"));
        if self.ended {
            return Err(refused());
        }
        if self.compiled.ends().contains(&id) {
            self.ended = self.complete;
            return if self.complete { Ok(()) } else { Err(refused()) };
        }
        let known = (id as usize) < self.compiled.vocabulary();
        if !known || self.inner.is_stopped() {
            return Err(refused());
        }
        let fits = self.inner.validate_tokens(&[id]).map_err(|why| stuck(&why.to_string()))?;
        if fits != 1 {
            return Err(refused());
        }
        self.inner.consume_token(id).map_err(|why| stuck(&why.to_string()))?;
        self.complete = match self.inner.is_stopped() {
            true => self.inner.stop_reason().is_ok(),
            false => self.inner.is_accepting().map_err(|why| stuck(&why.to_string()))?,
        };
        Ok(())
    }

    /// The tokens that must come next, whatever the model says; often none. They are not
    /// accepted yet.
    pub fn forced(&mut self) -> Vec<u32> {
        if self.ended || self.complete || self.inner.is_stopped() {
            return Vec::new();
        }
        let mut tokens = self.inner.compute_ff_tokens();
        // A vocabulary that cannot spell every byte could have left some out.
        let fit = self.inner.validate_tokens(&tokens).unwrap_or(0);
        tokens.truncate(fit);
        tokens
    }

    /// Whether the text so far is complete.
    pub fn may_end(&self) -> bool {
        self.complete
    }

    /// Whether nothing can follow the text so far.
    pub fn must_end(&self) -> bool {
        self.ended || (self.complete && self.inner.is_stopped())
    }

    /// Judges the finished answer, whose whole text is `text`. It may be invalid although every
    /// token was allowed, see [`Matcher::enforced`]; then another answer may be tried.
    ///
    /// # Errors
    /// [`codes::THREAD`] and [`codes::PANIC`].
    pub fn finish(&self, text: &str) -> Result<Validity> {
        if !self.complete {
            return Ok(Validity::Invalid { why: "the answer is not complete".into() });
        }
        self.compiled.judge(text)
    }

    /// Whether an answer is valid for sure, or only after [`Matcher::finish`] has said so.
    /// `retries` is the number of answers that were thrown away.
    pub fn enforced(&self, retries: u32) -> Enforced {
        match self.compiled.validated() {
            [] => Enforced::Exact,
            keywords => Enforced::Validated { keywords: keywords.to_vec(), retries },
        }
    }
}

fn stuck(why: &str) -> Error {
    Error::new(&codes::MASK, "the answer cannot go on under its constraint").why(why)
}
