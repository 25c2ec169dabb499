//! `bench-data-check`: the whole data gate over 10⁴, 10⁵ and 10⁶ made-up rows: rows per second
//! and peak memory, each size in a process of its own; and the search for near-duplicates alone
//! against `datasketch` (MinHash LSH, Python) at 10⁴ rows.

use rand::Rng;
use sprat_bench::{closing_line, memory};
use sprat_data::{CheckOptions, FromModel, Parts, ReadOptions, check, checks, read};
use sprat_task::{Interrupt, Quiet, random};
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];
const CLASSES: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, path] = &arguments[..] {
        return measure(mode, Path::new(path));
    }
    let folder = std::env::temp_dir().join(format!("sprat-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = compare(&folder);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn compare(folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("{:>9}  {:>10}  {:>8}  {:>10}", "rows", "rows/s", "s", "peak MiB");
    let mut figures = Vec::new();
    let mut smallest = PathBuf::new();
    for rows in SIZES {
        let path = folder.join(format!("{rows}.csv"));
        generate(&path, rows)?;
        let (seconds, peak) = ours("all", &path)?;
        let rate = rows as f64 / seconds;
        println!("{rows:>9}  {rate:>10.0}  {seconds:>8.2}  {:>10.0}", peak / f64::from(1 << 20));
        figures.push(serde_json::json!({
            "rows": rows, "rows_per_second": rate, "seconds": seconds, "peak_bytes": peak,
        }));
        if rows == SIZES[0] {
            smallest = path;
        }
    }
    let seconds = |at: usize| figures[at]["seconds"].as_f64().unwrap_or(f64::NAN);
    let growth = (seconds(2) / seconds(0)) / (SIZES[2] / SIZES[0]) as f64;
    println!("time for 100 times the rows: {growth:.2} times that of linear growth");
    let near = SIZES[0] as f64 / ours("near", &smallest)?.0;
    let peer = SIZES[0] as f64 / datasketch(&smallest)?;
    println!("near-duplicates at {} rows: ours {near:.0} rows/s, datasketch {peer:.0}", SIZES[0]);
    let extra = serde_json::json!({ "sizes": figures, "growth_over_linear": growth });
    closing_line("data-check", near, peer, "near-duplicate rows/s", &extra);
    Ok(())
}

/// Runs this program on a file in a new process: seconds and peak bytes.
fn ours(mode: &str, path: &Path) -> Result<(f64, f64), Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?).arg(mode).arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seconds)), Some(Ok(peak))) => Ok((seconds, peak)),
        _ => Err(format!("no figures: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Reads and checks a file; prints seconds (reading included) and peak bytes.
fn measure(mode: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut options = CheckOptions::default();
    if mode == "near" {
        let others = checks().iter().map(|check| check.id()).filter(|id| *id != "near-duplicates");
        options.skip = others.map(str::to_owned).collect();
    }
    let train = read(path, &ReadOptions::default())?;
    let parts = Parts::whole(&train);
    let report = check(&parts, &options, &FromModel::default(), &Quiet, &Interrupt::default())?;
    let found = report.check("near-duplicates").map_or(0, |check| check.total);
    println!("{} {} {found}", start.elapsed().as_secs_f64(), memory("VmHWM"));
    Ok(())
}

fn datasketch(path: &Path) -> Result<f64, Box<dyn Error>> {
    let python = std::env::var("SPRAT_BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/near_datasketch.py");
    let output = Command::new(python).arg(script).arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    let first = text.split_whitespace().next().and_then(|number| number.parse().ok());
    first.ok_or_else(|| format!("peer: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Writes rows of 6 to 18 words, four in ten of them of the row's class. 2 % repeat an earlier row,
/// 2 % repeat it with one more word, 3 % bear a wrong label, 1 % hold an e-mail address.
fn generate(path: &Path, rows: usize) -> Result<(), Box<dyn Error>> {
    let mut random = random::stream(1, "bench.data-check");
    let mut csv = String::from("text,label\n");
    let mut recent: Vec<(String, usize)> = Vec::new();
    for row in 0..rows {
        let class = random.random_range(0..CLASSES);
        let old = (row > 0).then(|| recent[random.random_range(0..recent.len())].clone());
        let (mut text, mut label) = match (random.random_range(0..100), old) {
            (0..2, Some(old)) => old,
            (2..4, Some((text, label))) => (format!("{text} please"), label),
            _ => (sentence(&mut random, class), class),
        };
        if random.random_range(0..100) < 3 {
            label = random.random_range(0..CLASSES);
        }
        if random.random_range(0..100) < 1 {
            write!(text, " user{row}@example.org")?;
        }
        writeln!(csv, "{text},class{label}")?;
        if recent.len() < 10_000 {
            recent.push((text, label));
        } else {
            recent[row % 10_000] = (text, label);
        }
    }
    Ok(std::fs::write(path, csv)?)
}

fn sentence(random: &mut random::ChaCha8Rng, class: usize) -> String {
    let words = random.random_range(6..19);
    let word = |_| match random.random_range(0..10) {
        0..4 => format!("{}{}", syllables(class * 97), syllables(random.random_range(0..60))),
        _ => syllables(random.random_range(0..20_000)),
    };
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// A pronounceable word for a number.
fn syllables(mut number: usize) -> String {
    let mut word = String::new();
    number += 80;
    while number > 0 {
        word.push(char::from(b"bdfgklmnprstvz"[number % 14]));
        word.push(char::from(b"aeiou"[number / 14 % 5]));
        number /= 70;
    }
    word
}
