//! Adapters that run beside a decoder's weights, without being merged: sequences of one batch may
//! have different ones.

use super::config::DecoderConfig;
use super::projection::{Projection, Slot};
use crate::adapter::{Adapter, LoraPair};
use sprat_nn::{Lora, Mat, PackedLora, Placed, Span};
use sprat_task::Result;
use std::ops::Range;
use std::path::Path;

/// A LoRA adapter packed for a decoder of one shape.
#[derive(Debug)]
pub struct DecoderAdapter {
    /// Of every layer and slot; none where nothing is adapted.
    layers: Vec<[Option<PackedLora>; 4]>,
    base: String,
    digest: String,
    rank: usize,
}

impl DecoderAdapter {
    /// Opens an adapter in the PEFT layout for a decoder of this shape.
    ///
    /// # Errors
    /// `SPRAT-MODEL-ADAPTER` for a kind of adapter that is not supported or that does not belong
    /// to this model, `SPRAT-MODEL-SHAPE` for matrices of another shape; those of reading the
    /// files otherwise.
    pub fn open(folder: &Path, config: &DecoderConfig) -> Result<Self> {
        Ok(DecoderAdapter::new(&Adapter::read(folder, config)?, config))
    }

    /// Packs an adapter for a decoder of this shape.
    pub fn new(adapter: &Adapter<Projection>, config: &DecoderConfig) -> Self {
        let layers = (0..config.layers.len()).map(|layer| {
            Slot::ALL.map(|slot| {
                let pairs = adapter.pairs.iter();
                let pairs = pairs.filter(|p| p.layer == layer && p.part.slot() == slot);
                let loras: Vec<(Lora, usize)> = pairs
                    .map(|LoraPair { part, a, b, .. }| {
                        let lora = Lora { a: a.clone(), b: b.clone(), scale: adapter.scale };
                        (lora, part.column(config))
                    })
                    .collect();
                let placed: Vec<Placed<'_>> =
                    loras.iter().map(|(lora, column)| Placed { lora, column: *column }).collect();
                (!placed.is_empty()).then(|| PackedLora::new(&placed))
            })
        });
        let layers = layers.collect();
        let (base, digest) = (adapter.base.clone(), adapter.digest.clone());
        DecoderAdapter { layers, base, digest, rank: adapter.rank }
    }

    /// Reference of the model that the adapter was made for; may be empty.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Digest of that model, where the adapter's file says it; else empty.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Bytes that the packed matrices take.
    pub fn bytes(&self) -> usize {
        self.layers.iter().flatten().flatten().map(PackedLora::bytes).sum()
    }
}

/// Which rows of a batch have which adapter.
#[derive(Debug, Default)]
pub(crate) struct Groups<'a>(Vec<Group<'a>>);

#[derive(Debug)]
struct Group<'a> {
    adapter: &'a DecoderAdapter,
    /// The rows, in runs without gaps.
    runs: Vec<Range<usize>>,
}

/// Memory that adapters share.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    x: Mat,
    y: Mat,
    hidden: Mat,
}

impl<'a> Groups<'a> {
    /// Groups the rows of `spans`, one adapter (or none) a span. Without adapters at all the list
    /// may be empty.
    pub(crate) fn new(spans: &[Span<'_>], adapters: &[Option<&'a DecoderAdapter>]) -> Self {
        assert!(adapters.is_empty() || adapters.len() == spans.len(), "an adapter for each span");
        let mut groups: Vec<Group<'a>> = Vec::new();
        for (span, adapter) in spans.iter().zip(adapters) {
            let Some(adapter) = *adapter else { continue };
            let known = groups.iter_mut().find(|group| std::ptr::eq(group.adapter, adapter));
            match known {
                None => groups.push(Group { adapter, runs: vec![span.rows.clone()] }),
                Some(group) => match group.runs.last_mut() {
                    Some(last) if last.end == span.rows.start => last.end = span.rows.end,
                    _ => group.runs.push(span.rows.clone()),
                },
            }
        }
        Groups(groups)
    }

    /// Whether an adapter changes anything in one slot of one layer.
    pub(crate) fn change(&self, (layer, slot): (usize, Slot)) -> bool {
        self.0.iter().any(|group| group.adapter.layers[layer][slot as usize].is_some())
    }

    /// Adds what the adapters make of `x` to `y`, each to its rows, in one slot of one layer.
    pub(crate) fn add(
        &self,
        (layer, slot): (usize, Slot),
        x: &Mat,
        y: &mut Mat,
        memory: &mut Gathered,
    ) {
        for Group { adapter, runs } in &self.0 {
            let Some(lora) = &adapter.layers[layer][slot as usize] else { continue };
            if let [run] = &runs[..] {
                lora.add(x, run.clone(), y, &mut memory.hidden);
                continue;
            }
            let count = runs.iter().map(ExactSizeIterator::len).sum();
            gather(x, runs, count, &mut memory.x);
            gather(y, runs, count, &mut memory.y);
            lora.add(&memory.x, 0..count, &mut memory.y, &mut memory.hidden);
            for (from, to) in runs.iter().cloned().flatten().enumerate() {
                y.row_mut(to).copy_from_slice(memory.y.row(from));
            }
        }
    }
}

fn gather(from: &Mat, runs: &[Range<usize>], count: usize, to: &mut Mat) {
    to.reshape(count, from.cols);
    let mut at = 0;
    for run in runs {
        let part = run.len() * from.cols;
        to.data[at..at + part]
            .copy_from_slice(&from.data[run.start * from.cols..run.end * from.cols]);
        at += part;
    }
}
