//! The engine on a tiny random model: whatever else it does at the same time, a request gets the
//! answer that it would get alone.

use super::*;
use crate::answer::{Answer, Event, Finish};
use crate::request::{Input, Message, Role};
use crate::sampling::Sampling;
use sprat_model::{Format, tiny};
use std::time::{Duration, Instant};

fn model() -> Arc<LanguageModel> {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_decoder(folder.path(), 1).unwrap();
    Arc::new(LanguageModel::open(folder.path(), Format::F32, None).unwrap())
}

fn engine(limits: DecoderLimits) -> DecoderModel {
    named(Arc::new(DecoderEngine::start("tiny", model(), limits).unwrap()), Behaviour::default())
}

fn named(engine: Arc<DecoderEngine>, behaviour: Behaviour) -> DecoderModel {
    DecoderModel::new("tiny", engine, None, behaviour)
}

fn small() -> DecoderLimits {
    DecoderLimits { cache_tokens: 1024, step_tokens: 24, sequences: 5, ..DecoderLimits::default() }
}

fn greedy(text: &str, tokens: usize) -> Request {
    Request {
        max_tokens: Some(tokens),
        sampling: Sampling::greedy(),
        ..Request::new(Input::Prompt(text.to_owned()))
    }
}

/// What does not depend on the moment.
fn essence(answer: &Answer) -> (String, Finish, usize, usize) {
    (answer.output.clone(), answer.finish, answer.prompt_tokens, answer.completion_tokens)
}

const PROMPTS: [&str; 6] = [
    "The cat sat on the mat",
    "The cat sat on the moon, and then it went to see whether the dog was still in the garden",
    "a",
    "0123456789012345678901234567890123456789",
    "The cat sat on the moon, and then it went to see whether the bird was there",
    "déjà vu",
];

#[test]
fn company_in_the_batch_changes_no_answer() {
    let alone = engine(DecoderLimits { sequences: 1, ..small() });
    let want: Vec<_> =
        PROMPTS.iter().map(|text| essence(&alone.answer(greedy(text, 40)).unwrap())).collect();
    let busy = engine(small());
    for _ in 0..3 {
        let pending: Vec<_> =
            PROMPTS.iter().map(|text| busy.submit(greedy(text, 40)).unwrap()).collect();
        for (pending, want) in pending.into_iter().zip(&want) {
            let answer = pending.wait().unwrap();
            assert_eq!(&essence(&answer), want);
        }
    }
}

#[test]
fn a_common_beginning_is_computed_once_and_changes_no_bit() {
    let model = engine(small());
    let scored = |text: &str| Request { logprobs: Some(2), ..greedy(text, 8) };
    let first = model.answer(scored(PROMPTS[1])).unwrap();
    assert_eq!(first.cached_tokens, 0);
    let again = model.answer(scored(PROMPTS[1])).unwrap();
    assert_eq!(again.cached_tokens, 64);
    assert_eq!(again.tokens, first.tokens);
    assert_eq!(model.answer(scored(PROMPTS[4])).unwrap().cached_tokens, 32);
}

#[test]
fn adapters_share_nothing_and_differ() {
    use sprat_model::decoder::Projection;
    use sprat_model::{Adaptable, Adapter, LoraPair};
    use sprat_nn::Mat;
    let plain = engine(small());
    let config = plain.engine().model().decoder().config();
    let (rank, part) = (2, Projection::all(config)[0]);
    let (outputs, inputs) = config.part_shape(part);
    let full = |rows, cols, value| Mat::new(rows, cols, vec![value; rows * cols]);
    let pair = LoraPair { layer: 0, part, a: full(rank, inputs, 0.3), b: full(outputs, rank, 0.7) };
    let adapter = Adapter {
        rank,
        alpha: 2.0,
        dropout: 0.0,
        base: String::new(),
        digest: String::new(),
        scale: 1.0,
        pairs: vec![pair],
    };
    let adapter = Arc::new(DecoderAdapter::new(&adapter, config));
    let tuned =
        DecoderModel::new("tuned", plain.engine().clone(), Some(adapter), Behaviour::default());
    let scored = || Request { logprobs: Some(0), ..greedy(PROMPTS[1], 6) };
    let (one, two) = (plain.submit(scored()).unwrap(), tuned.submit(scored()).unwrap());
    let (one, two) = (one.wait().unwrap(), two.wait().unwrap());
    assert_ne!(one.tokens, two.tokens);
    assert_eq!((one.cached_tokens, two.cached_tokens), (0, 0));
    let (one_again, two_again) = (plain.answer(scored()).unwrap(), tuned.answer(scored()).unwrap());
    assert_eq!((one_again.cached_tokens, two_again.cached_tokens), (64, 64));
    assert_eq!(one_again.tokens, one.tokens);
    assert_eq!(two_again.tokens, two.tokens);
}

#[test]
fn deltas_are_the_answer() {
    let model = engine(small());
    let want = model.answer(greedy(PROMPTS[5], 30)).unwrap();
    let mut pending = model.submit(greedy(PROMPTS[5], 30)).unwrap();
    let (mut text, mut pieces) = (String::new(), 0);
    while let Some(event) = pending.recv() {
        match event {
            Event::Delta(delta) => {
                text += &delta.text;
                pieces += 1;
            }
            Event::Done(answer) => assert_eq!(answer.output, want.output),
            Event::Failed(error) => unreachable!("{error}"),
        }
    }
    assert_eq!(text, want.output);
    assert!(pieces > 3, "it was written piece by piece");
}

#[test]
fn a_stop_text_ends_the_answer_and_never_shows() {
    let model = engine(small());
    let free = model.answer(greedy(PROMPTS[0], 40)).unwrap().output;
    let letters: Vec<char> = free.chars().collect();
    let stop: String = letters[8..11].iter().collect();
    let request = || Request { stop: vec!["never".into(), stop.clone()], ..greedy(PROMPTS[0], 40) };
    let answer = model.answer(request()).unwrap();
    assert_eq!(answer.finish, Finish::Stop);
    let at = free.find(&stop).unwrap();
    assert_eq!(answer.output, free[..at]);
    let mut pending = model.submit(request()).unwrap();
    let mut text = String::new();
    while let Some(event) = pending.recv() {
        if let Event::Delta(delta) = event {
            text += &delta.text;
        }
    }
    assert_eq!(text, free[..at]);
}

#[test]
fn a_seed_repeats_an_answer_and_requests_without_one_differ() {
    let model = engine(small());
    let hot = |seed| Request {
        sampling: Sampling { temperature: Some(1.5), seed, ..Sampling::default() },
        ..greedy(PROMPTS[0], 12)
    };
    let first = model.answer(hot(Some(5))).unwrap().output;
    assert_eq!(model.answer(hot(Some(5))).unwrap().output, first);
    assert_ne!(model.answer(hot(None)).unwrap().output, model.answer(hot(None)).unwrap().output);
}

fn chooser(labels: &[&str], limits: DecoderLimits) -> DecoderModel {
    let engine = Arc::new(DecoderEngine::start("tiny", model(), limits).unwrap());
    let behaviour = Behaviour {
        instruction: Some("Which is it?".into()),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        label_temperature: 1.7,
        ..Behaviour::default()
    };
    named(engine, behaviour)
}

/// Brute force: the loss of prompt and label as one text of tokens, a text for each label.
fn probabilities(chooser: &DecoderModel, request: &Request) -> Vec<f64> {
    let (model, now) = (chooser.engine().model(), chooser.clock.now());
    let instruction = chooser.behaviour.instruction.as_deref();
    let prompt = prompt::tokens(model, instruction, request, now).unwrap();
    let writer = named(chooser.engine().clone(), Behaviour::default());
    let score = |label: &String| {
        let tokens = prompt::answer_tokens(model, instruction, label, now).unwrap();
        let all = [prompt.clone(), tokens].concat();
        let request = Request {
            max_tokens: Some(0),
            logprobs: Some(0),
            prompt_logprobs: true,
            ..Request::new(Input::Tokens(all))
        };
        let scores = writer.answer(request).unwrap().prompt_scores;
        let sum: f64 = scores[prompt.len()..].iter().map(|token| f64::from(token.logprob)).sum();
        (sum / f64::from(chooser.behaviour.label_temperature)).exp()
    };
    let scores: Vec<f64> = chooser.behaviour.labels.iter().map(score).collect();
    let total: f64 = scores.iter().sum();
    scores.iter().map(|score| score / total).collect()
}

#[test]
fn labels_are_scored_as_if_each_were_written_alone() {
    let labels = ["card", "card lost", "transfer", "é", "a"];
    let chooser = chooser(&labels, small());
    for text in ["my card is gone", "money for my son, and quickly please: it is urgent"] {
        let answer = chooser.answer(Request::text(text)).unwrap();
        let wanted = probabilities(&chooser, &Request::text(text));
        for ((label, got), want) in answer.scores.iter().zip(&wanted) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{label} {got}");
        }
        let best = (0..5).max_by(|&a, &b| wanted[a].total_cmp(&wanted[b])).unwrap();
        assert_eq!(answer.label.as_deref(), Some(labels[best]));
        assert!((answer.scores.iter().map(|(_, p)| p).sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

/// Labels that fork early and late, one of them longer than a page, behind prompts that end
/// everywhere in a page: a step reads all of them, or a part, and neither that nor company
/// changes a bit.
#[test]
fn labels_that_begin_alike_get_the_same_bits_however_their_tree_is_cut() {
    let labels = [
        "card arrival",
        "card",
        "card lost",
        "card lost abroad, and nobody knows where it was seen last",
        "card lost at home",
        "cash",
        "top up",
        "top up failed",
    ];
    let limits = |step_tokens, cache_tokens| DecoderLimits { step_tokens, cache_tokens, ..small() };
    let whole = chooser(&labels, limits(256, 4096));
    let cut = [limits(7, 4096), limits(256, 8 * 32), limits(40, 10 * 32)];
    let cut = cut.map(|limits| chooser(&labels, limits));
    for length in (0..34).step_by(3) {
        let request = || Request::text("x".repeat(length));
        let answer = whole.answer(request()).unwrap();
        for ((label, got), want) in answer.scores.iter().zip(probabilities(&whole, &request())) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{label} {got} {want}");
        }
        for (at, other) in cut.iter().enumerate() {
            let company = other.submit(greedy(PROMPTS[0], 20)).unwrap();
            let beside = other.submit(request()).unwrap();
            assert_eq!(other.answer(request()).unwrap().scores, answer.scores, "{at}, {length}");
            assert_eq!(beside.wait().unwrap().scores, answer.scores, "{at}, {length}");
            company.wait().unwrap();
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_computed() {
    let model = engine(DecoderLimits { cache_tokens: 64, ..small() });
    let refused = |request: Request| model.submit(request).err().unwrap();
    assert_eq!(refused(greedy(PROMPTS[1], 1)).code(), &codes::CONTEXT);
    assert_eq!(refused(greedy("short", 100)).code(), &codes::CONTEXT);
    assert_eq!(refused(greedy("", 5)).code(), &codes::INPUT);
    let tokens = Request::new(Input::Tokens(vec![5000]));
    assert_eq!(refused(tokens).code(), &codes::INPUT);
    let stop = Request { stop: vec![String::new()], ..greedy("a", 5) };
    assert_eq!(refused(stop).place().field.as_deref(), Some("stop"));
    let adapter = Request { adapter: Some("other".into()), ..greedy("a", 5) };
    assert_eq!(refused(adapter).code(), &codes::INPUT);
    // And the engine goes on.
    assert!(model.answer(greedy("short", 5)).is_ok());
}

#[test]
fn more_requests_than_fit_wait_for_their_turn() {
    // Each needs two of the four pages.
    let model = engine(DecoderLimits { cache_tokens: 128, queue: 50, ..small() });
    let want = model.answer(greedy(PROMPTS[0], 30)).unwrap().output;
    let pending: Vec<_> = (0..20).map(|_| model.submit(greedy(PROMPTS[0], 30)).unwrap()).collect();
    for pending in pending {
        assert_eq!(pending.wait().unwrap().output, want);
    }
}

#[test]
fn who_hangs_up_costs_nothing_more_and_who_is_late_hears_it() {
    let model = engine(small());
    let mut pending = model.submit(greedy(PROMPTS[3], 400)).unwrap();
    assert!(matches!(pending.recv(), Some(Event::Delta(_))));
    drop(pending);
    let late = greedy(PROMPTS[0], 400).until(Instant::now() + Duration::from_millis(1));
    let error = model.submit(late).unwrap().wait().unwrap_err();
    assert_eq!(error.code(), &codes::TIMEOUT);
    assert!(model.answer(greedy(PROMPTS[0], 4)).is_ok());
    model.engine().close();
    let error = model.submit(greedy("a", 1)).err().unwrap();
    assert_eq!(error.code(), &codes::CLOSED);
}

#[test]
fn conversations_go_through_the_template() {
    let model = engine(small());
    let say = |role, text: &str| Message::new(role, text);
    let messages = vec![say(Role::User, "one"), say(Role::Assistant, "two"), say(Role::User, "x")];
    let request = Request { max_tokens: Some(3), ..Request::new(Input::Messages(messages)) };
    // <|user|>one<|end|><|assistant|>two<|end|><|user|>x<|end|><|assistant|>
    assert_eq!(model.answer(request).unwrap().prompt_tokens, 14);
    let foul = vec![say(Role::User, "a<|end|>")];
    let request = Request { max_tokens: Some(1), ..Request::new(Input::Messages(foul)) };
    assert_eq!(model.answer(request).unwrap().prompt_tokens, 3 + 1 + "<|end|>".len());
}

#[test]
fn answers_under_a_constraint_satisfy_it_or_are_errors() {
    let model = engine(small());
    let schema = serde_json::json!({
        "type": "object",
        "properties": { "name": { "enum": ["left", "right"] }, "n": { "enum": [1, 20, 300] } },
        "required": ["name", "n"], "additionalProperties": false,
    });
    let request = |schema: serde_json::Value, tokens| {
        Request { max_tokens: Some(tokens), ..Request::text("which?") }
            .constrained(Constraint::JsonSchema(schema))
    };
    for _ in 0..4 {
        let answer = model.answer(request(schema.clone(), 60)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&answer.output).unwrap();
        assert!(jsonschema::is_valid(&schema, &value), "{}", answer.output);
        assert_eq!(answer.enforced, Some(crate::constraint::Enforced::Exact));
        assert_eq!(answer.finish, Finish::Stop);
    }
    let error = model.answer(request(schema, 5)).unwrap_err();
    assert_eq!(error.code(), &codes::TRUNCATED);
    // What cannot be enforced is checked: two elements of three are never alike three times.
    let hopeless = serde_json::json!({
        "type": "array", "items": { "enum": [1, 2] }, "minItems": 3, "maxItems": 3,
        "uniqueItems": true,
    });
    let error = model.answer(request(hopeless, 60)).unwrap_err();
    assert_eq!(error.code(), &codes::UNSATISFIED);
    let distinct = serde_json::json!({
        "type": "array", "items": { "enum": [1, 2, 3, 4, 5, 6, 7, 8, 9] }, "minItems": 2,
        "maxItems": 2, "uniqueItems": true,
    });
    let answer = model.answer(request(distinct, 60)).unwrap();
    assert!(matches!(answer.enforced, Some(crate::constraint::Enforced::Validated { .. })));
}

#[test]
fn tokens_without_a_choice_are_not_computed_one_by_one() {
    let model = engine(small());
    let constraint = Constraint::Regex("the only possible answer to this is (a|b)".into());
    let request = Request { max_tokens: Some(80), ..Request::text("?") };
    let answer = model.answer(request.constrained(constraint)).unwrap();
    assert!(answer.output.starts_with("the only possible answer to this is "));
    assert!(answer.completion_tokens > 30);
    assert!(answer.timing.first.is_some());
}
