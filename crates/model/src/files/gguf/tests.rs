use super::*;
use crate::files::Gguf;
use proptest::prelude::*;
use sprat_nn::BlockFormat;
use sprat_task::Error;
use std::path::PathBuf;

/// Some values after one another, as a file has them.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn entry(key: &str, id: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &id.to_le_bytes(), value].concat()
}

/// An array: type of its elements, claimed length, and bytes.
fn array(id: u32, length: u64, bytes: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat()
}

fn tensor(name: &str, dimensions: &[u64], id: u32, offset: u64) -> Vec<u8> {
    let sizes: Vec<u8> = dimensions.iter().flat_map(|size| size.to_le_bytes()).collect();
    let count = (dimensions.len() as u32).to_le_bytes();
    [&text(name)[..], &count, &sizes, &id.to_le_bytes(), &offset.to_le_bytes()].concat()
}

/// A whole file: entries, descriptions, and `data` bytes of data after padding to 32.
fn file(entries: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    out.extend(entries.concat());
    out.extend(tensors.concat());
    if data > 0 {
        out.resize(out.len().next_multiple_of(32) + data, 7);
    }
    out
}

fn refused(bytes: &[u8]) -> Error {
    check_gguf(bytes).map(|header| format!("{header:?}")).unwrap_err()
}

/// Checks that a file is damaged, for that reason.
#[track_caller]
fn damaged(bytes: &[u8], reason: &str) {
    let error = refused(bytes);
    assert_eq!(error.code().id, "SPRAT-MODEL-GGUF", "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn a_sound_file_is_read() {
    let entries =
        [entry("general.architecture", 8, &text("llama")), entry("x.n", 4, &[5, 0, 0, 0])];
    let tensors = [tensor("a", &[32, 3], 8, 0), tensor("b", &[2], 0, 128)];
    let bytes = file(&entries, &tensors, 136);
    let header = check_gguf(&bytes).unwrap();
    assert_eq!(header.version(), 3);
    assert_eq!(header.metadata().text("general.architecture").unwrap(), "llama");
    assert_eq!(header.metadata().keys().collect::<Vec<_>>(), ["general.architecture", "x.n"]);
    let a = header.find("a").unwrap();
    assert_eq!((&a.shape[..], a.format, a.range.len()), (&[3, 32][..], BlockFormat::Q8_0, 102));
    let b = header.find("b").unwrap();
    assert_eq!((&b.shape[..], b.format, b.range.end), (&[2][..], BlockFormat::F32, bytes.len()));
    assert!(header.find("c").is_none());

    // Version 2 is the same; bytes after the data are nobody's; no data need no padding.
    let mut older = [&bytes[..], &[0; 9]].concat();
    older[4] = 2;
    assert_eq!(check_gguf(&older).unwrap().tensors(), header.tensors());
    assert!(check_gguf(&file(&entries, &[], 0)).unwrap().tensors().is_empty());
}

#[test]
fn other_versions_and_kinds_are_named() {
    let with_version = |version: u32| {
        let mut bytes = file(&[], &[], 0);
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        refused(&bytes)
    };
    for (version, reason) in [
        (1, "version 1"),
        (3 << 24, "big-endian file (of version 3)"),
        (0, "version is 0"),
        (4, "version is 4"),
        (u32::MAX, "version is 4294967295"),
    ] {
        let error = with_version(version);
        assert_eq!(error.code().id, "SPRAT-MODEL-GGUF-VERSION");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let part = refused(&file(&[entry("split.count", 2, &[3, 0])], &[], 0));
    assert_eq!(part.code().id, "SPRAT-MODEL-GGUF-VERSION");
    assert!(part.to_string().contains("one of 3 parts"), "{part}");
    damaged(b"PK\x03\x04 and more", "begins with `PK");
}

#[test]
fn formats_that_are_not_supported_are_named_with_those_that_are() {
    for (id, name) in [(10, "of format Q2_K"), (23, "of format IQ4_XS"), (4, "unknown format 4")] {
        let error = refused(&file(&[], &[tensor("blk.0.w", &[256], id, 0)], 256));
        assert_eq!(error.code().id, "SPRAT-MODEL-GGUF-FORMAT");
        let message = error.to_string();
        assert!(message.contains(name) && message.contains("`blk.0.w`"), "{message}");
        assert!(BlockFormat::ALL.iter().all(|f| message.contains(f.name())), "{message}");
    }
}

#[test]
fn claims_beyond_the_file_are_refused() {
    damaged(b"GG", "takes 4 bytes, but only 2 follow");
    let mut bytes = file(&[], &[], 0);
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    damaged(&bytes, "at most 65536");
    bytes[8..16].copy_from_slice(&1000u64.to_le_bytes());
    damaged(&bytes, "1000, more than fit");
    let mut bytes = file(&[], &[], 0);
    bytes[16..24].copy_from_slice(&(1u64 << 40).to_le_bytes());
    damaged(&bytes, "the number of metadata entries is 1099511627776");

    let huge = u64::MAX.to_le_bytes();
    damaged(&file(&[huge.to_vec()], &[], 9), "a key has 18446744073709551615 bytes");
    damaged(&file(&[entry("k", 8, &huge)], &[], 9), "18446744073709551615 bytes");
    damaged(&file(&[entry("k", 9, &array(4, u64::MAX, &[]))], &[], 9), "at most 16777216");
    damaged(&file(&[entry("k", 9, &array(4, 1 << 20, &[]))], &[], 9), "more than fit");
    damaged(&file(&[entry("k", 9, &array(8, 3, &huge))], &[], 24), "18446744073709551615 bytes");
    damaged(&file(&[entry("k", 9, &array(9, 1, &array(4, 0, &[])))], &[], 9), "arrays of arrays");
    damaged(&file(&[entry("k", 13, &[])], &[], 9), "no value has type 13");
    damaged(&file(&[entry("k", 9, &array(99, 0, &[]))], &[], 9), "no array has type 99");
    damaged(&file(&[entry("k", 7, &[2])], &[], 9), "a flag is 2");
    damaged(&file(&[entry("k", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xFF])], &[], 9), "not UTF-8");
}

#[test]
fn names_stand_once() {
    let k = || entry("k", 0, &[1]);
    damaged(&file(&[k(), k()], &[], 9), "the key `k` stands there twice");
    damaged(&file(&[entry("", 0, &[1])], &[], 9), "empty");
    let t = |offset| tensor("t", &[8], 0, offset);
    damaged(&file(&[], &[t(0), t(32)], 64), "tensor `t` stands there twice");
    let long = "n".repeat(64);
    damaged(&file(&[], &[tensor(&long, &[8], 0, 0)], 64), "at most 63");
    // A hostile name does not reach a terminal as it is.
    let error = refused(&file(&[], &[tensor("\x1b[2J", &[8], 10, 0)], 64));
    assert!(!error.to_string().contains('\x1b'), "{error}");
}

#[test]
fn absurd_tensors_are_refused() {
    let one = |dimensions: &[u64], id, offset, data| {
        file(&[], &[tensor("t", dimensions, id, offset)], data)
    };
    damaged(&one(&[1 << 40, 1 << 40], 0, 0, 64), "larger than any file");
    damaged(&one(&[u64::MAX], 0, 0, 64), "larger than any file");
    damaged(&one(&[1 << 62], 0, 0, 64), "larger than any file");
    damaged(&one(&[0, 4], 0, 0, 64), "no weights");
    damaged(&one(&[1, 1, 1, 1, 1], 0, 0, 64), "5 dimensions");
    damaged(&one(&[48], 8, 0, 64), "no multiple of the 32 of Q8_0");
    damaged(&one(&[32, 8], 12, 0, 64), "no multiple of the 256 of Q4_K");
    damaged(
        &one(&[17], 0, 0, 64),
        "takes 68 bytes from byte 0 of the data, but the data end after 64",
    );
    damaged(&one(&[4], 0, 64, 64), "takes 16 bytes from byte 64");
    damaged(&one(&[4], 0, 8, 64), "no multiple of the alignment 32");
    damaged(&one(&[4], 0, u64::MAX - 31, 64), "takes 16 bytes from byte");
    let two = [tensor("a", &[16], 0, 0), tensor("b", &[8], 0, 32)];
    damaged(&file(&[], &two, 64), "`a` and `b` overlap");
    // A scalar has no dimensions.
    assert_eq!(check_gguf(&one(&[], 0, 0, 4)).unwrap().find("t").unwrap().range.len(), 4);
}

#[test]
fn alignment_is_what_the_file_says() {
    let with = |id, value: &[u8]| {
        let tensors = [tensor("a", &[1], 0, 0), tensor("b", &[1], 0, 8)];
        let mut bytes = file(&[entry("general.alignment", id, value)], &tensors, 0);
        bytes.resize(bytes.len().next_multiple_of(8) + 12, 0);
        bytes
    };
    let sound = with(4, &[8, 0, 0, 0]);
    assert_eq!(check_gguf(&sound).unwrap().find("b").unwrap().range.end, sound.len());
    for value in [0u32, 1, 4, 12, 1 << 17, u32::MAX] {
        damaged(&with(4, &value.to_le_bytes()), "a power of two from 8 to 65536");
    }
    damaged(&with(10, &32u64.to_le_bytes()), "an unsigned 64-bit integer");
}

#[test]
fn metadata_come_in_the_type_that_is_asked_for() {
    let entries = [
        entry("u8", 0, &[200]),
        entry("i16", 3, &(-5i16).to_le_bytes()),
        entry("u64", 10, &u64::MAX.to_le_bytes()),
        entry("f32", 6, &0.1f32.to_le_bytes()),
        entry("f64", 12, &0.1f64.to_le_bytes()),
        entry("flag", 7, &[1]),
        entry("text", 8, &text("grün")),
        entry("texts", 9, &array(8, 2, &[text("a"), text("")].concat())),
        entry("floats", 9, &array(6, 1, &1.5f32.to_le_bytes())),
        entry("numbers", 9, &array(5, 2, &[1, 0, 0, 0, 255, 255, 255, 255])),
        entry("large", 9, &array(10, 1, &u64::MAX.to_le_bytes())),
    ];
    let header = check_gguf(&file(&entries, &[], 0)).unwrap();
    let metadata = header.metadata();
    assert_eq!(metadata.size("u8").unwrap(), 200);
    assert_eq!(metadata.number("i16").unwrap(), -5);
    assert_eq!(metadata.float("f32").unwrap(), f64::from(0.1f32));
    assert_eq!(metadata.float("f64").unwrap(), 0.1);
    assert!(metadata.flag("flag").unwrap());
    assert_eq!(metadata.text("text").unwrap(), "grün");
    assert_eq!(metadata.texts("texts").unwrap(), ["a", ""]);
    assert_eq!(metadata.floats("floats").unwrap(), [1.5]);
    assert_eq!(metadata.numbers("numbers").unwrap(), [1, -1]);
    assert_eq!(metadata.optional("u8", Metadata::size).unwrap(), Some(200));
    assert_eq!(metadata.optional("none", Metadata::text).unwrap(), None);
    for (error, what) in [
        (metadata.text("none").unwrap_err(), "`none` is missing"),
        (metadata.text("u8").unwrap_err(), "`u8` is an unsigned 8-bit integer, expected a text"),
        (metadata.number("f32").unwrap_err(), "expected an integer"),
        (metadata.number("u64").unwrap_err(), "out of range: 18446744073709551615"),
        (metadata.size("i16").unwrap_err(), "out of range: -5"),
        (metadata.float("u8").unwrap_err(), "expected a float"),
        (metadata.flag("u8").unwrap_err(), "expected a flag"),
        (
            metadata.texts("floats").unwrap_err(),
            "an array of 32-bit floats, expected an array of texts",
        ),
        (metadata.floats("f32").unwrap_err(), "expected an array of floats"),
        (metadata.numbers("texts").unwrap_err(), "expected an array of integers"),
        (metadata.numbers("large").unwrap_err(), "out of range"),
    ] {
        assert_eq!(error.code().id, "SPRAT-MODEL-GGUF-KEY");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.place().field.is_some());
    }
}

fn in_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    (folder, path)
}

#[test]
fn what_is_written_is_read_back_in_every_format() {
    let (_folder, path) = in_folder();
    let weights: Vec<f32> = (0..1536).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut blocks = vec![0; BlockFormat::Q6K.bytes_for(256).unwrap()];
    BlockFormat::Q6K.quantize(&weights[..256], None, &mut blocks);
    let mut writer = GgufWriter::new("llama");
    for format in BlockFormat::ALL {
        writer.add(format.name(), &[2, 3, 256], format, &weights, None).unwrap();
    }
    writer.add_later("later", &[1536], BlockFormat::F32, || Ok(weights.clone()), None).unwrap();
    writer.add_blocks("blocks", &[256], BlockFormat::Q6K, &blocks).unwrap();
    writer.add("scalar", &[], BlockFormat::F32, vec![2.5], None).unwrap();
    let size = writer.write(&path).unwrap();
    assert_eq!(size, std::fs::metadata(&path).unwrap().len());
    assert!(size.is_multiple_of(32));

    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.metadata().number("general.quantization_version").unwrap(), 2);
    assert_eq!(gguf.tensors().len(), BlockFormat::ALL.len() + 3);
    for format in BlockFormat::ALL {
        let tensor = gguf.tensor(format.name()).unwrap();
        assert_eq!((tensor.shape(), tensor.format()), (&[2, 3, 256][..], format));
        let mut bytes = vec![0; tensor.bytes().len()];
        format.quantize_rows(256, &weights, None, &mut bytes);
        assert!(tensor.bytes() == bytes, "{format}");
        let mut restored = vec![0.0; 1536];
        format.dequantize(&bytes, &mut restored);
        assert_eq!(tensor.f32(&[2, 3, 256]).unwrap(), restored);
        let mat = tensor.to_mat().unwrap();
        assert_eq!((mat.rows, mat.cols), (6, 256));
    }
    assert_eq!(gguf.tensor("later").unwrap().f32(&[1536]).unwrap(), weights);
    assert_eq!(gguf.tensor("blocks").unwrap().bytes(), blocks);
    assert_eq!(gguf.tensor("scalar").unwrap().to_mat().unwrap().data, [2.5]);

    // Everything again, from the file just read: the same bytes.
    let copy = path.with_file_name("copy.gguf");
    let mut writer = GgufWriter::new("llama");
    writer.set_all(gguf.metadata());
    for tensor in gguf.tensors() {
        let (name, shape) = (tensor.name(), tensor.shape());
        writer.add_blocks(name, shape, tensor.format(), tensor.bytes()).unwrap();
    }
    writer.write(&copy).unwrap();
    assert!(std::fs::read(&path).unwrap() == std::fs::read(&copy).unwrap());
}

#[test]
fn wrong_uses_of_the_writer_and_reader_are_told() {
    let (folder, path) = in_folder();
    let mut writer = GgufWriter::new("x");
    let f32 = BlockFormat::F32;
    writer.add("a", &[2], f32, vec![1.0, f32::NAN], None).unwrap();
    for (error, code) in [
        (writer.add("a", &[1], f32, vec![1.0], None), "SPRAT-MODEL-WRITE"),
        (writer.add("", &[1], f32, vec![1.0], None), "SPRAT-MODEL-WRITE"),
        (writer.add(&"n".repeat(64), &[1], f32, vec![1.0], None), "SPRAT-MODEL-WRITE"),
        (writer.add("b", &[3], f32, vec![1.0], None), "SPRAT-MODEL-SHAPE"),
        (writer.add("b", &[usize::MAX, 2], f32, vec![1.0], None), "SPRAT-MODEL-SHAPE"),
        (writer.add("b", &[0], f32, vec![], None), "SPRAT-MODEL-SHAPE"),
        (writer.add("b", &[1; 5], f32, vec![1.0], None), "SPRAT-MODEL-SHAPE"),
        (writer.add("b", &[33], BlockFormat::Q8_0, vec![1.0; 33], None), "SPRAT-MODEL-SHAPE"),
        (writer.add("b", &[1], f32, vec![1.0], Some(vec![].into())), "SPRAT-MODEL-SHAPE"),
        (writer.add_blocks("b", &[1], f32, vec![0; 3]), "SPRAT-MODEL-SHAPE"),
    ] {
        assert_eq!(error.unwrap_err().code().id, code);
    }
    let error = writer.write(&path).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-VALUES");
    assert!(error.to_string().contains("value 1 of tensor `a` is NaN"), "{error}");
    // Nothing is left of a file that could not be written.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let failing = || Err(Error::new(&crate::codes::ADAPTER, "no such adapter"));
    let mut writer = GgufWriter::new("x");
    writer.add_later("a", &[1], f32, failing, None).unwrap();
    assert_eq!(writer.write(&path).unwrap_err().code().id, "SPRAT-MODEL-ADAPTER");
    let mut writer = GgufWriter::new("x");
    writer.add_later("a", &[1], f32, || Ok(vec![1.0, 2.0]), None).unwrap();
    assert_eq!(writer.write(&path).unwrap_err().code().id, "SPRAT-MODEL-SHAPE");
    let mut writer = GgufWriter::new("x");
    writer.set(&"k".repeat(1 << 16), true);
    assert_eq!(writer.write(&path).unwrap_err().code().id, "SPRAT-MODEL-WRITE");

    let nan = [&f32::NAN.to_le_bytes()[..], &1f32.to_le_bytes()].concat();
    let mut writer = GgufWriter::new("x");
    writer.set("general.alignment", 64u32);
    writer.add_blocks("nan", &[2], f32, &nan).unwrap();
    writer.write(&path).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    assert!(!gguf.metadata().has("general.alignment"));
    for (error, code) in [
        (gguf.tensor("none").unwrap_err(), "SPRAT-MODEL-MISSING-TENSOR"),
        (gguf.tensor("nan").unwrap().f32(&[1]).unwrap_err(), "SPRAT-MODEL-SHAPE"),
        (gguf.tensor("nan").unwrap().dequantized().unwrap_err(), "SPRAT-MODEL-VALUES"),
        (gguf.metadata().text("x").unwrap_err(), "SPRAT-MODEL-GGUF-KEY"),
        (Gguf::open(&path.with_extension("none")).unwrap_err(), "SPRAT-MODEL-MISSING-FILE"),
        (Gguf::open(folder.path()).unwrap_err(), "SPRAT-MODEL-READ"),
    ] {
        assert_eq!(error.code().id, code);
        assert!(error.place().file.is_some(), "{error}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::collection::vec(any::<u16>(), 0..9).prop_map(Value::from),
        proptest::collection::vec(any::<i64>(), 0..9).prop_map(Value::from),
        proptest::collection::vec(any::<f32>(), 0..9).prop_map(Value::from),
        proptest::collection::vec(any::<bool>(), 0..9).prop_map(Value::from),
        proptest::collection::vec(any::<String>(), 0..9).prop_map(Value::from),
    ]
}

/// A tensor that can be written: shape and format.
fn any_tensor() -> impl Strategy<Value = (Vec<usize>, BlockFormat)> {
    (
        proptest::sample::select(&BlockFormat::ALL[..]),
        proptest::collection::vec(1usize..4, 0..4),
        1usize..4,
    )
        .prop_map(|(format, mut shape, blocks)| {
            shape.push(format.elements() * blocks);
            (shape, format)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read_back(
        entries in proptest::collection::vec(("[a-z]{1,8}\\.[a-z_é]{1,8}", any_value()), 0..6),
        tensors in proptest::collection::vec(any_tensor(), 0..6),
    ) {
        let (_folder, path) = in_folder();
        let mut writer = GgufWriter::new("any");
        let mut expected: Vec<(String, Value)> = Vec::new();
        for (key, value) in entries {
            writer.set(&key, value.clone());
            expected.retain(|(known, _)| *known != key);
            expected.push((key, value));
        }
        for (at, (shape, format)) in tensors.iter().enumerate() {
            let weights: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32 - 7.5).collect();
            writer.add(&format!("t{at}"), shape, *format, weights, None).unwrap();
        }
        writer.write(&path).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        for (key, value) in &expected {
            let same = match (gguf.metadata().get(key), value) {
                // Not-a-number is not itself.
                (Some(Value::F32(a)), Value::F32(b)) => a.to_bits() == b.to_bits(),
                (Some(Value::F64(a)), Value::F64(b)) => a.to_bits() == b.to_bits(),
                (a, b) => format!("{a:?}") == format!("{:?}", Some(b)),
            };
            prop_assert!(same, "{key}");
        }
        for (at, (shape, format)) in tensors.iter().enumerate() {
            let tensor = gguf.tensor(&format!("t{at}")).unwrap();
            prop_assert_eq!((tensor.shape(), tensor.format()), (&shape[..], *format));
            let weights: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32 - 7.5).collect();
            let mut bytes = vec![0; tensor.bytes().len()];
            format.quantize_rows(*shape.last().unwrap(), &weights, None, &mut bytes);
            prop_assert_eq!(tensor.bytes(), bytes);
        }
    }
}

/// What [`check_gguf`] accepts must hold, whatever the bytes.
fn accepted_is_sound(bytes: &[u8]) {
    let Ok(header) = check_gguf(bytes) else { return };
    for tensor in header.tensors() {
        let elements: usize = tensor.shape.iter().product();
        assert_eq!(tensor.format.bytes_for(elements), Some(tensor.range.len()));
        let bytes = &bytes[tensor.range.clone()];
        tensor.format.dequantize(bytes, &mut vec![0.0; elements]);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        accepted_is_sound(&bytes);
        accepted_is_sound(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
        let entries = [
            entry("general.architecture", 8, &text("llama")),
            entry("general.alignment", 4, &[32, 0, 0, 0]),
            entry("texts", 9, &array(8, 2, &[text("a"), text("bc")].concat())),
            entry("floats", 9, &array(6, 1, &1.5f32.to_le_bytes())),
        ];
        let tensors = [
            tensor("a", &[32, 3], 8, 0),
            tensor("b", &[2], 0, 128),
            tensor("c", &[256, 1], 12, 160),
        ];
        let mut bytes = file(&entries, &tensors, 304);
        assert!(check_gguf(&bytes).is_ok());
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        accepted_is_sound(&bytes);
        accepted_is_sound(&bytes[..cut.index(bytes.len())]);
    }
}
