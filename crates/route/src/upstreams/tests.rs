use super::*;
use crate::{Limit, Limits};
use sprat_infer::remote::Settings;
use sprat_infer::remote::mock::{Act, Mock, Piece};
use sprat_infer::{Remote, network, reply};
use sprat_task::{FakeClock, Timestamp};

const NOW: Timestamp = Timestamp(1_000_000_000_000);

fn spent(large: &Upstreams) -> u64 {
    large.budget().spent(NOW)[0].tokens
}

fn upstream(name: &str, mock: &Mock) -> Upstream {
    let settings = Settings {
        retries: 0,
        timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_millis(300),
        proxy_from_environment: false,
        ..Settings::new(name, mock.base_url(), "large")
    };
    let breaker = Breaker::new(2, Duration::from_secs(600));
    Upstream::new(Arc::new(Remote::open(settings).unwrap()), breaker)
}

fn upstreams(all: Vec<Upstream>) -> Upstreams {
    let limits = Limits { hour: Limit { usd: None, tokens: Some(100_000) }, day: Limit::default() };
    let clock = Arc::new(FakeClock::new(NOW));
    Upstreams::new(all, Budget::new(limits), clock).unwrap()
}

fn ask(upstreams: &Upstreams) -> Result<(Answer, String)> {
    let request = Request::text("a");
    let asked = upstreams.ask(&request);
    network().unwrap().block_on(asked).map(|(answer, name)| (answer, name.to_owned()))
}

/// The pieces that were passed on, and how it ended.
fn relay(upstreams: &Upstreams) -> (Vec<String>, Result<(Answer, String)>) {
    let request = Request { stream: true, ..Request::text("a") };
    let (reply, mut pending) = reply();
    let ended = network().unwrap().block_on(upstreams.relay(&request, Some(&reply)));
    let ended = ended.map(|(answer, name)| (answer, name.to_owned()));
    drop(reply);
    let mut pieces = Vec::new();
    while let Some(Event::Delta(delta)) = pending.recv() {
        pieces.push(delta.text);
    }
    (pieces, ended)
}

fn says(text: &str) -> Mock {
    Mock::play([Act::Say(text.into())]).unwrap()
}

#[test]
fn requests_are_shared_by_weight_and_a_higher_order_stands_in() {
    let (heavy, light, spare) = (says("heavy"), says("light"), says("spare"));
    let all = vec![
        Upstream { order: 1, ..upstream("spare", &spare) },
        Upstream { weight: 3, ..upstream("heavy", &heavy) },
        upstream("light", &light),
    ];
    let large = upstreams(all);
    for _ in 0..8 {
        ask(&large).unwrap();
    }
    let counts = [&heavy, &light, &spare].map(|mock| mock.seen().len());
    assert_eq!(counts, [6, 2, 0]);

    let dead = Mock::play([Act::HangUp]).unwrap();
    let all = vec![
        Upstream { weight: 1000, ..upstream("dead", &dead) },
        upstream("light", &light),
        Upstream { order: 1, ..upstream("spare", &spare) },
    ];
    let large = upstreams(all);
    for _ in 0..6 {
        assert_eq!(ask(&large).unwrap().1, "light", "the next of the same order helps");
    }
    assert_eq!((dead.seen().len(), spare.seen().len()), (2, 0));
}

#[test]
fn hedging_asks_the_next_one_after_a_while_and_the_first_answer_counts() {
    let slow = Act::Slow(Duration::from_secs(5), Box::new(Act::Say("late".into())));
    let (slow, quick) = (Mock::play([slow]).unwrap(), says("quick"));
    let two = || vec![upstream("slow", &slow), Upstream { order: 1, ..upstream("quick", &quick) }];
    let large = upstreams(two()).hedged(Some(Duration::from_millis(50)));
    let (answer, name) = ask(&large).unwrap();
    assert_eq!((answer.output.as_str(), name.as_str()), ("quick", "quick"));
    assert_eq!((slow.seen().len(), quick.seen().len()), (1, 1));
    // To be slow is no failure: it is asked again.
    ask(&large).unwrap();
    ask(&large).unwrap();
    assert_eq!(slow.seen().len(), 3);
    // Who answers in time is not hedged.
    let prompt = says("prompt");
    let all = vec![upstream("prompt", &prompt), Upstream { order: 1, ..upstream("b", &quick) }];
    let large = upstreams(all).hedged(Some(Duration::from_secs(20)));
    assert_eq!(ask(&large).unwrap().1, "prompt");
    assert_eq!(quick.seen().len(), 3);
}

#[test]
fn a_stream_is_passed_on_and_taken_over_only_before_its_first_piece() {
    let dead = Mock::play([Act::Stream(vec![])]).unwrap();
    let well = Act::Stream(vec![Piece::Say("hel"), Piece::Say("lo"), Piece::End]);
    let well = Mock::play([well]).unwrap();
    let all = vec![upstream("dead", &dead), Upstream { order: 1, ..upstream("well", &well) }];
    let large = upstreams(all);
    let (pieces, ended) = relay(&large);
    let (answer, name) = ended.unwrap();
    assert_eq!((pieces.concat(), answer.output.as_str()), ("hello".into(), "hello"));
    assert_eq!(name, "well");
    // Nobody knows what the one that said nothing wrote.
    let asked = Request { stream: true, ..Request::text("a") };
    let unknown = upstream("dead", &dead).model.estimate(&asked).at_most();
    assert_eq!(spent(&large), 12 + unknown.tokens);

    let half = Mock::play([Act::Stream(vec![Piece::Say("hel")])]).unwrap();
    let all = vec![upstream("half", &half), Upstream { order: 1, ..upstream("well", &well) }];
    let (pieces, ended) = relay(&upstreams(all));
    assert_eq!(pieces, ["hel"]);
    assert_eq!(ended.unwrap_err().code(), &codes::BROKEN_OFF);
    assert_eq!(well.seen().len(), 1, "nobody goes on with another's half answer");
}

/// What the request of these tests takes at most.
fn estimate(mock: &Mock) -> Estimate {
    upstream("a", mock).model.estimate(&Request::text("a"))
}

#[test]
fn a_hedge_that_loses_stays_charged_with_an_estimate() {
    let slow = Act::Slow(Duration::from_secs(5), Box::new(Act::Say("late".into())));
    let (slow, quick) = (Mock::play([slow]).unwrap(), says("quick"));
    let two = vec![upstream("slow", &slow), Upstream { order: 1, ..upstream("quick", &quick) }];
    let large = upstreams(two).hedged(Some(Duration::from_millis(50)));
    assert_eq!(ask(&large).unwrap().1, "quick");
    assert_eq!(spent(&large), 12 + estimate(&slow).at_most().tokens);
}

#[test]
fn a_client_that_leaves_before_the_answer_is_there_costs_what_it_may_take() {
    let slow = Act::Slow(Duration::from_secs(5), Box::new(Act::Say("late".into())));
    let mock = Mock::play([slow]).unwrap();
    let large = upstreams(vec![upstream("a", &mock)]);
    let request = Request::text("a");
    let left = network().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_millis(50), large.ask(&request)).await
    });
    assert!(left.is_err());
    assert_eq!(spent(&large), estimate(&mock).at_most().tokens);
}

#[test]
fn what_was_streamed_is_charged_when_the_client_leaves() {
    let pieces =
        vec![Piece::Say("hello "), Piece::Say("again"), Piece::Wait(Duration::from_secs(60))];
    let mock = Mock::play([Act::Stream(pieces)]).unwrap();
    let large = upstreams(vec![upstream("a", &mock)]);
    let request = Request { stream: true, ..Request::text("a") };
    let (reply, mut pending) = reply();
    network().unwrap().block_on(async {
        let client = async {
            let mut text = String::new();
            while let Some(Event::Delta(delta)) = pending.next().await {
                text += &delta.text;
                if text == "hello again" {
                    return;
                }
            }
        };
        tokio::select! {
            ended = large.relay(&request, Some(&reply)) => panic!("{:?}", ended.err()),
            () = client => {}
        }
    });
    let sent = upstream("a", &mock).model.estimate(&request);
    let written = tokens_at_most(b"hello again");
    assert_eq!(spent(&large), sent.broken_off(written).tokens);
    assert!(spent(&large) < sent.at_most().tokens);
}

#[test]
fn an_endpoint_that_counts_nothing_is_charged_by_length_and_one_that_refuses_nothing() {
    let silent = serde_json::json!({ "choices": [{
        "index": 0, "message": { "role": "assistant", "content": "some words" },
        "finish_reason": "stop" }] });
    let silent = Mock::play([Act::status(200, silent.to_string())]).unwrap();
    let large = upstreams(vec![upstream("a", &silent)]);
    let (answer, _) = ask(&large).unwrap();
    assert_eq!((answer.prompt_tokens, answer.completion_tokens), (0, 0), "nothing is made up");
    assert_eq!(spent(&large), estimate(&silent).answered(&answer).tokens);
    assert!(spent(&large) > 20);

    for (act, charged) in [
        (Act::status(413, "too long"), false),
        (Act::status(503, "later"), false),
        (Act::HangUp, false),
        (Act::HalfBody, true),
        (Act::status(200, "no JSON"), true),
        (Act::Slow(Duration::from_secs(60), Box::new(Act::HangUp)), true),
    ] {
        let mock = Mock::play([act.clone()]).unwrap();
        let quick = Settings {
            retries: 0,
            timeout: Duration::from_millis(200),
            proxy_from_environment: false,
            ..Settings::new("a", mock.base_url(), "large")
        };
        let one =
            Upstream { model: Arc::new(Remote::open(quick).unwrap()), ..upstream("a", &mock) };
        let large = upstreams(vec![one]);
        ask(&large).unwrap_err();
        let wanted = if charged { estimate(&mock).at_most().tokens } else { 0 };
        assert_eq!(spent(&large), wanted, "{act:?}");
    }
}
