use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Knows a few words; fails on "fail", panics on "panic", waits at a gate on "gate".
#[derive(Default)]
struct Fake {
    labels: Vec<String>,
    open: Mutex<bool>,
    opened: Condvar,
    texts: AtomicUsize,
    largest: AtomicUsize,
}

impl Fake {
    fn new() -> Arc<Self> {
        let labels = ["card", "loan", "other"].map(String::from).to_vec();
        Arc::new(Fake { labels, ..Fake::default() })
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl TextClassifier for Fake {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn classify(&self, texts: &[&str]) -> Result<Vec<Scored>> {
        self.largest.fetch_max(texts.len(), Ordering::SeqCst);
        self.texts.fetch_add(texts.len(), Ordering::SeqCst);
        let mut scored = Vec::new();
        for text in texts {
            match *text {
                "panic" => panic!("as asked"),
                "fail" => return Err(Error::new(&codes::INPUT, "as asked")),
                "gate" => {
                    let mut open = self.open.lock().unwrap();
                    while !*open {
                        open = self.opened.wait(open).unwrap();
                    }
                }
                _ => {}
            }
            let probabilities = match text.split(' ').next() {
                Some("card") => vec![0.8, 0.15, 0.05],
                Some("loan") => vec![0.1, 0.7, 0.2],
                _ => vec![0.2, 0.2, 0.6],
            };
            scored.push(Scored { probabilities, tokens: text.len(), cut: 0, embedding: None });
        }
        Ok(scored)
    }
}

fn engine(fake: &Arc<Fake>, limits: Limits) -> EncoderEngine {
    EncoderEngine::start("test", Arc::clone(fake) as Arc<dyn TextClassifier>, limits).unwrap()
}

/// Makes the engine busy, and waits until it is.
fn occupy(engine: &EncoderEngine, fake: &Fake) -> Pending {
    let before = fake.texts.load(Ordering::SeqCst);
    let pending = engine.submit(Request::text("gate")).unwrap();
    while fake.texts.load(Ordering::SeqCst) == before {
        std::thread::sleep(Duration::from_millis(1));
    }
    pending
}

#[test]
fn a_request_is_answered_with_label_confidence_and_scores() {
    let engine = engine(&Fake::new(), Limits::default());
    let answer = engine.answer(Request::text("card lost")).unwrap();
    assert_eq!(answer.output, "card");
    assert_eq!(answer.label.as_deref(), Some("card"));
    assert_eq!(answer.confidence, Some(0.8));
    assert_eq!(answer.scores[1], ("loan".to_string(), 0.15));
    assert_eq!(answer.prompt_tokens, 9);
    assert_eq!(answer.timing.batch, 1);
    assert_eq!(answer.latency, answer.timing.queued + answer.timing.computed);
}

#[test]
fn what_waits_while_the_model_computes_shares_the_next_batch() {
    let fake = Fake::new();
    let engine = engine(&fake, Limits { max_batch: 4, ..Limits::default() });
    let first = occupy(&engine, &fake);
    let rest: Vec<Pending> =
        (0..6).map(|n| engine.submit(Request::text(format!("loan {n}"))).unwrap()).collect();
    fake.open();
    assert_eq!(first.wait().unwrap().timing.batch, 1);
    let batches: Vec<usize> =
        rest.into_iter().map(|pending| pending.wait().unwrap().timing.batch).collect();
    assert_eq!(batches, [4, 4, 4, 4, 2, 2]);
}

#[test]
fn a_batch_holds_no_more_tokens_than_allowed() {
    let fake = Fake::new();
    let engine = engine(&fake, Limits { max_tokens: 100, ..Limits::default() });
    let first = occupy(&engine, &fake);
    let long = "x".repeat(150);
    let rest: Vec<Pending> =
        (0..3).map(|_| engine.submit(Request::text(long.clone())).unwrap()).collect();
    fake.open();
    first.wait().unwrap();
    for pending in rest {
        assert_eq!(pending.wait().unwrap().timing.batch, 1);
    }
}

#[test]
fn a_full_queue_is_busy_and_recovers() {
    let fake = Fake::new();
    let engine = engine(&fake, Limits { queue: 2, ..Limits::default() });
    let first = occupy(&engine, &fake);
    let waiting: Vec<Pending> =
        (0..2).map(|_| engine.submit(Request::text("card")).unwrap()).collect();
    assert_eq!(engine.load(), Load { waiting: 2, capacity: 2 });
    let error = engine.submit(Request::text("card")).err().unwrap();
    assert_eq!(error.code(), &codes::BUSY);
    fake.open();
    first.wait().unwrap();
    waiting.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    assert_eq!(engine.answer(Request::text("card")).unwrap().output, "card");
}

#[test]
fn a_cancelled_request_is_never_computed() {
    let fake = Fake::new();
    let engine = engine(&fake, Limits::default());
    let first = occupy(&engine, &fake);
    drop(engine.submit(Request::text("card")).unwrap());
    fake.open();
    first.wait().unwrap();
    engine.close();
    assert_eq!(fake.texts.load(Ordering::SeqCst), 1);
}

#[test]
fn a_request_past_its_deadline_is_not_computed() {
    let fake = Fake::new();
    let engine = engine(&fake, Limits::default());
    let first = occupy(&engine, &fake);
    let late = engine.submit(Request::text("card").until(Instant::now())).unwrap();
    fake.open();
    first.wait().unwrap();
    assert_eq!(late.wait().unwrap_err().code(), &codes::TIMEOUT);
    assert_eq!(fake.texts.load(Ordering::SeqCst), 1);
}

#[test]
fn one_bad_text_does_not_fail_its_neighbours() {
    for (bad, code) in [("fail", &codes::INPUT), ("panic", &codes::PANIC)] {
        let fake = Fake::new();
        let engine = engine(&fake, Limits::default());
        let first = occupy(&engine, &fake);
        let pending: Vec<Pending> =
            ["card", bad, "loan"].map(|text| engine.submit(Request::text(text)).unwrap()).into();
        fake.open();
        first.wait().unwrap();
        let results: Vec<Result<Answer>> = pending.into_iter().map(Pending::wait).collect();
        assert_eq!(results[0].as_ref().unwrap().output, "card");
        assert_eq!(results[1].as_ref().unwrap_err().code(), code);
        assert_eq!(results[2].as_ref().unwrap().output, "loan");
    }
}

#[test]
fn dropping_the_engine_answers_what_waits() {
    let fake = Fake::new();
    let engine = engine(&fake, Limits::default());
    let first = occupy(&engine, &fake);
    let second = engine.submit(Request::text("card")).unwrap();
    drop(engine);
    fake.open();
    first.wait().unwrap();
    assert_eq!(second.wait().unwrap().output, "card");
}

#[test]
fn a_constraint_to_labels_is_kept_or_refused() {
    let engine = engine(&Fake::new(), Limits::default());
    let only = |labels: &[&str]| {
        let labels = labels.iter().map(|label| (*label).to_string()).collect();
        engine.answer(Request::text("card lost").constrained(Constraint::Labels(labels)))
    };
    let answer = only(&["loan", "other"]).unwrap();
    assert_eq!(answer.output, "loan");
    assert!((answer.confidence.unwrap() - 0.75).abs() < 1e-6);
    assert_eq!(answer.scores[0].1, 0.0);
    assert_eq!(only(&["card", "loan", "other"]).unwrap().confidence, Some(0.8));
    assert_eq!(only(&["card", "mortgage"]).unwrap_err().code(), &codes::CONSTRAINT);
    assert_eq!(only(&[]).unwrap_err().code(), &codes::CONSTRAINT);
    let free = Constraint::JsonSchema(serde_json::json!({}));
    let refused = engine.answer(Request::text("card").constrained(free));
    assert_eq!(refused.unwrap_err().code(), &codes::CONSTRAINT);
}

#[test]
fn an_async_caller_gets_the_same_answer() {
    let engine = engine(&Fake::new(), Limits::default());
    let pending = engine.submit(Request::text("loan")).unwrap();
    assert_eq!(block_on(pending.answer()).unwrap().output, "loan");
}

/// A minimal executor: parks this thread until the future wakes it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
