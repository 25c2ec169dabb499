//! How near the kernels come to what this machine can do: prints the peak of its multiply-add
//! instructions, measured in registers, and the rate of each layer at the shapes of a small text
//! encoder (hidden 384, inner 1,536, 12 heads of 32).
//!
//! `cargo run --release -p sprat-nn --example peak [threads]`

use sprat_nn::{Activation, Attention, Format, Heads, LayerNorm, Linear, Lora, Mat, Placed};
use sprat_nn::{lora, threads};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    if let Some(count) = std::env::args().nth(1).and_then(|n| n.parse().ok()) {
        threads::set_threads(count);
    }
    println!("{} threads", threads::threads());
    let peaks = peaks();
    for (name, peak) in ["f32", "bf16", "int8"].iter().zip(peaks) {
        println!("peak {name:5} {:8.1} G multiply-adds/s", peak / 1e9);
    }
    linear(peaks);
    adapters(peaks[0]);
    attention();
    pointwise();
    dispatch();
}

/// The best of many short timings, in seconds for one call: short enough to fall between the
/// turns of other processes.
fn time(mut work: impl FnMut()) -> f64 {
    work();
    let begun = Instant::now();
    let mut best = f64::INFINITY;
    while begun.elapsed() < Duration::from_millis(150) {
        let (begun, mut calls) = (Instant::now(), 0u32);
        while begun.elapsed() < Duration::from_micros(300) {
            work();
            calls += 1;
        }
        best = best.min(begun.elapsed().as_secs_f64() / f64::from(calls));
    }
    best
}

fn matrix(rows: usize, cols: usize) -> Mat {
    let data = (0..rows * cols).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 504.0).collect();
    Mat::new(rows, cols, data)
}

fn linear(peaks: [f64; 3]) {
    println!("\nlinear, G multiply-adds/s and share of peak");
    println!(
        "{:22}{:>16}{:>16}{:>16}{:>16}{:>16}",
        "rows × in → out", "f32", "bf16", "int8", "f32 dx", "bf16 dx"
    );
    for (inputs, outputs) in [(384, 384), (384, 1152), (384, 1536), (1536, 384)] {
        let layers = [Format::F32, Format::Bf16, Format::Int8]
            .map(|f| Linear::new(matrix(outputs, inputs), Some(vec![0.5; outputs]), f));
        for rows in [1, 12, 32, 128, 480, 2048] {
            print!("{:22}", format!("{rows} × {inputs} → {outputs}"));
            let (x, dy) = (matrix(rows, inputs), matrix(rows, outputs));
            let products = (rows * inputs * outputs) as f64;
            let show = |seconds: f64, peak: f64| {
                let rate = products / seconds;
                print!("{:8.1} ({:3.0} %)", rate / 1e9, 100.0 * rate / peak);
            };
            let mut out = Mat::default();
            for (layer, peak) in layers.iter().zip(peaks) {
                show(time(|| layer.forward_into(&x, None, &mut out)), peak);
            }
            for (layer, peak) in layers.iter().zip(peaks).take(2) {
                show(time(|| layer.backward_input_into(&dy, false, &mut out)), peak);
            }
            println!();
        }
    }
    let (x, dy) = (matrix(480, 384), matrix(480, 1536));
    let mut dw = Mat::zeros(1536, 384);
    let seconds = time(|| Linear::backward_weight(&x, &dy, &mut dw, None));
    let rate = (480 * 384 * 1536) as f64 / seconds;
    println!("dW 480: 384 → 1536 {:30.1} ({:3.0} %)", rate / 1e9, 100.0 * rate / peaks[0]);
}

fn adapters(peak: f64) {
    println!("\nadapters of rank 16, 480 tokens, forward and backward, f32");
    for (inputs, outputs, parts) in [(384, 384, 1), (384, 384, 3), (384, 1536, 1), (1536, 384, 1)] {
        let adapter = Lora { a: matrix(16, inputs), b: matrix(outputs, 16), scale: 2.0 };
        let placed: Vec<_> =
            (0..parts).map(|i| Placed { lora: &adapter, column: i * outputs }).collect();
        let x = matrix(480, inputs);
        let mut y = matrix(480, outputs * parts);
        let mut dx = matrix(480, inputs);
        let mut gradients = vec![adapter.zero_gradient(); parts];
        let products = (parts * 480 * 16 * (inputs + outputs)) as f64;
        let mut hidden = Mat::default();
        let forward = time(|| hidden = lora::forward_add(&placed, &x, None, &mut y));
        let backward = time(|| {
            lora::backward(&placed, &x, None, &hidden, &y, &mut gradients, Some(&mut dx));
        });
        println!(
            "{parts} × {inputs} → {outputs:4}: forward {:6.1} µs ({:3.0} %), backward {:6.1} µs ({:3.0} %)",
            forward * 1e6,
            100.0 * products / forward / peak,
            backward * 1e6,
            100.0 * 2.0 * products / backward / peak
        );
    }
}

fn attention() {
    println!("\nattention, 12 heads of 32");
    let layer = Attention { heads: Heads { query: 12, key_value: 12, width: 32 }, causal: false };
    for (count, tokens) in [(1, 12), (32, 15), (8, 60), (1, 512)] {
        let bounds: Vec<usize> = (0..=count).map(|i| i * tokens).collect();
        let qkv = matrix(count * tokens, 1152);
        let dout = matrix(count * tokens, 384);
        let mut out = Mat::default();
        let forward = time(|| layer.forward_into(&qkv, &bounds, &mut out));
        let (_, tape) = layer.forward_tape(&qkv, &bounds, None);
        let backward = time(|| {
            black_box(layer.backward(&qkv, &bounds, None, &tape, &dout));
        });
        println!(
            "{count:3} × {tokens:3} tokens: forward {:8.1} µs, backward {:8.1} µs",
            forward * 1e6,
            backward * 1e6
        );
    }
}

fn pointwise() {
    println!("\nper element");
    let x = matrix(480, 1536);
    for f in [Activation::GeluErf, Activation::GeluTanh, Activation::Silu] {
        let mut y = x.clone();
        let forward = time(|| {
            y.data.copy_from_slice(&x.data);
            f.apply(&mut y.data);
        });
        let mut dy = x.clone();
        let backward = time(|| {
            dy.data.fill(1.0); // or they would fade into denormal numbers
            f.backward(&x, &mut dy);
        });
        let per = 1e9 / x.data.len() as f64;
        println!("{f:?}: {:.3} ns (one thread), backward {:.3} ns", forward * per, backward * per);
    }
    let norm = LayerNorm { gamma: vec![1.0; 384], beta: vec![0.0; 384], eps: 1e-12 };
    let x = matrix(480, 384);
    let mut y = x.clone();
    let seconds = time(|| norm.add_forward(&x, &mut y));
    println!("residual sum and norm: {:.3} ns", seconds * 1e9 / x.data.len() as f64);
}

fn dispatch() {
    let seconds = time(|| {
        threads::run(2, |i| {
            black_box(i);
        });
    });
    println!("\nan empty parallel region: {:.2} µs", seconds * 1e6);
}

/// Multiply-adds per second of f32, bf16 and int8 instructions over all threads (one thread's,
/// times their number); 0 where the processor lacks them.
#[cfg(target_arch = "x86_64")]
fn peaks() -> [f64; 3] {
    use std::arch::x86_64::*;
    const ROUNDS: usize = 10_000;
    const CHAINS: usize = 16;
    macro_rules! peak {
        ($features:literal, $lanes:expr, $zero:expr, |$c:ident| $step:expr) => {{
            #[target_feature(enable = $features)]
            fn chains() {
                let mut sums = [$zero; CHAINS];
                for _ in 0..ROUNDS {
                    for sum in &mut sums {
                        let $c = *sum;
                        *sum = $step;
                    }
                }
                black_box(sums);
            }
            // SAFETY: the caller checked the features.
            let seconds = time(|| unsafe { chains() });
            (ROUNDS * CHAINS * $lanes * threads::threads()) as f64 / seconds
        }};
    }
    let mut found = [0.0; 3];
    if is_x86_feature_detected!("avx512f") {
        found[0] = peak!("avx512f", 16, _mm512_set1_ps(0.5), |c| _mm512_fmadd_ps(
            c,
            _mm512_set1_ps(0.999),
            _mm512_set1_ps(0.001)
        ));
    }
    if is_x86_feature_detected!("avx512bf16") {
        found[1] = peak!("avx512f,avx512bf16", 32, _mm512_set1_ps(0.5), |c| {
            // SAFETY: the same 512 bits.
            let x =
                unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0x3C00_3C00)) };
            _mm512_dpbf16_ps(c, x, x)
        });
    }
    if is_x86_feature_detected!("avx512vnni") {
        found[2] = peak!("avx512f,avx512vnni", 64, _mm512_setzero_si512(), |c| {
            _mm512_dpbusd_epi32(c, _mm512_set1_epi32(0x0101_0101), _mm512_set1_epi32(0x01FF_01FF))
        });
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
fn peaks() -> [f64; 3] {
    [0.0; 3]
}
