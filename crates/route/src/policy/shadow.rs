//! *Shadow*: the large models are asked about a share of what the small one kept, after its answer
//! was given. Their answers are compared and recorded, never shown.

use crate::Upstreams;
use rand::Rng;
use sprat_eval::{Interval, LEVEL, wilson};
use sprat_infer::{Answer, Request};
use sprat_task::random;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// A request that both sides answered.
#[derive(Clone, Debug)]
pub struct Compared {
    /// What was asked.
    pub request: Request,
    /// The answer that was given.
    pub small: Answer,
    /// The large model's answer.
    pub large: Answer,
    /// The name of the large model.
    pub model: String,
    /// Whether they say the same.
    pub agrees: bool,
}

/// Takes comparisons. It must not block.
pub trait ShadowSink: Send + Sync {
    /// Takes one comparison.
    fn compared(&self, compared: Compared);
}

/// What became of shadowed requests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ShadowCounts {
    /// Requests that were to be asked again.
    pub chosen: u64,
    /// Those of which both answers are there.
    pub compared: u64,
    /// Those of them in which both say the same.
    pub agreed: u64,
    /// Those that no large model answered, for whatever reason; a spent budget is one.
    pub unanswered: u64,
    /// Those that were left out because too many were on their way.
    pub dropped: u64,
}

/// Asks the large models again.
pub struct Shadow {
    share: f64,
    places: Arc<Semaphore>,
    sink: Arc<dyn ShadowSink>,
    seen: AtomicU64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    chosen: AtomicU64,
    compared: AtomicU64,
    agreed: AtomicU64,
    unanswered: AtomicU64,
    dropped: AtomicU64,
}

impl ShadowCounts {
    /// What became of those of which something is known, by name.
    pub fn outcomes(&self) -> [(&'static str, u64); 4] {
        [
            ("agreed", self.agreed),
            ("disagreed", self.compared.saturating_sub(self.agreed)),
            ("unanswered", self.unanswered),
            ("dropped", self.dropped),
        ]
    }

    /// How often both say the same (Wilson's interval); none before anything was compared.
    pub fn agreement(&self) -> Option<Interval> {
        (self.compared > 0).then(|| wilson(self.agreed, self.compared, LEVEL))
    }
}

impl Shadow {
    /// A shadow over a share of requests, with so many on their way at most.
    pub fn new(share: f64, places: usize, sink: Arc<dyn ShadowSink>) -> Self {
        Shadow {
            share,
            places: Arc::new(Semaphore::new(places)),
            sink,
            seen: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// What became of shadowed requests so far.
    pub fn counts(&self) -> ShadowCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ShadowCounts {
            chosen: read(&self.counts.chosen),
            compared: read(&self.counts.compared),
            agreed: read(&self.counts.agreed),
            unanswered: read(&self.counts.unanswered),
            dropped: read(&self.counts.dropped),
        }
    }

    /// Whether the next request is asked again. A fixed stream of draws: which requests these are
    /// depends on their order alone, and no client can tell.
    fn chooses(&self) -> bool {
        let number = self.seen.fetch_add(1, Ordering::Relaxed);
        random::stream(number, "route shadow").random::<f64>() < self.share
    }

    /// Takes a request that was answered; `asked` is how the large models are asked.
    pub(crate) fn offer(
        self: &Arc<Self>,
        on: &Handle,
        large: &Arc<Upstreams>,
        asked: impl FnOnce() -> Request,
        small: &Answer,
    ) {
        if !self.chooses() {
            return;
        }
        self.counts.chosen.fetch_add(1, Ordering::Relaxed);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (shadow, large) = (Arc::clone(self), Arc::clone(large));
        // The client waits no longer: its deadline is not this request's.
        let request = Request { deadline: None, ..asked() };
        let small = small.clone();
        on.spawn(async move {
            match large.ask(&request).await {
                Ok((answer, model)) => {
                    let agrees = agree(&small, &answer);
                    shadow.counts.compared.fetch_add(1, Ordering::Relaxed);
                    shadow.counts.agreed.fetch_add(u64::from(agrees), Ordering::Relaxed);
                    let model = model.to_owned();
                    let compared = Compared { request, small, large: answer, model, agrees };
                    shadow.sink.compared(compared);
                }
                Err(_) => {
                    shadow.counts.unanswered.fetch_add(1, Ordering::Relaxed);
                }
            }
            drop(place);
        });
    }
}

/// Whether two answers say the same: the same label, the same JSON value, or the same text but for
/// white space around it.
pub fn agree(a: &Answer, b: &Answer) -> bool {
    if let (Some(a), Some(b)) = (&a.label, &b.label) {
        return a == b;
    }
    let (a, b) = (a.output.trim(), b.output.trim());
    if a == b {
        return true;
    }
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    // Texts that merely happen to be no JSON are not equal.
    matches!((value(a), value(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl ShadowSink for Nobody {
        fn compared(&self, _: Compared) {}
    }

    #[test]
    fn about_the_share_is_chosen_and_the_choice_is_the_same_every_time() {
        let chosen = |share| {
            let shadow = Shadow::new(share, 1, Arc::new(Nobody));
            (0..2000).map(|_| shadow.chooses()).collect::<Vec<_>>()
        };
        let tenth = chosen(0.1);
        let count = tenth.iter().filter(|chosen| **chosen).count();
        assert!((150..250).contains(&count), "{count}");
        assert_eq!(tenth, chosen(0.1));
        assert!(chosen(1.0).iter().all(|chosen| *chosen) && !chosen(0.0).contains(&true));
    }

    #[test]
    fn answers_agree_by_what_they_say() {
        let label = |label: &str| Answer { label: Some(label.into()), ..Answer::default() };
        let text = |output: &str| Answer { output: output.into(), ..Answer::default() };
        assert!(agree(&label("a"), &label("a")) && !agree(&label("a"), &label("b")));
        assert!(agree(&text("{\"a\": 1, \"b\": 2}"), &text("{\"b\":2,\"a\":1}")));
        assert!(!agree(&text("{\"a\": 1}"), &text("{\"a\": 2}")));
        assert!(agree(&text(" yes\n"), &text("yes")) && !agree(&text("yes"), &text("no")));
    }
}
