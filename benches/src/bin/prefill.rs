//! `bench-prefill`: reading a prompt of 512 tokens, against llama.cpp's `llama-bench`; otherwise
//! as `bench-decode`.

use sprat_bench::comparison::{Options, compare, program};
use sprat_bench::sides::Work;

fn main() -> std::process::ExitCode {
    program(|| {
        let options = Options::read("135m:q4_0,135m:q8_0,0.5b:q4_0,0.5b:q8_0")?;
        compare("prefill", &options, &[Work::Prompt(512)])
    })
}
