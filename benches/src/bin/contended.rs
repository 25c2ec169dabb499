//! `bench-contended`: generating tokens while another process keeps one core busy, against
//! llama.cpp; both sides keep as many threads as there are cores, as they would on a machine they
//! share with others.

use sprat_bench::comparison::{Options, compare, program};
use sprat_bench::sides::{BENCH, Work};
use sprat_task::{Error, Result};
use std::process::{Child, Command, Stdio};

/// A process that computes until it is dropped.
struct Busy(Child);

impl Busy {
    fn start() -> Result<Self> {
        let mut command = Command::new("sh");
        let child = command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
        let why = |why: std::io::Error| {
            Error::new(&BENCH, "the busy process could not be started").why(why.to_string())
        };
        child.map(Busy).map_err(why)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> std::process::ExitCode {
    program(|| {
        let options = Options::read("135m:q4_0,0.5b:q4_0")?;
        let _busy = Busy::start()?;
        compare("contended", &options, &[Work::Single(64)])
    })
}
