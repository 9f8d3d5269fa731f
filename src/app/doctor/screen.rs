//! Where a report is shown: once, in place again and again, or block after block.

use std::io::{self, IsTerminal, Write};

use super::report::Report;
use super::text::{self, Style};
use crate::app::terminal;

const CLEAR: &str = "\u{1b}[H\u{1b}[J";
const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

/// Standard output, as the doctor uses it. The cursor is there again when this is dropped.
pub(super) struct Screen {
    json: bool,
    watching: bool,
    terminal: bool,
    shown: bool,
}

impl Screen {
    pub(super) fn new(json: bool, watching: bool) -> Self {
        let terminal = io::stdout().is_terminal() && !json;
        Self { json, watching, terminal, shown: false }
    }

    /// Shows a report. Says whether somebody looks on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn show(&mut self, report: &Report) -> Result<bool, String> {
        let first = !std::mem::replace(&mut self.shown, true);
        let text = match (self.json, self.watching) {
            (true, true) => report.document().to_string(),
            (true, false) => format!("{:#}", report.document()),
            (false, false) => text::lines(report, self.style()).join("\n"),
            (false, true) if self.terminal => self.frame(report),
            (false, true) => {
                let block = text::lines(report, self.style()).join("\n");
                let between = if first { "" } else { "\n" };
                format!("{between}{}\n{block}", report.at)
            }
        };
        terminal::print(&text).map_err(|error| format!("standard output: {error}"))
    }

    /// What fits on the terminal, from the worst upwards, in place of what was there.
    fn frame(&self, report: &Report) -> String {
        let mut lines = text::lines(report, self.style());
        lines[0] = format!("{}  {}", lines[0], report.at);
        // The line below the last is the cursor's.
        let room = size().map_or(usize::MAX, |(_, rows)| rows.saturating_sub(1));
        if lines.len() > room && room > 2 {
            lines.drain(2..2 + lines.len() - room);
        }
        format!("{HIDE_CURSOR}{CLEAR}{}", lines.join("\n"))
    }

    fn style(&self) -> Style {
        if !self.terminal {
            return Style::PLAIN;
        }
        // https://no-color.org: any text but none.
        let colours = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        let width = size().map_or(Style::PLAIN.width, |(columns, _)| columns);
        Style { colours, width }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal && self.watching {
            // Who has closed the terminal needs no cursor.
            let _ = write!(io::stdout(), "{SHOW_CURSOR}").and_then(|()| io::stdout().flush());
        }
    }
}

/// Columns and rows of the terminal, if it says so.
fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}
