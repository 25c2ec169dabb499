//! Blocks as the kernels take them: unsigned integers on a grid, `scale·(q − offset) + minimum`,
//! bit for bit what dequantizing gives.

use super::BlockFormat;
use crate::kernels::blocks::{BLOCK, Block, Factor, Layout};
use half::f16;

impl BlockFormat {
    /// How the kernels lay the format's integers out; nothing for formats of floats.
    pub(crate) fn layout(self) -> Option<Layout> {
        let layout =
            |bits, offset, minimums| Layout { bits, block: 32, offset, minimums, steps: false };
        let steps = |layout| Some(Layout { steps: true, ..layout });
        match self {
            BlockFormat::F32 | BlockFormat::F16 | BlockFormat::Bf16 => None,
            BlockFormat::Q8_0 => Some(layout(8, 128, false)),
            BlockFormat::Q4_0 => Some(layout(4, 8, false)),
            BlockFormat::Q4_1 => Some(layout(4, 0, true)),
            BlockFormat::Q5_0 => Some(layout(8, 16, false)),
            BlockFormat::Q5_1 => Some(layout(8, 0, true)),
            BlockFormat::Q4K => steps(layout(4, 0, true)),
            BlockFormat::Q5K => steps(layout(8, 0, true)),
            BlockFormat::Q6K => steps(Layout { block: 16, ..layout(8, 32, false) }),
        }
    }

    /// Group `index` of a row of blocks, as many weights as the layout's blocks have.
    pub(crate) fn group(self, row: &[u8], index: usize) -> Block {
        let per = self.layout().map_or(1, |layout| self.elements() / layout.block);
        let block = &row[index / per * self.bytes()..][..self.bytes()];
        let (mut q, group) = ([0; BLOCK], index % per);
        let number = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
        let plain = |unit: f16| Factor { unit, step: 1 };
        let word = |at: usize| {
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let mut nibbles = |quants: &[u8], fifth: u32| {
            for (j, byte) in quants.iter().enumerate() {
                q[j] = byte & 15 | ((fifth >> j & 1) as u8) << 4;
                q[j + 16] = byte >> 4 | ((fifth >> (j + 16) & 1) as u8) << 4;
            }
        };
        let (scale, minimum) = match self {
            BlockFormat::F32 | BlockFormat::F16 | BlockFormat::Bf16 => {
                (plain(f16::ZERO), plain(f16::ZERO))
            }
            BlockFormat::Q8_0 => {
                q.iter_mut().zip(&block[2..]).for_each(|(q, byte)| *q = byte ^ 0x80);
                (plain(number(0)), plain(f16::ZERO))
            }
            BlockFormat::Q4_0 => {
                nibbles(&block[2..], 0);
                (plain(number(0)), plain(f16::ZERO))
            }
            BlockFormat::Q4_1 => {
                nibbles(&block[4..], 0);
                (plain(number(0)), plain(number(2)))
            }
            BlockFormat::Q5_0 => {
                nibbles(&block[6..], word(2));
                (plain(number(0)), plain(f16::ZERO))
            }
            BlockFormat::Q5_1 => {
                nibbles(&block[8..], word(4));
                (plain(number(0)), plain(number(2)))
            }
            BlockFormat::Q4K | BlockFormat::Q5K => {
                let (steps, minimums) = super::k::unpack(&block[4..16], group);
                let fifth = (self == BlockFormat::Q5K).then(|| &block[16..48]);
                let quants = &block[self.bytes() - 128..][group / 2 * 32..];
                for (i, q) in q.iter_mut().enumerate() {
                    let high = fifth.map_or(0, |fifth| (fifth[i] >> group & 1) << 4);
                    *q = quants[i] >> (group % 2 * 4) & 15 | high;
                }
                let factor = |unit, step: u8| Factor { unit, step: step.cast_signed() };
                (factor(number(0), steps), factor(-number(2), minimums))
            }
            BlockFormat::Q6K => {
                for (i, q) in q[..16].iter_mut().enumerate() {
                    let at = group * 16 + i;
                    let (half, quarter, i) = (at / 128, at % 128 / 32, at % 32);
                    let low = block[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
                    let high = block[128 + half * 32 + i] >> (quarter * 2) & 3;
                    *q = low | high << 4;
                }
                let step = block[192 + group].cast_signed();
                (Factor { unit: number(208), step }, plain(f16::ZERO))
            }
        };
        Block { q, scale, minimum }
    }
}
