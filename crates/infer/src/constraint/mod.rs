//! Answers that satisfy a constraint by construction.
//!
//! [`Grammars`] turns a [`Constraint`] into a [`Matcher`], which says before every token which
//! ones may come next. JSON is written without white space and in the order in which the schema
//! names its members. A keyword that cannot be enforced token by token is left out of the
//! grammar and checked on the finished answer ([`Matcher::finish`]); [`Enforced`] says which
//! happened. A keyword that is not known is an error.
//!
//! `lower` turns any schema into one that can be enforced, `compiled` that into a grammar;
//! `llguidance` does the matching and `jsonschema` judges the finished answer.

mod bounds;
mod cache;
mod compiled;
mod compilers;
mod document;
mod formats;
mod judge;
mod keywords;
mod leaves;
mod lower;
mod matcher;
mod pointer;
mod reach;
mod tools;
mod vocabulary;

pub use judge::{SchemaCheck, Validity};
pub use matcher::{Enforced, Matcher};
pub use tools::{Call, calls};

use crate::codes;
use crate::request::Constraint;
use cache::Cache;
use compiled::Compiled;
use compilers::Compilers;
use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use sprat_model::TextTokenizer;
use sprat_task::{Error, Result};
use std::sync::Arc;

/// Compiles constraints for the vocabulary of one model. Cheap to clone.
#[derive(Clone)]
pub struct Grammars {
    shared: Arc<Shared>,
}

struct Shared {
    factory: ParserFactory,
    vocabulary: usize,
    ends: Vec<u32>,
    cache: Cache<Arc<Compiled>>,
    compilers: Compilers,
}

impl Grammars {
    /// Prepares the vocabulary of a tokenizer; takes well under a second.
    ///
    /// # Errors
    /// [`codes::CONSTRAINT`] when the vocabulary cannot be used.
    pub fn new(tokenizer: &Arc<TextTokenizer>) -> Result<Self> {
        let environment = vocabulary::environment(tokenizer);
        let capabilities = InferenceCapabilities { ff_tokens: true, ..Default::default() };
        let slices = SlicedBiasComputer::json_slices();
        let mut factory =
            ParserFactory::new(&environment, capabilities, &slices).map_err(|why| {
                Error::new(&codes::CONSTRAINT, "the vocabulary cannot be constrained")
                    .why(why.to_string())
            })?;
        factory.quiet();
        *factory.limits_mut() = bounds::parser();
        let shared = Shared {
            factory,
            vocabulary: tokenizer.vocabulary(),
            ends: tokenizer.ends().to_vec(),
            cache: Cache::new(bounds::KEPT),
            compilers: Compilers::default(),
        };
        Ok(Grammars { shared: Arc::new(shared) })
    }

    /// The beginning of an answer under a constraint. What was compiled is kept for the next
    /// one, up to a bound; also where it took so long that nobody waits for it any more.
    ///
    /// # Errors
    /// [`codes::SCHEMA`], [`codes::GRAMMAR`] and [`codes::CONSTRAINT`] for a constraint that
    /// cannot be used, [`codes::COMPLEX`] for one past the limits, that on time included,
    /// [`codes::BUSY`] when too many others are being compiled.
    pub fn compile(&self, constraint: &Constraint) -> Result<Matcher> {
        let key = cache::key(constraint)?;
        let compiled = match self.shared.cache.get(&key) {
            Some(compiled) => compiled,
            None => {
                let (shared, constraint) = (Arc::clone(&self.shared), constraint.clone());
                self.shared.compilers.run(bounds::COMPILING, move || {
                    let Shared { factory, vocabulary, ends, cache, .. } = &*shared;
                    let compiled = Compiled::new(factory, &constraint, *vocabulary, ends)?;
                    let compiled = Arc::new(compiled);
                    cache.put(key, Arc::clone(&compiled));
                    Ok(compiled)
                })?
            }
        };
        Matcher::new(compiled)
    }
}

#[cfg(test)]
mod tests;
