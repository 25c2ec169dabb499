//! The watch over made-up streams: its false alarms are as rare as stated, shifts are found, and
//! a watch that was written down goes on bit for bit.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use rand::Rng;
use sprat_monitor::{Observation, Watch, WatchOptions};
use sprat_task::random::{ChaCha8Rng, stream};

const LABELS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A request; `moved` ones are longer, less confident and all of one label.
fn request(rng: &mut ChaCha8Rng, moved: bool) -> Observation<'static> {
    let mut unit = || rng.random::<f64>();
    Observation {
        length: Some((unit() * 40.0).floor() + if moved { 30.0 } else { 0.0 }),
        label: Some(if moved { "b" } else { LABELS[(unit() * 6.0) as usize] }),
        confidence: Some(unit().sqrt() * if moved { 0.6 } else { 1.0 }),
        valid: Some(unit() > 0.01),
        refused: Some(unit() < 0.05),
        latency_ms: Some(5.0 - unit().ln()),
        ..Observation::default()
    }
}

fn watch(rng: &mut ChaCha8Rng, history: usize, per: f64) -> Watch {
    let history: Vec<_> = (0..history).map(|_| request(rng, false)).collect();
    Watch::fit(&history, WatchOptions { false_alarms_per: per, ..WatchOptions::default() })
}

#[test]
fn clean_streams_give_no_more_alarms_than_stated_even_after_a_short_history() {
    for history in [128, 1000] {
        let mut rng = stream(1, "clean");
        let (mut alarms, mut requests) = (0, 0);
        for _ in 0..12 {
            let mut watch = watch(&mut rng, history, 2000.0);
            for _ in 0..8000 {
                alarms += watch.observe(&request(&mut rng, false)).len();
                requests += 1;
            }
        }
        assert!(alarms as f64 <= requests as f64 / 2000.0, "{alarms} in {requests}");
    }
}

#[test]
fn shifts_are_found_sooner_the_larger_they_are() {
    let delay = |share: f64, stream_number: u64| {
        let mut rng = stream(stream_number, "planted");
        let mut watch = watch(&mut rng, 2000, 100_000.0);
        for _ in 0..3000 {
            assert!(watch.observe(&request(&mut rng, false)).is_empty());
        }
        let found = (1..20_000).find(|_| {
            let moved = rng.random::<f64>() < share;
            !watch.observe(&request(&mut rng, moved)).is_empty()
        });
        let since = watch.standings().find_map(|standing| standing.alarm).unwrap().since;
        assert!(since.abs_diff(3000) < 1500, "{since}");
        found.unwrap()
    };
    let mean = |share| (0..7).map(|at| delay(share, at)).sum::<u32>() / 7;
    let delays = [0.05, 0.1, 0.25, 0.5].map(mean);
    assert!(delays.windows(2).all(|pair| pair[0] > pair[1]), "{delays:?}");
    assert!(delays[3] < 100, "{delays:?}");
}

#[test]
fn a_watch_that_was_written_down_goes_on_bit_for_bit() {
    let mut rng = stream(3, "state");
    let mut one = watch(&mut rng, 500, 1000.0);
    let stream: Vec<_> = (0..3000).map(|at| request(&mut rng, at > 2000)).collect();
    stream[..1500].iter().for_each(|seen| drop(one.observe(seen)));
    let written = serde_json::to_string(&one).unwrap();
    let mut other: Watch = serde_json::from_str(&written).unwrap();
    assert_eq!(one, other);
    for seen in &stream[1500..] {
        assert_eq!(one.observe(seen), other.observe(seen));
    }
    assert_eq!(one, other);
    assert!(one.alarmed());
    one.acknowledge();
    assert!(!one.alarmed());
}

#[test]
fn tests_that_cannot_see_say_so() {
    let mut rng = stream(4, "blind");
    let mut watch = watch(&mut rng, 500, 1000.0);
    let only_length = Observation { length: Some(20.0), ..Observation::default() };
    for _ in 0..100 {
        watch.observe(&only_length);
    }
    for standing in watch.standings() {
        assert_eq!(standing.blind(), standing.test.name() != "length", "{standing:?}");
    }
    let nothing = Watch::fit(&[], WatchOptions::default());
    assert!(nothing.standings().all(|standing| standing.blind()));
}
