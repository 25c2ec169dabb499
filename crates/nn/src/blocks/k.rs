//! The K formats of GGML: blocks of 256 in groups with scales of their own, which are small
//! integers in units of the block's.
//!
//! Q4_K and Q5_K: `d` and `dmin` (F16), twelve bytes with eight 6-bit scales and eight 6-bit
//! minimums, for Q5_K the fifth bits (byte `i`, bit `g` is that of weight `i` of group `g`), then
//! nibbles: 32 bytes for each two groups, the first below. A weight is `d·s·q − dmin·m`.
//!
//! Q6_K: 128 bytes of lower nibbles, 64 of upper bit pairs, sixteen signed scales, `d` (F16). A
//! weight is `d·s·(q − 32)`.
//!
//! Scales are searched for (`search.rs`). Inside, weights are in units of the block's largest
//! magnitude, so that no square leaves the range of `f32`.

use super::{inverse, search, stored};
use half::f16;

/// Weights in a block.
pub(super) const ELEMENTS: usize = 256;
/// Bytes of a block: two scales, packed scales and minimums, quants.
pub(super) const Q4_K: usize = 2 + 2 + 12 + 128;
/// Bytes of a block: two scales, packed scales and minimums, fifth bits, quants.
pub(super) const Q5_K: usize = 2 + 2 + 12 + 32 + 128;
/// Bytes of a block: quants below, quants above, scales, scale.
pub(super) const Q6_K: usize = 128 + 64 + 16 + 2;

type Weights = [f32; ELEMENTS];

pub(super) fn restore_q4_k(block: &[u8; Q4_K], out: &mut Weights) {
    let (scales, quants) = block[4..].split_at(12);
    restore_affine(block, scales, out, |group, i| {
        quants[group / 2 * 32 + i] >> (group % 2 * 4) & 15
    });
}

pub(super) fn restore_q5_k(block: &[u8; Q5_K], out: &mut Weights) {
    let (scales, rest) = block[4..].split_at(12);
    let (fifth, quants) = rest.split_at(32);
    restore_affine(block, scales, out, |group, i| {
        quants[group / 2 * 32 + i] >> (group % 2 * 4) & 15 | (fifth[i] >> group & 1) << 4
    });
}

/// Restores `d·s·q − dmin·m`, group by group.
fn restore_affine(
    block: &[u8],
    scales: &[u8],
    out: &mut Weights,
    quant: impl Fn(usize, usize) -> u8,
) {
    let (d, least) = (number(&block[0..]), number(&block[2..]));
    let (groups, _) = out.as_chunks_mut::<32>();
    for (group, out) in groups.iter_mut().enumerate() {
        let (scale, minimum) = unpack(scales, group);
        let (scale, minimum) = (d * f32::from(scale), least * f32::from(minimum));
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(quant(group, i)) - minimum;
        }
    }
}

/// The 6-bit scale and minimum of a group: those of the first four stand in the lower bits of the
/// first eight bytes; of the others the lower nibbles in the last four, the rest on top of the
/// first eight.
pub(super) fn unpack(scales: &[u8], group: usize) -> (u8, u8) {
    match group {
        0..4 => (scales[group] & 63, scales[group + 4] & 63),
        _ => (
            scales[group + 4] & 15 | scales[group - 4] >> 6 << 4,
            scales[group + 4] >> 4 | scales[group] >> 6 << 4,
        ),
    }
}

/// The opposite of [`unpack`].
fn pack(steps: &[(u8, u8); 8], scales: &mut [u8]) {
    for j in 0..4 {
        let ((scale, minimum), (high_scale, high_minimum)) = (steps[j], steps[j + 4]);
        scales[j] = scale | high_scale >> 4 << 6;
        scales[j + 4] = minimum | high_minimum >> 4 << 6;
        scales[j + 8] = high_scale & 15 | high_minimum << 4;
    }
}

pub(super) fn restore_q6_k(block: &[u8; Q6_K], out: &mut Weights) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let d = number(d);
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        for (quarter, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (i, out) in out.iter_mut().enumerate() {
                let low = low[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
                let high = high[half * 32 + i] >> (quarter * 2) & 3;
                let scale = d * f32::from(scales[half * 8 + quarter * 2 + i / 16].cast_signed());
                *out = scale * (f32::from(low | high << 4) - 32.0);
            }
        }
    }
}

pub(super) fn store_q4_k(x: &Weights, importance: Option<&Weights>, block: &mut [u8; Q4_K]) {
    let mut quants = [0; ELEMENTS];
    store_affine(x, importance, 15.0, block, &mut quants);
    store_nibbles(&quants, &mut block[16..]);
}

pub(super) fn store_q5_k(x: &Weights, importance: Option<&Weights>, block: &mut [u8; Q5_K]) {
    let mut quants = [0; ELEMENTS];
    store_affine(x, importance, 31.0, block, &mut quants);
    let (fifth, nibbles) = block[16..].split_at_mut(32);
    store_nibbles(&quants, nibbles);
    for (i, byte) in fifth.iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, group| bits | (quants[group * 32 + i] >> 4) << group);
    }
}

fn store_nibbles(quants: &[u8; ELEMENTS], bytes: &mut [u8]) {
    for (two, bytes) in quants.as_chunks::<64>().0.iter().zip(bytes.chunks_exact_mut(32)) {
        let (low, high) = two.split_at(32);
        for (byte, (low, high)) in bytes.iter_mut().zip(low.iter().zip(high)) {
            *byte = low & 15 | high << 4;
        }
    }
}

/// Searches and stores the scales and minimums of a block, 16 bytes; gives the quants.
fn store_affine(
    x: &Weights,
    importance: Option<&Weights>,
    top: f32,
    block: &mut [u8],
    quants: &mut [u8; ELEMENTS],
) {
    let (x, unit) = normalized(x);
    let mut w = weights(importance);
    let (groups, _) = x.as_chunks::<32>();
    let (group_weights, _) = w.as_chunks_mut::<32>();
    let square = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
    // How much an error counts beside its column's importance, as in llama.cpp: larger weights
    // carry more of the result, all of them some.
    let block_spread = 2.0 * square(&x) / ELEMENTS as f32;
    let mut grids = [(0.0, 0.0); 8];
    for (grid, (x, w)) in grids.iter_mut().zip(groups.iter().zip(group_weights.iter_mut())) {
        let group_spread = (square(x) / 32.0).sqrt();
        for (w, x) in w.iter_mut().zip(x) {
            *w *= match importance {
                Some(_) => (block_spread + x * x).sqrt(),
                None => group_spread + x.abs(),
            };
        }
        *grid = search::affine(x, w, top);
    }
    let most =
        grids.iter().fold((0f32, 0f32), |most, grid| (most.0.max(grid.0), most.1.max(grid.1)));
    let (d, least) = (stored(most.0 / 63.0 * unit), stored(most.1 / 63.0 * unit));
    block[..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&least.to_le_bytes());
    let step = (d.to_f32() * inverse(unit), least.to_f32() * inverse(unit));
    let nearest = |x: f32, step: f32| (x * inverse(step)).round_ties_even().min(63.0) as u8;
    let mut steps = [(0, 0); 8];
    for (at, (x, w)) in groups.iter().zip(group_weights.iter()).enumerate() {
        let near = (nearest(grids[at].0, step.0), nearest(grids[at].1, step.1));
        steps[at] = search::affine_steps(x, w, top, step, near);
        let (scale, minimum) = (step.0 * f32::from(steps[at].0), step.1 * f32::from(steps[at].1));
        search::affine_quants(x, top, scale, minimum, &mut quants.as_chunks_mut::<32>().0[at]);
    }
    pack(&steps, &mut block[4..16]);
}

pub(super) fn store_q6_k(x: &Weights, importance: Option<&Weights>, block: &mut [u8; Q6_K]) {
    const TOP: f32 = 32.0;
    let (x, unit) = normalized(x);
    let mut w = weights(importance);
    let (groups, _) = x.as_chunks::<16>();
    let (group_weights, _) = w.as_chunks_mut::<16>();
    let mut found = [0f32; 16];
    for (scale, (x, w)) in found.iter_mut().zip(groups.iter().zip(group_weights.iter_mut())) {
        if importance.is_none() {
            w.iter_mut().zip(x).for_each(|(w, x)| *w = x * x);
        }
        *scale = search::symmetric(x, w, TOP);
    }
    // The negative side has one integer more, so the extreme scale goes there.
    let extreme = found.iter().fold(0f32, |most, s| if s.abs() > most.abs() { *s } else { most });
    let d = stored(extreme / -128.0 * unit);
    let step = d.to_f32() * inverse(unit);
    let mut quants = [0u8; ELEMENTS];
    let (low, rest) = block.split_at_mut(128);
    let (high, rest) = rest.split_at_mut(64);
    let (scales, last) = rest.split_at_mut(16);
    last.copy_from_slice(&d.to_le_bytes());
    for (at, (x, w)) in groups.iter().zip(group_weights.iter()).enumerate() {
        let near = (found[at] * inverse(step)).round_ties_even() as i8;
        let scale = search::symmetric_steps(x, w, TOP, step, near);
        scales[at] = scale.cast_unsigned();
        let quants = &mut quants.as_chunks_mut::<16>().0[at];
        search::symmetric_quants(x, TOP, step * f32::from(scale), quants);
    }
    for (half, quants) in quants.as_chunks::<128>().0.iter().enumerate() {
        for i in 0..64 {
            low[half * 64 + i] = quants[i] & 15 | quants[i + 64] << 4;
        }
        for i in 0..32 {
            let pair = |quarter: usize| quants[quarter * 32 + i] >> 4 << (quarter * 2);
            high[half * 32 + i] = pair(0) | pair(1) | pair(2) | pair(3);
        }
    }
}

/// The F16 number at the beginning of some bytes.
fn number(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// The weights in units of the largest magnitude, and that.
fn normalized(x: &Weights) -> (Weights, f32) {
    let unit = x.iter().fold(0f32, |most, x| most.max(x.abs()));
    let inverse = inverse(unit);
    (x.map(|x| x * inverse), unit)
}

/// How much the error of each column counts, in units of the largest importance.
fn weights(importance: Option<&Weights>) -> Weights {
    let counted = |w: f32| if w.is_finite() && w > 0.0 { w } else { 0.0 };
    let Some(importance) = importance else { return [1.0; ELEMENTS] };
    let most = importance.iter().fold(0f32, |most, w| most.max(counted(*w)));
    match inverse(most) {
        0.0 => [1.0; ELEMENTS],
        inverse => importance.map(|w| counted(w) * inverse),
    }
}
