use super::*;
use crate::{Limit, Limits};
use sprat_infer::remote::Settings;
use sprat_infer::remote::mock::{Act, Mock, Piece};
use sprat_infer::{Remote, network, reply};
use sprat_task::{FakeClock, Timestamp};

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
    let limits = Limits { hour: Limit { usd: None, tokens: Some(1000) }, day: Limit::default() };
    let clock = Arc::new(FakeClock::new(Timestamp(1_000_000_000_000)));
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
    let ended = network().unwrap().block_on(upstreams.relay(&request, &reply));
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
    assert_eq!(large.budget().spent(Timestamp(1_000_000_000_000))[0].tokens, 12);

    let half = Mock::play([Act::Stream(vec![Piece::Say("hel")])]).unwrap();
    let all = vec![upstream("half", &half), Upstream { order: 1, ..upstream("well", &well) }];
    let (pieces, ended) = relay(&upstreams(all));
    assert_eq!(pieces, ["hel"]);
    assert_eq!(ended.unwrap_err().code(), &codes::BROKEN_OFF);
    assert_eq!(well.seen().len(), 1, "nobody goes on with another's half answer");
}
