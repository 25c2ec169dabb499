//! A GGUF file with a tensor in every format and metadata of every type, for
//! `dev/check_gguf.py`: each `FORMAT` is what `original` becomes, and `FORMAT.restored` what we
//! read from it.
//!
//!     cargo run -p sprat-model --example gguf_sample -- FILE

#![expect(clippy::unwrap_used, reason = "a development tool")]

use rand::Rng;
use sprat_model::BlockFormat;
use sprat_model::files::GgufWriter;
use sprat_task::random::stream;
use std::path::PathBuf;

fn main() -> sprat_task::Result<()> {
    let path = PathBuf::from(std::env::args_os().nth(1).unwrap());
    let shape = [24, 768];
    let mut random = stream(1, "gguf sample");
    let mut weight = || (0..6).map(|_| random.random::<f32>() - 0.5).sum::<f32>() * 0.05;
    let original: Vec<f32> = (0..shape[0] * shape[1]).map(|_| weight()).collect();
    let mut writer = GgufWriter::new("llama");
    writer.set("sample.u8", 8u8);
    writer.set("sample.i8", -8i8);
    writer.set("sample.u16", 16u16);
    writer.set("sample.i16", -16i16);
    writer.set("sample.u32", 32u32);
    writer.set("sample.i32", -32i32);
    writer.set("sample.u64", u64::MAX);
    writer.set("sample.i64", i64::MIN);
    writer.set("sample.f32", 0.25f32);
    writer.set("sample.f64", 0.1f64);
    writer.set("sample.flag", true);
    writer.set("sample.text", "grün");
    writer.set("sample.texts", vec!["a".to_owned(), String::new(), "日本".to_owned()]);
    writer.set("sample.floats", vec![0.5f32, -1.0]);
    writer.set("sample.numbers", vec![3i32, -4]);
    writer.set("sample.flags", vec![true, false]);
    writer.add("original", &shape, BlockFormat::F32, &original, None)?;
    for format in BlockFormat::ALL {
        let mut blocks = vec![0; format.bytes_for(original.len()).unwrap()];
        format.quantize_rows(shape[1], &original, None, &mut blocks);
        let mut restored = vec![0.0; original.len()];
        format.dequantize_all(&blocks, &mut restored);
        writer.add_blocks(format.name(), &shape, format, blocks)?;
        let name = format!("{format}.restored");
        writer.add(&name, &shape, BlockFormat::F32, restored, None)?;
    }
    let size = writer.write(&path)?;
    println!("{size} bytes");
    Ok(())
}
