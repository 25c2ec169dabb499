use super::*;
use crate::gradient_check::matrix;
use crate::kernels::cpu::levels;
use half::f16;

const LAYOUTS: [Layout; 7] = [
    Layout { bits: 4, block: 32, offset: 8, minimums: false, steps: false },
    Layout { bits: 4, block: 32, offset: 0, minimums: true, steps: false },
    Layout { bits: 4, block: 32, offset: 0, minimums: true, steps: true },
    Layout { bits: 8, block: 32, offset: 128, minimums: false, steps: false },
    Layout { bits: 8, block: 32, offset: 0, minimums: true, steps: false },
    Layout { bits: 8, block: 32, offset: 0, minimums: true, steps: true },
    Layout { bits: 8, block: 16, offset: 32, minimums: false, steps: true },
];

/// Reproducible blocks.
fn panels(k: usize, n: usize, layout: Layout) -> Panels {
    let numbers = matrix(n, k + 2 * k / layout.block, 7);
    let most = if layout.bits == 4 { 15.0 } else { 255.0 };
    Panels::pack(k, n, layout, |j, b| {
        let row = numbers.row(j);
        let mut q = [0; BLOCK];
        for (q, x) in q.iter_mut().zip(&row[b * layout.block..(b + 1) * layout.block]) {
            *q = ((x + 1.0) / 2.0 * most).round() as u8;
        }
        let of = |at: usize| {
            let x = row[k + 2 * b + at];
            if !layout.steps {
                return Factor { unit: f16::from_f32(x * 0.01), step: 1 };
            }
            let unit = row[k + b / layout.blocks_per_unit() * 2 + at] * 0.0005;
            Factor { unit: f16::from_f32(unit), step: (x * 31.0) as i8 }
        };
        Block { q, scale: of(0), minimum: of(1) }
    })
}

#[test]
fn every_instruction_set_multiplies_what_the_blocks_hold() {
    for layout in LAYOUTS {
        for (m, k, n) in [(1, 256, 1), (3, 512, 33), (9, 512, 27), (12, 256, 16), (110, 256, 112)] {
            let (x, panels) = (matrix(m, k, 3), panels(k, n, layout));
            let (bias, start) = (matrix(1, n, 4).data, matrix(m, n, 5));
            let mut rows = Rows::default();
            rows.quantize(m, k, &x.data, layout);
            let mut results = Vec::new();
            for level in levels() {
                let mut y = start.data.clone();
                let finish = Finish { bias: Some(&bias), accumulate: true, ..Finish::REPLACE };
                multiply_at(level, m, &x.data, &panels, &mut y, finish);
                for (at, y) in y.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let exact: f64 = (0..k)
                        .map(|kk| kept(&rows, (m, k), (i, kk)) * f64::from(panels.get(kk, j)))
                        .sum();
                    let want = exact + f64::from(bias[j]) + f64::from(start.data[at]);
                    let error = (f64::from(*y) - want).abs();
                    assert!(error < 2e-4, "{layout:?} {level:?} ({i}, {j}): {y}, not {want}");
                }
                results.push(y);
            }
            // Without FMA the sums round once more.
            let fused = &results[1..];
            assert!(fused.iter().all(|y| y == &fused[0]), "{layout:?}");
        }
    }
}

/// Element `(i, k)` of the quantized rows of `[m, k]`.
fn kept(rows: &Rows, (m, k): (usize, usize), (i, kk): (usize, usize)) -> f64 {
    let first = i / TALLEST * TALLEST;
    let at = first * k / BLOCK + kk / BLOCK * TALLEST.min(m - first) + i - first;
    f64::from(rows.bytes[at * BLOCK + kk % BLOCK]) * f64::from(rows.scales[at])
}

#[test]
fn rows_do_not_depend_on_their_company() {
    let (k, n) = (128, 160);
    let (x, panels) = (matrix(110, k, 3), panels(k, n, LAYOUTS[0]));
    let mut all = vec![0.0; 110 * n];
    multiply(110, &x.data, &panels, &mut all, Finish::REPLACE);
    for i in [0, 7, 11, 12, 95, 96, 109] {
        let mut one = vec![0.0; n];
        multiply(1, x.row(i), &panels, &mut one, Finish::REPLACE);
        assert_eq!(one, all[i * n..(i + 1) * n]);
    }
}

#[test]
fn rows_are_kept_within_half_a_step() {
    let x = matrix(15, 96, 9);
    let mut rows = Rows::default();
    rows.quantize(15, 96, &x.data, LAYOUTS[1]);
    let step = rows.scales.iter().fold(0f32, |most, scale| most.max(*scale));
    for (at, x) in x.data.iter().enumerate() {
        let kept = kept(&rows, (15, 96), (at / 96, at % 96));
        assert!((f64::from(*x) - kept).abs() <= f64::from(step) * 0.501);
    }
    for (at, factor) in rows.factors.iter().enumerate() {
        let sum: i32 = rows.bytes[at * 32..at * 32 + 32].iter().map(|b| i32::from(*b)).sum();
        assert_eq!(*factor, sum as f32 * rows.scales[at]);
    }
}

#[test]
fn a_row_of_weights_is_restored_as_it_is_multiplied() {
    for layout in LAYOUTS {
        let panels = panels(256, 21, layout);
        for j in [0, 15, 16, 20] {
            let mut row = vec![0.0; 256];
            panels.restore_row(j, &mut row);
            assert!(row.iter().enumerate().all(|(k, w)| *w == panels.get(k, j)), "{layout:?}");
        }
    }
}
