//! The `sprat` command line: arguments become settings, settings become commands, and what the
//! commands hand back becomes text or JSON and an exit code.

mod args;
mod codes;
mod commands;
mod overrides;
mod printer;
mod progress;
mod reference;
mod signals;

use args::Cli;
use clap::Parser;
use clap::error::ErrorKind;
use printer::Printer;
use std::process::ExitCode;

/// Requests change threads on their way, and so does what they allocate: glibc's allocator then
/// waits for locks, and a thread that loses the processor while it holds one keeps all others
/// waiting (docs/benchmarks.md, "Gateway").
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `SPRAT_LOG` asks for; warnings where it says nothing.
fn log_filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .with_env_var("SPRAT_LOG")
        .from_env_lossy()
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way too.
            let code = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
                _ => 2,
            };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(log_filter())
        .init();
    let printer = Printer::new(cli.global.json);
    let code = match commands::run(&cli) {
        Ok(done) => printer.done(&done),
        Err(error) => printer.failed(&error),
    };
    ExitCode::from(code)
}
