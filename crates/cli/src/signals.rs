//! Ctrl-C and termination ask running work to stop at its next safe point.

use sprat_task::Interrupt;

/// Sets the flag on the first signal; a second one ends the process at once, which the state on
/// disk survives like any other sudden end.
pub(crate) fn watch(interrupt: &Interrupt) {
    let flag = interrupt.clone();
    // Without a handler the signal simply ends the process.
    let _ = ctrlc::set_handler(move || {
        if flag.requested() {
            std::process::exit(130);
        }
        eprintln!("\nstopping at the next safe point; press again to stop at once");
        flag.request();
    });
}
