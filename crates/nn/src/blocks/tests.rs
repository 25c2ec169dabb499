use super::*;
use crate::gradient_check::matrix;
use crate::threads::set_threads;
use proptest::prelude::*;

/// A row, stored and restored.
fn round_trip(format: BlockFormat, row: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
    let mut bytes = vec![0xAA; format.bytes_for(row.len()).unwrap()];
    format.quantize(row, importance, &mut bytes);
    let mut out = vec![f32::NAN; row.len()];
    format.dequantize(&bytes, &mut out);
    out
}

/// Numbers that look like weights: sums of uniform ones, nearly normal, of variance 1.
fn weights(count: usize, salt: u64) -> Vec<f32> {
    let terms = matrix(12, count, salt);
    (0..count).map(|j| (0..12).map(|i| terms.row(i)[j]).sum::<f32>() * 0.5).collect()
}

/// The root of the mean square of the error, each column's weighed.
fn rms(a: &[f32], b: &[f32], importance: &[f32]) -> f64 {
    let error = |((a, b), w): ((&f32, &f32), &f32)| f64::from(*w) * f64::from(a - b).powi(2);
    let total: f64 = importance.iter().map(|w| f64::from(*w)).sum();
    (a.iter().zip(b).zip(importance).map(error).sum::<f64>() / total).sqrt()
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0f32, |most, x| most.max(x.abs()))
}

/// The most that one weight may be off, in parts of its block's largest magnitude: half a step
/// (a whole one where the grid has one integer less on one side) and the 11 bits of an F16 scale.
/// The K formats trade the error of one weight for that of the others: for them three steps of a
/// grid over the whole block.
fn worst(format: BlockFormat) -> f32 {
    match format {
        BlockFormat::F32 => 0.0,
        BlockFormat::F16 => 0.5 / 1024.0,
        BlockFormat::Bf16 => 0.5 / 128.0,
        BlockFormat::Q8_0 => 0.5 / 127.0 + 0.001,
        BlockFormat::Q4_0 => 1.0 / 8.0 + 0.001,
        BlockFormat::Q4_1 => 1.0 / 15.0 + 0.003,
        BlockFormat::Q5_0 => 1.0 / 16.0 + 0.001,
        BlockFormat::Q5_1 => 1.0 / 31.0 + 0.003,
        BlockFormat::Q4K => 3.0 / 15.0,
        BlockFormat::Q5K => 3.0 / 31.0,
        BlockFormat::Q6K => 3.0 / 63.0,
    }
}

#[test]
fn sizes_are_those_of_ggml() {
    let sizes = BlockFormat::ALL.map(|format| (format.elements(), format.bytes()));
    assert_eq!(
        sizes,
        [
            (1, 4),
            (1, 2),
            (1, 2),
            (32, 34),
            (32, 18),
            (32, 20),
            (32, 22),
            (32, 24),
            (256, 144),
            (256, 176),
            (256, 210),
        ]
    );
    assert_eq!(BlockFormat::Q4K.bytes_for(512), Some(288));
    assert_eq!(BlockFormat::Q4K.bytes_for(500), None);
    assert_eq!(BlockFormat::Q8_0.bytes_for(0), Some(0));
    assert_eq!(BlockFormat::F32.bytes_for(usize::MAX), None);
    assert_eq!(BlockFormat::Q4K.fitting(1536), BlockFormat::Q4K);
    assert_eq!(BlockFormat::Q4K.fitting(576), BlockFormat::Q5_0);
    assert_eq!(BlockFormat::Q6K.fitting(100), BlockFormat::F16);
    for format in BlockFormat::ALL {
        assert!(BlockFormat::ALL.iter().all(|f| f.fitting(480).bytes_for(480).is_some()));
        assert_eq!(BlockFormat::by_name(&format.name().to_lowercase()), Some(format));
    }
}

#[test]
fn errors_are_as_small_as_the_bits_allow() {
    // On weights that look normal, in parts of their standard deviation; a uniform grid of so many
    // bits over blocks cannot do much better. What was measured, and about a tenth more.
    let row = weights(64 * 256, 7);
    let even = vec![1.0; row.len()];
    for (format, most) in [
        (BlockFormat::Q8_0, 0.0058),
        (BlockFormat::Q6K, 0.0192),
        (BlockFormat::Q5_1, 0.041),
        (BlockFormat::Q5_0, 0.046),
        (BlockFormat::Q5K, 0.038),
        (BlockFormat::Q4_1, 0.085),
        (BlockFormat::Q4_0, 0.093),
        (BlockFormat::Q4K, 0.077),
    ] {
        let error = rms(&row, &round_trip(format, &row, None), &even);
        eprintln!("{format}: {error:.5}");
        assert!(error < most, "{format}: {error}");
    }
}

#[test]
fn important_columns_come_out_nearer() {
    let row = weights(16 * 256, 11);
    // One column in eight counts a hundred times as much.
    let importance: Vec<f32> =
        (0..row.len()).map(|i| if i % 8 == 3 { 100.0 } else { 1.0 }).collect();
    for format in BlockFormat::ALL {
        let plain = rms(&row, &round_trip(format, &row, None), &importance);
        let weighed = rms(&row, &round_trip(format, &row, Some(&importance)), &importance);
        eprintln!("{format}: {plain:.5} without, {weighed:.5} with importance");
        match format.uses_importance() {
            true => assert!(weighed < 0.75 * plain, "{format}: {weighed} and {plain}"),
            false => assert_eq!(weighed, plain, "{format}"),
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for format in BlockFormat::ALL {
        let restored = round_trip(format, &[0.0; 512], None);
        assert!(restored.iter().all(|x| *x == 0.0), "{format}");
        let importance = Some(&[0.0; 512][..]);
        assert!(round_trip(format, &[0.0; 512], importance).iter().all(|x| *x == 0.0), "{format}");
    }
}

#[test]
fn constants_and_one_sided_blocks_are_kept() {
    for format in BlockFormat::ALL {
        for constant in [0.7, -0.7] {
            let restored = round_trip(format, &[constant; 256], None);
            let error = restored.iter().map(|x| (x - constant).abs()).fold(0.0, f32::max);
            assert!(error < 0.01, "{format}: {constant} is off by {error}");
        }
    }
}

#[test]
fn weights_too_large_for_their_scale_stay_finite() {
    for format in BlockFormat::ALL.into_iter().filter(|format| format.is_quantized()) {
        let mut row = weights(256, 3);
        row[17] = f32::MAX;
        row[203] = f32::MIN;
        for importance in [None, Some(&[1e30; 256][..])] {
            let restored = round_trip(format, &row, importance);
            assert!(restored.iter().all(|x| x.is_finite()), "{format}");
        }
    }
}

#[test]
fn importance_that_says_nothing_is_harmless() {
    let row = weights(256, 5);
    for format in BlockFormat::ALL {
        let even = round_trip(format, &row, Some(&[1.0; 256]));
        for says_nothing in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-44] {
            let restored = round_trip(format, &row, Some(&[says_nothing; 256]));
            assert_eq!(restored, even, "{format}: {says_nothing}");
        }
    }
}

#[test]
fn threads_change_nothing() {
    let (rows, cols) = (300, 512);
    let values = weights(rows * cols, 13);
    for format in BlockFormat::ALL {
        let size = format.bytes_for(rows * cols).unwrap();
        let (mut alone, mut together) = (vec![0; size], vec![0; size]);
        for (values, out) in values.chunks(cols).zip(alone.chunks_mut(size / rows)) {
            format.quantize(values, None, out);
        }
        set_threads(3);
        format.quantize_rows(cols, &values, None, &mut together);
        assert!(alone == together, "{format}");
        let (mut a, mut b) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        format.dequantize(&alone, &mut a);
        format.dequantize_all(&alone, &mut b);
        assert!(a == b, "{format}");
    }
}

fn any_format() -> impl Strategy<Value = BlockFormat> {
    proptest::sample::select(&BlockFormat::ALL[..])
}

proptest! {
    #[test]
    fn no_weight_is_off_by_more_than_its_block_allows(
        format in any_format(),
        row in proptest::collection::vec(-1.0f32..1.0, 256),
        outlier in 0usize..256,
        factor in prop_oneof![Just(1.0f32), Just(30.0)],
        size in prop_oneof![Just(1.0f32), Just(0.02), Just(500.0)],
        importance in proptest::option::of(proptest::collection::vec(0.5f32..2.0, 256)),
    ) {
        let mut row: Vec<f32> = row.iter().map(|x| x * size).collect();
        row[outlier] *= factor;
        let restored = round_trip(format, &row, importance.as_deref());
        let block = format.elements();
        for (row, restored) in row.chunks(block).zip(restored.chunks(block)) {
            let allowed = worst(format) * largest(row) + 1e-6;
            for (x, y) in row.iter().zip(restored) {
                prop_assert!((x - y).abs() <= allowed, "{format}: {x} became {y}");
            }
        }
    }

    #[test]
    fn any_bits_are_stored_and_restored_without_panic(
        format in any_format(),
        bits in proptest::collection::vec(any::<u32>(), 256),
        importance in proptest::collection::vec(any::<u32>(), 256),
        bytes in proptest::collection::vec(any::<u8>(), 1024),
    ) {
        let row: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        let importance: Vec<f32> = importance.iter().map(|bits| f32::from_bits(*bits)).collect();
        round_trip(format, &row, Some(&importance));
        let finite: Vec<f32> = row.iter().map(|x| if x.is_finite() { *x } else { 0.0 }).collect();
        let restored = round_trip(format, &finite, Some(&importance));
        if format.is_quantized() {
            prop_assert!(restored.iter().all(|x| x.is_finite()), "{format}");
        }
        let mut out = vec![0.0; 256];
        format.dequantize(&bytes[..format.bytes_for(256).unwrap()], &mut out);
    }
}
