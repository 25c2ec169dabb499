//! Rates of layers with weights in blocks, at the shapes of small decoders: G multiply-adds a
//! second, and for one row GB of weights a second (the layers together are larger than the
//! caches).
//!
//! `cargo run --release -p sprat-nn --example blocks [threads]`

use sprat_nn::{BlockFormat, Format, Linear, Mat, threads};
use std::time::{Duration, Instant};

const FORMATS: [BlockFormat; 5] =
    [BlockFormat::Q4_0, BlockFormat::Q8_0, BlockFormat::Q5_0, BlockFormat::Q4K, BlockFormat::Q6K];

fn main() {
    if let Some(count) = std::env::args().nth(1).and_then(|n| n.parse().ok()) {
        threads::set_threads(count);
    }
    println!("{} threads", threads::threads());
    for format in FORMATS {
        for (inputs, outputs) in [(512, 1536), (1536, 512)] {
            let layers: Vec<Linear> = (0..256)
                .map(|seed| {
                    Linear::new(matrix(outputs, inputs, seed), None, Format::Blocks(format))
                })
                .take(if inputs == 512 { 256 } else { 16 })
                .collect();
            print!("{:6} {inputs} → {outputs}", format.name());
            for rows in [1, 4, 8, 12, 32, 96, 512] {
                let x = matrix(rows, inputs, 7);
                let mut y = Mat::default();
                let mut at = 0;
                let seconds = time(|| {
                    layers[at % layers.len()].forward_into(&x, None, &mut y);
                    at += 1;
                });
                print!("{:8.1}", (rows * inputs * outputs) as f64 / seconds / 1e9);
                if rows == 1 {
                    print!(" ({:4.1} GB/s)", layers[0].bytes() as f64 / seconds / 1e9);
                }
            }
            println!();
        }
    }
}

/// The best of many short timings, in seconds for one call: short enough to fall between the
/// turns of other processes.
fn time(mut work: impl FnMut()) -> f64 {
    work();
    let begun = Instant::now();
    let mut best = f64::INFINITY;
    while begun.elapsed() < Duration::from_millis(200) {
        let (begun, mut calls) = (Instant::now(), 0u32);
        while begun.elapsed() < Duration::from_micros(1000) {
            work();
            calls += 1;
        }
        best = best.min(begun.elapsed().as_secs_f64() / f64::from(calls));
    }
    best
}

fn matrix(rows: usize, cols: usize, seed: usize) -> Mat {
    let data = (0..rows * cols).map(|i| (((i + seed) * 7919 % 1009) as f32 - 504.0) / 504.0);
    Mat::new(rows, cols, data.collect())
}
