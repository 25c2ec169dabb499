//! From a served request to a row, and what happens when the database is slow or broken.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use sprat_monitor::{
    HashKey, Observed, Options, Recorder, Retention, TextPolicy, TraceFilter, TraceLog, TraceRow,
};
use sprat_store::Traces;
use sprat_task::{Clock, FakeClock, Interrupt, Result, Timestamp};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const ALL: TraceFilter =
    TraceFilter { task: None, version: None, since: None, before: None, after: 0, limit: None };

fn clock() -> Arc<dyn Clock> {
    Arc::new(FakeClock::new(Timestamp(1_000_000)))
}

fn request(at: usize) -> Observed {
    Observed {
        id: format!("request-{at}"),
        task: "intent".into(),
        version: "intent@v1".into(),
        text: format!("where is card {at}?"),
        label: Some("card_arrival".into()),
        confidence: Some(0.75),
        scores: vec![
            ("b".into(), 0.2),
            ("a".into(), 0.75),
            ("c".into(), f32::NAN),
            ("d".into(), 0.05),
        ],
        latency: Duration::from_micros(2500),
        prompt_tokens: 7,
        status: 200,
        ..Observed::default()
    }
}

fn rows(path: &Path) -> Vec<TraceRow> {
    TraceLog::open(path).unwrap().read(&ALL).unwrap().into_iter().map(|(_, row)| row).collect()
}

#[test]
fn a_request_becomes_a_row_and_shutdown_writes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.sqlite");
    let options = Options { scores: 2, delay: Duration::from_secs(3600), ..Options::default() };
    let recorder = Recorder::start(&path, options, clock()).unwrap();
    for at in 0..3 {
        assert!(recorder.record(request(at)));
    }
    let stats = recorder.shutdown();
    assert_eq!((stats.recorded, stats.written, stats.dropped, stats.lost), (3, 3, 0, 0));
    let rows = rows(&path);
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[0].id.as_str(), rows[0].at), ("request-0", Timestamp(1_000_000)));
    assert_eq!(rows[0].text.as_deref(), Some("where is card 0?"));
    assert_eq!((rows[0].latency_ms, rows[0].confidence, rows[0].status), (2.5, Some(0.75), 200));
    let best: Vec<&str> = rows[0].scores.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(best, ["a", "b"], "the best two, best first, without what is not a number");
}

#[test]
fn the_policy_decides_what_is_kept_of_a_text() {
    for policy in [TextPolicy::Hash(HashKey::new("salt")), TextPolicy::Drop] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.sqlite");
        let options = Options { text: policy.clone(), ..Options::default() };
        let recorder = Recorder::start(&path, options, clock()).unwrap();
        recorder.record(request(1));
        recorder.record(request(1));
        recorder.record(request(2));
        recorder.flush().unwrap();
        let rows = rows(&path);
        assert!(rows.iter().all(|row| row.text.is_none()));
        let hashed = matches!(policy, TextPolicy::Hash(_));
        assert!(rows.iter().all(|row| row.text_hash.is_some() == hashed));
        if hashed {
            assert_eq!(rows[0].text_hash, rows[1].text_hash);
            assert_ne!(rows[0].text_hash, rows[2].text_hash);
        }
        drop(recorder);
        // Not a trace of the words in any file, the write-ahead log included.
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(13).any(|window| window == b"where is card"));
        }
    }
}

/// A database that waits for the test, or fails as long as the test wants.
#[derive(Default)]
struct Difficult {
    open: (Mutex<bool>, Condvar),
    broken: AtomicBool,
    rows: Mutex<Vec<TraceRow>>,
}

impl Traces for &'static Difficult {
    fn append(&self, rows: &[TraceRow]) -> Result<()> {
        let (open, changed) = &self.open;
        drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        if self.broken.load(Ordering::Relaxed) {
            return Err(sprat_task::Error::new(&sprat_store::codes::FULL, "the disk is full"));
        }
        self.rows.lock().unwrap().extend_from_slice(rows);
        Ok(())
    }

    fn count(&self, _: &TraceFilter) -> Result<u64> {
        unreachable!("not asked")
    }

    fn read(&self, _: &TraceFilter) -> Result<Vec<(u64, TraceRow)>> {
        unreachable!("not asked")
    }

    fn newest(&self) -> Result<Option<TraceRow>> {
        unreachable!("not asked")
    }

    fn prune(&self, _: Option<Timestamp>, _: Option<u64>) -> Result<u64> {
        unreachable!("not asked")
    }

    fn check(&self) -> Result<Vec<String>> {
        unreachable!("not asked")
    }
}

impl Difficult {
    fn new(open: bool, broken: bool) -> &'static Difficult {
        let difficult = Box::leak(Box::new(Difficult::default()));
        difficult.broken = AtomicBool::new(broken);
        *difficult.open.0.get_mut().unwrap() = open;
        difficult
    }

    fn let_through(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }
}

#[test]
fn a_stuck_database_makes_nobody_wait_and_every_drop_is_counted() {
    let database = Difficult::new(false, false);
    let delay = Duration::from_millis(1);
    let options = Options { queue: 10, batch: 5, delay, ..Options::default() };
    let recorder = Recorder::over(Box::new(database), options, clock()).unwrap();
    let start = Instant::now();
    let taken = (0..100_000).filter(|at| recorder.record(request(*at))).count() as u64;
    assert!(start.elapsed() < Duration::from_secs(10), "recording waited for the database");
    let stats = recorder.stats();
    assert!((10..100).contains(&taken), "{taken} fit into a queue of 10 and a batch of 5");
    assert_eq!((stats.recorded, stats.dropped, stats.written), (taken, 100_000 - taken, 0));
    database.let_through();
    let stats = recorder.shutdown();
    assert_eq!((stats.written, stats.lost), (taken, 0));
    assert_eq!(database.rows.lock().unwrap().len() as u64, taken);
}

#[test]
fn a_full_disk_is_reported_and_what_waited_is_written_once_there_is_room() {
    let database = Difficult::new(true, true);
    let delay = Duration::from_millis(1);
    let options = Options { delay, ..Options::default() };
    let recorder = Recorder::over(Box::new(database), options, clock()).unwrap();
    recorder.record(request(1));
    let error = recorder.flush().unwrap_err();
    assert_eq!(error.code().id, "SPRAT-STORE-FULL");
    assert!(recorder.stats().error.unwrap().contains("full"));
    database.broken.store(false, Ordering::Relaxed);
    recorder.flush().unwrap();
    let stats = recorder.shutdown();
    assert_eq!((stats.written, stats.lost, stats.error), (1, 0, None));
}

#[test]
fn what_cannot_be_written_until_the_end_is_counted_as_lost() {
    let database = Difficult::new(true, true);
    let options = Options { delay: Duration::from_millis(1), batch: 2, ..Options::default() };
    let recorder = Recorder::over(Box::new(database), options, clock()).unwrap();
    for at in 0..7 {
        recorder.record(request(at));
    }
    let stats = recorder.shutdown();
    assert_eq!((stats.recorded, stats.written, stats.lost), (7, 0, 7));
    assert!(stats.error.is_some());
}

#[test]
fn several_servers_write_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.sqlite");
    std::thread::scope(|scope| {
        for server in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let options = Options { batch: 10, ..Options::default() };
                let recorder = Recorder::start(path, options, clock()).unwrap();
                for at in 0..100 {
                    recorder.record(request(server * 100 + at));
                }
                assert_eq!(recorder.shutdown().written, 100);
            });
        }
    });
    let mut ids: Vec<String> = rows(&path).into_iter().map(|row| row.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 400);
}

#[test]
fn retention_forgets_the_old_and_the_surplus() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.sqlite");
    let fill = |retention| {
        let prune_every = Duration::ZERO;
        let options = Options { retention, prune_every, ..Options::default() };
        let recorder = Recorder::start(&path, options, clock()).unwrap();
        for at in 0..20 {
            recorder.record(request(at));
        }
        recorder.flush().unwrap();
    };
    fill(Retention::default());
    let log = TraceLog::open(&path).unwrap();
    assert_eq!(log.count(&ALL).unwrap(), 20);
    let rows = Retention { rows: Some(15), age: None };
    assert_eq!(log.prune(&rows, Timestamp(1_000_020)).unwrap(), 5);
    let age = Retention { rows: None, age: Some(Duration::from_millis(10)) };
    assert_eq!(log.prune(&age, Timestamp(1_000_020)).unwrap(), 5);
    assert_eq!(log.count(&ALL).unwrap(), 10);
    fill(Retention { rows: Some(3), age: None });
    let start = Instant::now();
    let recorder = Recorder::start(
        &path,
        Options { retention: Retention { rows: Some(3), age: None }, ..Options::default() },
        clock(),
    )
    .unwrap();
    while log.count(&ALL).unwrap() > 3 {
        assert!(start.elapsed() < Duration::from_secs(20), "the writer did not prune");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(recorder);
}

#[test]
fn an_export_is_one_json_document_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.sqlite");
    let recorder = Recorder::start(&path, Options::default(), clock()).unwrap();
    for at in 0..2345 {
        recorder.record(request(at));
    }
    recorder.shutdown();
    let log = TraceLog::open(&path).unwrap();
    assert!(log.check().unwrap().is_empty());
    let mut out = Vec::new();
    assert_eq!(log.export(&ALL, &mut out, &Interrupt::default()).unwrap(), 2345);
    let text = String::from_utf8(out).unwrap();
    let rows: Vec<TraceRow> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(rows.iter().enumerate().all(|(at, row)| row.id == format!("request-{at}")));
    let some = TraceFilter { limit: Some(1500), ..ALL };
    assert_eq!(log.each(&some, |_| Ok(())).unwrap(), 1500);
}
