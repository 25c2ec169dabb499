//! Variants are reopened and compute what the same weights compute when they are converted on
//! opening; their files have the sizes that their formats promise.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use sprat_model::{
    BaseModel, Classifier, Encoder, Format, Learner, LoraSettings, Manifest, Part, Pooling, SCHEMA,
    Stored, Tuning, tiny,
};
use sprat_quant::{Variant, shrink_classifier, shrink_encoder};
use std::path::{Path, PathBuf};

const TEXTS: [&str; 4] = ["red cat", "", "north rain sun wind one two three", "dog dog bird"];

fn tuned(base: &Path, folder: &Path) {
    let encoder = Encoder::open(base, Format::F32).unwrap();
    let targets = Part::ALL.to_vec();
    let lora = LoraSettings { rank: 2, alpha: 4.0, dropout: 0.0, targets, first_layer: 0 };
    let mut learner = Learner::new(encoder, 3, Tuning::Lora(lora), 5).unwrap();
    for (at, values) in learner.parameters_mut().into_iter().enumerate() {
        for (i, value) in values.iter_mut().enumerate() {
            *value += 0.1 * ((i + at) as f32).sin();
        }
    }
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        base: BaseModel { reference: "file:base".to_owned(), digest: String::new() },
        labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        temperature: 1.0,
        pooling: Pooling::Mean,
        normalize: true,
        prefix: String::new(),
        lowercase: false,
        max_tokens: 32,
        weights: Stored::Adapter,
    };
    learner.save(folder, base, &manifest).unwrap();
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

#[test]
fn a_classifiers_variants_compute_what_was_converted() {
    let folder = tempfile::tempdir().unwrap();
    let (base, artefact) = (folder.path().join("base"), folder.path().join("tuned"));
    tiny::write(&base, 3).unwrap();
    tuned(&base, &artefact);
    let full = Classifier::open(&artefact, Some(&base)).unwrap().logits(&TEXTS).unwrap();
    for (variant, format, near) in [
        (Variant::F32, Format::F32, 1e-6),
        (Variant::Bf16, Format::Bf16, 0.05),
        (Variant::Int8, Format::Int8, 0.1),
    ] {
        let out = folder.path().join(variant.name());
        let shrunk = shrink_classifier(&artefact, Some(&base), variant, &out).unwrap();
        assert_eq!(
            shrunk.weight_bytes,
            std::fs::metadata(out.join("model.safetensors")).unwrap().len()
        );
        assert!(shrunk.total_bytes > shrunk.weight_bytes);
        // Neither the base model nor the adapter is needed any more.
        let opened = Classifier::open(&out, None).unwrap();
        assert_eq!(opened.encoder().format(), format);
        let ours = opened.logits(&TEXTS).unwrap().data;
        let on_opening = Classifier::open_as(&artefact, Some(&base), format).unwrap();
        let difference = largest_difference(&ours, &on_opening.logits(&TEXTS).unwrap().data);
        assert!(difference < 1e-5, "{variant:?}: reopened differs by {difference}");
        let difference = largest_difference(&ours, &full.data);
        assert!(difference < near, "{variant:?}: differs from full by {difference}");
        if variant != Variant::F32 {
            assert!(difference > 0.0, "{variant:?} computes as if nothing had been converted");
            let again = shrink_classifier(&out, None, Variant::Int8, &folder.path().join("x"));
            assert_eq!(again.unwrap_err().code().id, "SPRAT-QUANT-SOURCE");
        }
    }
    let error = shrink_classifier(&artefact, Some(&base), Variant::Int8, &artefact).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-QUANT-PLACE");
}

#[test]
fn a_plain_encoders_variants_are_encoders() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    tiny::write(&base, 4).unwrap();
    for (variant, format) in [(Variant::Bf16, Format::Bf16), (Variant::Int8, Format::Int8)] {
        let out = folder.path().join(variant.name());
        shrink_encoder(&base, variant, &out).unwrap();
        let ours = Encoder::open(&out, format).unwrap().embed(&TEXTS).unwrap().data;
        let direct = Encoder::open(&base, format).unwrap().embed(&TEXTS).unwrap().data;
        assert!(largest_difference(&ours, &direct) < 1e-5, "{variant:?}");
        let error = shrink_encoder(&out, Variant::Int8, &folder.path().join("x")).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-QUANT-SOURCE");
    }
}

#[test]
fn minilm_shrinks_as_promised() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let base = std::env::var_os("SPRAT_MINILM")
        .map_or_else(|| root.join(".cache/models/minilm"), PathBuf::from);
    if !base.join("model.safetensors").exists() {
        eprintln!("SKIPPED: no MiniLM at {}; set SPRAT_MINILM to its folder", base.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let full = shrink_encoder(&base, Variant::F32, &folder.path().join("f32")).unwrap();
    for (variant, share) in [(Variant::Bf16, 0.505), (Variant::Int8, 0.27)] {
        let out = folder.path().join(variant.name());
        let small = shrink_encoder(&base, variant, &out).unwrap();
        let ratio = small.weight_bytes as f64 / full.weight_bytes as f64;
        eprintln!("{variant:?}: {} bytes of {}, {ratio:.3}", small.weight_bytes, full.weight_bytes);
        assert!(ratio < share, "{variant:?}: {ratio}");
        assert!(Encoder::open(&out, variant.stored().format()).is_ok());
    }
}
