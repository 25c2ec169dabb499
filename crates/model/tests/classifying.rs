//! What a learner writes, a classifier opens: the same answers in every kind of folder.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use sprat_model::{
    BaseModel, Classifier, Encoder, Format, Learner, LoraSettings, Manifest, Part, SCHEMA,
    SentenceConfig, Stored, Tuning, tiny,
};
use sprat_task::Error;
use std::path::Path;

const TEXTS: [&str; 5] = ["red cat", "", "north rain sun wind one two three", "unknown", "dog"];

fn manifest() -> Manifest {
    Manifest {
        schema: SCHEMA.to_owned(),
        base: BaseModel { reference: "file:base".to_owned(), digest: "0".repeat(64) },
        labels: ["no", "yes", "maybe"].map(str::to_owned).to_vec(),
        temperature: 2.0,
        pooling: sprat_model::Pooling::Cls,
        normalize: false,
        prefix: "two ".to_owned(),
        lowercase: false,
        max_tokens: 6,
        weights: Stored::Head,
    }
}

/// A learner that has moved away from its beginning, with the manifest's preparation.
fn learner(base: &Path, tuning: Tuning) -> Learner {
    let mut encoder = Encoder::open(base, Format::F32).unwrap();
    let manifest = manifest();
    encoder
        .set_sentence(SentenceConfig {
            pooling: manifest.pooling,
            normalize: manifest.normalize,
            max_tokens: Some(manifest.max_tokens),
            lowercase: manifest.lowercase,
            prefix: manifest.prefix,
        })
        .unwrap();
    let mut learner = Learner::new(encoder, 3, tuning, 5).unwrap();
    for (at, values) in learner.parameters_mut().into_iter().enumerate() {
        for (i, value) in values.iter_mut().enumerate() {
            *value += 0.1 * ((i + at) as f32).sin();
        }
    }
    learner.refresh();
    learner
}

fn lora() -> Tuning {
    let targets = Part::ALL.to_vec();
    Tuning::Lora(LoraSettings { rank: 2, alpha: 4.0, dropout: 0.1, targets, first_layer: 0 })
}

fn logits(learner: &Learner) -> Vec<f32> {
    let tokens = learner.encoder().tokenizer().encode_all(&TEXTS).unwrap();
    learner.forward(&sprat_model::Batch::new(&tokens), None).0.data
}

#[test]
fn every_kind_of_folder_gives_the_learners_answers() {
    let base = tempfile::tempdir().unwrap();
    tiny::write(base.path(), 3).unwrap();
    for (tuning, stored) in [
        (Tuning::Head, Stored::Head),
        (lora(), Stored::Adapter),
        (Tuning::Full { first_layer: 0 }, Stored::Full),
        (Tuning::Full { first_layer: 1 }, Stored::Full),
    ] {
        let learner = learner(base.path(), tuning);
        let folder = tempfile::tempdir().unwrap();
        learner.save(folder.path(), base.path(), &manifest()).unwrap();
        // A folder with whole weights stands alone.
        let needed = stored.needs_base().then_some(base.path());
        let classifier = Classifier::open(folder.path(), needed).unwrap();
        assert_eq!(classifier.manifest().weights, stored);
        let ours = classifier.logits(&TEXTS).unwrap();
        for (a, b) in ours.data.iter().zip(logits(&learner)) {
            assert!((a - b).abs() < 1e-5, "{stored:?}: {a} and {b}");
        }
    }
}

#[test]
fn predictions_are_calibrated_and_in_order() {
    let base = tempfile::tempdir().unwrap();
    tiny::write(base.path(), 3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    learner(base.path(), lora()).save(folder.path(), base.path(), &manifest()).unwrap();
    let classifier = Classifier::open(folder.path(), Some(base.path())).unwrap();
    let together = classifier.predict(&TEXTS).unwrap();
    let logits = classifier.logits(&TEXTS).unwrap();
    for (at, text) in TEXTS.iter().enumerate() {
        assert_eq!(classifier.predict(&[text]).unwrap()[0], together[at]);
        let exp: Vec<f64> = logits.row(at).iter().map(|z| (f64::from(*z) / 2.0).exp()).collect();
        let sum: f64 = exp.iter().sum();
        for (p, e) in together[at].probabilities.iter().zip(&exp) {
            assert!((f64::from(*p) - e / sum).abs() < 1e-6);
        }
        let (best, confidence) = together[at].best();
        assert!(together[at].probabilities.iter().all(|p| *p <= confidence));
        assert_eq!(together[at].probabilities[best], confidence);
    }
    // Six tokens fit: two special ones, the prefix, and three words of seven.
    assert_eq!((together[2].tokens, together[2].cut), (6, 4));
    assert!(classifier.predict(&[]).unwrap().is_empty());
}

#[test]
fn a_missing_base_or_head_is_named() {
    let base = tempfile::tempdir().unwrap();
    tiny::write(base.path(), 3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    learner(base.path(), lora()).save(folder.path(), base.path(), &manifest()).unwrap();
    let code = |result: Result<Classifier, Error>| result.unwrap_err().code().id;
    let error = Classifier::open(folder.path(), None).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-BASE");
    assert!(error.remedy().contains("sprat pull file:base"), "{error:?}");
    std::fs::remove_file(folder.path().join("head.safetensors")).unwrap();
    assert_eq!(
        code(Classifier::open(folder.path(), Some(base.path()))),
        "SPRAT-MODEL-MISSING-FILE"
    );
    assert_eq!(code(Classifier::open(base.path(), None)), "SPRAT-MODEL-MISSING-FILE");
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let base = tempfile::tempdir().unwrap();
    tiny::write(base.path(), 3).unwrap();
    let open = |format| Encoder::open(base.path(), format).unwrap();
    let settings = |rank, targets: &[Part], first_layer| {
        let targets = targets.to_vec();
        Tuning::Lora(LoraSettings { rank, alpha: 1.0, dropout: 0.0, targets, first_layer })
    };
    for tuning in [
        settings(0, &[Part::Key], 0),
        settings(999, &[Part::Key], 0),
        settings(1, &[], 0),
        settings(1, &[Part::Key], 2),
        Tuning::Full { first_layer: 2 },
    ] {
        let error = Learner::new(open(Format::F32), 3, tuning, 1).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-MODEL-ADAPTER");
    }
    let full = Tuning::Full { first_layer: 0 };
    let error = Learner::new(open(Format::Int8), 3, full, 1).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-CONFIG");
}

#[test]
fn trained_shares_are_counted() {
    let base = tempfile::tempdir().unwrap();
    tiny::write(base.path(), 3).unwrap();
    let encoder = Encoder::open(base.path(), Format::F32).unwrap();
    let all = encoder.config().parameters();
    let head = 3 * 16 + 3;
    let lora = Learner::new(encoder, 3, lora(), 1).unwrap();
    // Rank 2 on six matrices of two layers: 2 · (inputs + outputs) each.
    let adapters = 2 * 2 * (4 * (16 + 16) + 2 * (16 + 24));
    assert_eq!(lora.trained_of(), (head + adapters, all + head + adapters));
    let encoder = Encoder::open(base.path(), Format::F32).unwrap();
    let full = Learner::new(encoder, 3, Tuning::Full { first_layer: 0 }, 1).unwrap();
    assert_eq!(full.trained_of(), (all + head, all + head));
}
