//! Progress bars on a terminal, a line now and then elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sprat_task::Progress;
use std::io::IsTerminal;
use std::sync::Mutex;

/// Shows progress on standard error.
pub(crate) struct Terminal {
    bar: Mutex<Option<ProgressBar>>,
    live: bool,
}

impl Terminal {
    /// Bars where standard error is a terminal; otherwise one line for each piece of work.
    pub(crate) fn new() -> Self {
        Terminal { bar: Mutex::new(None), live: std::io::stderr().is_terminal() }
    }

    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        let bar = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bar) = bar.as_ref() {
            act(bar);
        }
    }
}

impl Progress for Terminal {
    fn start(&self, what: &str, total: Option<u64>, unit: &'static str) {
        if !self.live {
            eprintln!("{what} …");
            return;
        }
        let counts = match unit {
            "bytes" => "{bytes}/{total_bytes} {binary_bytes_per_sec}".to_string(),
            _ => format!("{{human_pos}}/{{human_len}} {unit}"),
        };
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                format!("{{prefix:<24}} [{{bar:24}}] {counts}  {{eta}} left  {{msg}}"),
            ),
            None => (
                ProgressBar::new_spinner(),
                format!("{{prefix:<24}} {{spinner}} {{pos}} {unit}  {{msg}}"),
            ),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(what.to_string());
        let mut slot = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(old) = slot.replace(bar) {
            old.finish_and_clear();
        }
    }

    fn advance(&self, amount: u64) {
        self.with(|bar| bar.inc(amount));
    }

    fn note(&self, text: &str) {
        self.with(|bar| bar.set_message(text.to_string()));
    }

    fn finish(&self) {
        let mut slot = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bar) = slot.take() {
            bar.finish_and_clear();
        }
    }
}
