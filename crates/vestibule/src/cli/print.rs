//! The one place that writes to stdout and stderr. A reader that went away is no error.

use std::fmt::Display;
use std::io::{self, Write as _};

/// One line of result on stdout.
pub(super) fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Text on stdout as it is.
pub(super) fn text(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A remark on stderr, for results that go elsewhere.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// An error on stderr; one `error:` for each of its lines.
pub(super) fn error(error: &impl Display) {
    let mut out = io::stderr().lock();
    for line in error.to_string().lines() {
        let _ = writeln!(out, "error: {line}");
    }
}
