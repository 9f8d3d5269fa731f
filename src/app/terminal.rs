//! What the programs print for people.

use std::io::{self, ErrorKind, Write};

/// Prints a text and ends its line. Says whether somebody reads on: a reader that has left, as
/// `head` does, is no fault.
///
/// # Errors
/// When it cannot be written for any other reason.
pub(super) fn print(text: &str) -> io::Result<bool> {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Prints a text to standard error, where nobody may listen.
pub(super) fn warn(text: &str) {
    // There is no third place to say that it could not be said; the exit code tells.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Foreign text as it may reach a terminal: a control character could move its cursor or worse.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
