//! `bench-decode`: generating tokens with a decoder of real shape and random weights, against
//! llama.cpp built for this machine (`llama-bench`; with `--batch`, `llama-batched-bench`).
//!
//! Both sides run in processes of their own, in turn, with the same file, the same number of
//! threads and random tokens; every step gives the logits of every sequence. Batch 1 starts from
//! an empty context, larger batches after a prompt of 64 tokens.

use sprat_bench::comparison::{Options, compare, program};
use sprat_bench::sides::Work;

fn main() -> std::process::ExitCode {
    program(|| {
        let options = Options::read("135m:q4_0,135m:q8_0,0.5b:q4_0,0.5b:q8_0")?;
        let works: Vec<Work> = options.batches.iter().map(|&batch| work(batch)).collect();
        let name = if options.batches == [1] { "decode" } else { "decode-batch" };
        compare(name, &options, &works)
    })
}

fn work(batch: usize) -> Work {
    match batch {
        1 => Work::Single(64),
        _ => Work::Batch { batch, tokens: 32 },
    }
}
