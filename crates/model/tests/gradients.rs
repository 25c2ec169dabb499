//! Gradients through the whole stack against differences of the loss.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use rand::Rng;
use sprat_model::{
    Batch, Encoder, Format, Gradients, Learner, LoraSettings, Noise, Part, Pooling, SentenceConfig,
    Tokens, Tuning, tiny,
};
use sprat_nn::CrossEntropy;
use sprat_task::random::stream;

const TARGETS: [usize; 3] = [2, 0, 1];

fn encoder(pooling: Pooling, normalize: bool) -> Encoder {
    let folder = tempfile::tempdir().unwrap();
    tiny::write(folder.path(), 1).unwrap();
    let mut encoder = Encoder::open(folder.path(), Format::F32).unwrap();
    let sentence = SentenceConfig { pooling, normalize, ..encoder.sentence().clone() };
    encoder.set_sentence(sentence).unwrap();
    encoder
}

fn batch() -> Batch {
    let tokens = |ids: &[u32]| Tokens { ids: ids.to_vec(), cut: 0 };
    Batch::new(&[tokens(&[2, 4, 5, 6, 3]), tokens(&[2, 3]), tokens(&[2, 7, 8, 4, 9, 10, 3])])
}

fn lora(targets: &[Part], first_layer: usize) -> Tuning {
    let targets = targets.to_vec();
    Tuning::Lora(LoraSettings { rank: 2, alpha: 4.0, dropout: 0.0, targets, first_layer })
}

/// A learner away from its beginning, so that no gradient is zero only because `B` is.
fn learner(encoder: Encoder, tuning: Tuning) -> Learner {
    let mut learner = Learner::new(encoder, 3, tuning, 5).unwrap();
    let mut random = stream(9, "away");
    for values in learner.parameters_mut() {
        values.iter_mut().for_each(|v| *v += 0.2 * (random.random::<f32>() - 0.5));
    }
    learner.refresh();
    learner
}

fn loss(learner: &Learner, noise: Option<&Noise>) -> f64 {
    let (logits, _) = learner.forward(&batch(), noise);
    CrossEntropy::default().forward_backward(&logits, &TARGETS).0
}

fn gradients(learner: &Learner, noise: Option<&Noise>) -> Gradients {
    let mut gradients = learner.zero_gradients();
    let (logits, tape) = learner.forward(&batch(), noise);
    let (_, dlogits) = CrossEntropy::default().forward_backward(&logits, &TARGETS);
    learner.backward(tape, &dlogits, &mut gradients);
    gradients
}

/// Moves every parameter by itself along a random direction and compares the change of the loss
/// with what the gradient says. With steps of 1/64 and single precision, differences are good to
/// about 1e-4.
fn agrees_with_differences(mut learner: Learner, noise: Option<Noise>) {
    let noise = noise.as_ref();
    let analytic = gradients(&learner, noise);
    let names = learner.parameters();
    assert_eq!(names.len(), analytic.slices().len());
    let mut random = stream(3, "directions");
    let mut seen = 0;
    for (at, named) in names.iter().enumerate() {
        let gradient = analytic.slices()[at].to_vec();
        let length = gradient.len();
        assert_eq!(length, named.shape.iter().product::<usize>(), "{}", named.name);
        // Half along the gradient, so that there is something to see, half at random, so that a
        // gradient that is wrong only across its own direction is seen too.
        let size = gradient.iter().map(|g| g * g).sum::<f32>().sqrt().max(1e-12);
        let spread = 3.0 / (length as f32).sqrt();
        let direction: Vec<f32> =
            gradient.iter().map(|g| g / size + spread * (random.random::<f32>() - 0.5)).collect();
        // Of length one, whatever the size of the parameter.
        let norm = direction.iter().map(|d| d * d).sum::<f32>().sqrt();
        let step = 1.0 / 64.0;
        let mut moved = |by: f32| {
            let change = |learner: &mut Learner, by: f32| {
                let values = &mut learner.parameters_mut()[at];
                values.iter_mut().zip(&direction).for_each(|(v, d)| *v += by * d / norm);
                learner.refresh();
            };
            change(&mut learner, by);
            let loss = loss(&learner, noise);
            change(&mut learner, -by);
            loss
        };
        let numeric = (moved(step) - moved(-step)) / f64::from(2.0 * step);
        let expected: f64 =
            gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d / norm)).sum();
        assert!(
            (numeric - expected).abs() < 4e-4 + 0.01 * expected.abs(),
            "{}: {numeric} by differences, {expected} by backward",
            named.name
        );
        seen += usize::from(expected.abs() > 2e-3);
    }
    assert!(seen * 2 > names.len(), "most gradients should be well above the noise: {seen}");
}

#[test]
fn lora_on_every_layer() {
    let learner = learner(encoder(Pooling::Mean, false), lora(&Part::ALL, 0));
    assert_eq!(learner.parameters().len(), 2 + 2 * 6 * 2);
    agrees_with_differences(learner, None);
}

#[test]
fn lora_on_some_layers_with_a_normalized_first_token() {
    let tuning = lora(&[Part::Query, Part::Value, Part::Output], 1);
    agrees_with_differences(learner(encoder(Pooling::Cls, true), tuning), None);
}

#[test]
fn lora_on_keys_alone_with_the_last_token() {
    agrees_with_differences(learner(encoder(Pooling::Last, false), lora(&[Part::Key], 0)), None);
}

#[test]
fn lora_under_dropout() {
    let noise = Noise { seed: 1, step: 7, hidden: 0.1, attention: 0.1, lora: 0.2 };
    let learner = learner(encoder(Pooling::Mean, false), lora(&Part::ALL, 0));
    assert_ne!(loss(&learner, None), loss(&learner, Some(&noise)));
    agrees_with_differences(learner, Some(noise));
}

#[test]
fn all_weights() {
    let learner = learner(encoder(Pooling::Mean, false), Tuning::Full { first_layer: 0 });
    // The pooled vector is unchanged by adding a constant to keys' biases, and so on; the other
    // gradients are there.
    assert_eq!(learner.parameters().len(), 2 + 5 + 2 * 16);
    agrees_with_differences(learner, None);
}

#[test]
fn all_weights_under_dropout() {
    let noise = Noise { seed: 2, step: 3, hidden: 0.2, attention: 0.1, lora: 0.0 };
    let learner = learner(encoder(Pooling::Mean, true), Tuning::Full { first_layer: 0 });
    agrees_with_differences(learner, Some(noise));
}

#[test]
fn the_upper_layer_alone() {
    let learner = learner(encoder(Pooling::Mean, false), Tuning::Full { first_layer: 1 });
    assert_eq!(learner.parameters().len(), 2 + 16);
    agrees_with_differences(learner, None);
}

#[test]
fn the_head_alone() {
    agrees_with_differences(learner(encoder(Pooling::Mean, true), Tuning::Head), None);
}

#[test]
fn gradients_of_several_batches_add_up() {
    let learner = learner(encoder(Pooling::Mean, false), lora(&Part::ALL, 0));
    let once = gradients(&learner, None);
    let mut twice = once.clone();
    let (logits, tape) = learner.forward(&batch(), None);
    let (_, dlogits) = CrossEntropy::default().forward_backward(&logits, &TARGETS);
    learner.backward(tape, &dlogits, &mut twice);
    for (once, twice) in once.slices().iter().zip(twice.slices()) {
        for (once, twice) in once.iter().zip(twice) {
            assert!((2.0 * once - twice).abs() <= 1e-6 + 1e-5 * twice.abs());
        }
    }
}
