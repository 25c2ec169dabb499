//! Adapters beside a decoder's weights, merged into them, and in files.

#![allow(clippy::unwrap_used, dead_code, reason = "helpers of tests, shared by several")]

mod formula;
mod tiny_decoder;

use serde_json::Value;
use sprat_model::decoder::{
    Decoder, DecoderAdapter, DecoderConfig, Projection, Step, merge_adapter, write_gguf_adapter,
};
use sprat_model::files::Gguf;
use sprat_model::{Adapter, Format};
use sprat_nn::{Mat, Span, threads};
use std::path::Path;
use tiny_decoder::{adapter, golden, write};

const IDS: [u32; 9] = [1, 5, 6, 7, 8, 19, 3, 4, 11];

fn open(folder: &Path) -> Decoder {
    Decoder::open(folder, Format::F32, Some(32)).unwrap()
}

/// The logits after every token of one sequence.
fn logits(decoder: &Decoder, adapter: Option<&DecoderAdapter>) -> Mat {
    let spans = [Span { rows: 0..IDS.len(), position: 0, pages: &[0] }];
    let wanted: Vec<usize> = (0..IDS.len()).collect();
    let step =
        Step { ids: &IDS, spans: &spans, wanted: &wanted, adapters: &[adapter], ..Step::default() };
    decoder.forward(&step, &mut decoder.cache(1))
}

fn distance(a: &Mat, b: &Mat) -> f32 {
    a.data.iter().zip(&b.data).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

fn each_family(check: impl Fn(&str, &Value, &Path)) {
    for (name, family) in golden()["families"].as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        write(family, folder.path());
        check(name, family, folder.path());
    }
}

#[test]
fn an_adapter_computes_the_same_beside_the_weights_and_merged_into_them() {
    each_family(|name, _, base| {
        let config = DecoderConfig::read(&base.join("config.json")).unwrap();
        let written = adapter(&config, 3, "x");
        let files = tempfile::tempdir().unwrap();
        written.write(files.path(), &config).unwrap();
        let read = Adapter::read(files.path(), &config).unwrap();
        assert_eq!(read, written, "{name}");
        let packed = DecoderAdapter::open(files.path(), &config).unwrap();
        assert_eq!((packed.base(), packed.digest(), packed.rank()), ("hf:tiny", "abc", 3));

        let (plain, merged) = (open(base), tempfile::tempdir().unwrap());
        merge_adapter(base, Some(&written), Format::F32, merged.path()).unwrap();
        let merged = logits(&open(merged.path()), None);
        let beside = logits(&plain, Some(&packed));
        assert!(distance(&beside, &merged) < 5e-5, "{name}: {}", distance(&beside, &merged));
        assert!(distance(&beside, &logits(&plain, None)) > 2e-3, "{name}: it does something");
    });
}

#[test]
fn sequences_with_different_adapters_share_a_batch() {
    each_family(|name, _, base| {
        let decoder = open(base);
        let config = decoder.config();
        let pack = |salt| DecoderAdapter::new(&adapter(config, 2, salt), config);
        let (first, second) = (pack("first"), pack("second"));
        let order = [Some(&first), None, Some(&second), Some(&first), Some(&second)];
        threads::set_threads(1);
        let alone = order.map(|adapter| logits(&decoder, adapter));
        threads::set_threads(3);
        let n = IDS.len();
        let pages = [[3], [1], [0], [4], [2]];
        let span = |at: usize| Span { rows: at * n..at * n + n, position: 0, pages: &pages[at] };
        let spans: Vec<Span<'_>> = (0..5).map(span).collect();
        let (ids, wanted): (Vec<u32>, Vec<usize>) = (IDS.repeat(5), (0..5 * n).collect());
        let step =
            Step { ids: &ids, spans: &spans, wanted: &wanted, adapters: &order, ..Step::default() };
        let together = decoder.forward(&step, &mut decoder.cache(5));
        for (at, alone) in alone.iter().enumerate() {
            let part = &together.data[at * alone.data.len()..(at + 1) * alone.data.len()];
            assert_eq!(part, alone.data, "{name}, sequence {at}");
        }
    });
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let golden = golden();
    let of = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        write(&golden["families"][name], folder.path());
        DecoderConfig::read(&folder.path().join("config.json")).unwrap()
    };
    let files = tempfile::tempdir().unwrap();
    adapter(&of("phi3"), 2, "x").write(files.path(), &of("phi3")).unwrap();
    let error = DecoderAdapter::open(files.path(), &of("llama")).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-ADAPTER");
    adapter(&of("qwen3"), 2, "x").write(files.path(), &of("qwen3")).unwrap();
    let error = DecoderAdapter::open(files.path(), &of("llama")).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-SHAPE");
}

#[test]
fn a_gguf_adapter_has_what_llama_cpp_looks_for() {
    let folder = tempfile::tempdir().unwrap();
    write(&golden()["families"]["llama"], folder.path());
    let config = DecoderConfig::read(&folder.path().join("config.json")).unwrap();
    let written = adapter(&config, 2, "x");
    let path = folder.path().join("adapter.gguf");
    write_gguf_adapter(&written, &config, &path).unwrap();
    let file = Gguf::open(&path).unwrap();
    let text = |key: &str| file.metadata().text(key).unwrap().to_owned();
    assert_eq!(text("general.architecture"), "llama");
    assert_eq!((text("general.type"), text("adapter.type")), ("adapter".into(), "lora".into()));
    assert_eq!(file.metadata().float("adapter.lora.alpha").unwrap(), 1.0);
    let pair = written.pairs.iter().find(|p| p.layer == 1 && p.part == Projection::Query).unwrap();
    let tensor = |name: &str, shape: &[usize]| file.tensor(name).unwrap().f32(shape).unwrap();
    assert_eq!(tensor("blk.1.attn_q.weight.lora_a", &[2, 32]), pair.a.data);
    let b = tensor("blk.1.attn_q.weight.lora_b", &[32, 2]);
    // Rows 0 and 4 of a head of 8, which turn together, stand side by side in llama's files.
    assert_eq!((&b[..2], &b[2..4]), (pair.b.row(0), pair.b.row(4)));
}
