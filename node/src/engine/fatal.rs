//! The end of the process, where going on would break a promise.

use std::fmt::Display;
use std::io::Write;

/// Says why and ends the process at once: nothing more is written, sent or acknowledged.
pub(super) fn fatal(what: &str, error: &dyn Display) -> ! {
    tracing::error!(%error, "{what}: the process ends here");
    // Whoever runs the process without a log must still learn why it ended. There is nothing left to do
    // about an error here.
    let _ = writeln!(std::io::stderr(), "hcube: {what}: {error}: the process ends here");
    std::process::abort()
}

/// Ends the process when the thread that holds it panics.
pub(super) struct EndsWithPanic;

impl Drop for EndsWithPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            fatal("a broken invariant", &"the panic's message stands above");
        }
    }
}
