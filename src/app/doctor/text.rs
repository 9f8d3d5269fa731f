//! A report for people: aligned, as wide as their terminal, in colours where there is one.

use super::finding::{Finding, Severity};
use super::report::Report;
use crate::app::terminal::harmless;

/// Wide enough for whoever has no terminal to be asked for its width.
const WIDTH: usize = 100;
/// Below this a column of text is not readable, and lines are left to the terminal.
const NARROWEST: usize = 20;

/// How it is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) colours: bool,
    /// Characters in a line.
    pub(super) width: usize,
}

impl Style {
    /// For a file or a pipe.
    pub(super) const PLAIN: Style = Style { colours: false, width: WIDTH };

    fn paint(self, severity: Severity, text: &str) -> String {
        let colour = match severity {
            Severity::Ok => "32",
            Severity::Note => "36",
            Severity::Warn => "33",
            Severity::Bad => "1;31",
        };
        self.within(colour, text)
    }

    fn within(self, code: &str, text: &str) -> String {
        match self.colours {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// The whole report, line by line; the verdict is the last.
pub(super) fn lines(report: &Report, style: Style) -> Vec<String> {
    let head = format!(
        "trunkline doctor: {}, namespace {}, queue {}",
        report.redis, report.namespace, report.queue
    );
    let mut lines = vec![harmless(&head), String::new()];
    let widest = report.widest();
    for finding in &report.findings {
        lines.extend(block(finding, widest, style));
    }
    let worst = report.findings.iter().map(|it| it.severity).max().unwrap_or(Severity::Ok);
    lines.extend([String::new(), style.paint(worst, &report.verdict())]);
    lines
}

fn block(finding: &Finding, widest: usize, style: Style) -> Vec<String> {
    let severity = finding.severity.word();
    let margin = 2 + 4 + 2 + widest + 2;
    let room = style.width.saturating_sub(margin);
    let mut lines = vec![];
    // Names, addresses and texts come from elsewhere and cannot steer the terminal.
    for text in [&finding.is, &finding.means] {
        lines.extend(wrapped(&harmless(text), room));
    }
    lines.extend(finding.about.iter().map(|about| format!("- {}", harmless(about))));
    // Not wrapped: it is there to be copied.
    let typed = finding.fix.iter().map(|fix| match fix.starts_with('#') {
        true => harmless(fix),
        false => format!("$ {}", harmless(fix)),
    });
    lines.extend(typed.map(|line| style.within("1", &line)));
    let check = finding.check.word();
    let mut all = lines.into_iter();
    let first = all.next().unwrap_or_default();
    let marked = style.paint(finding.severity, &format!("{severity:<4}"));
    let mut block = vec![format!("  {marked}  {check:<widest$}  {first}")];
    block.extend(all.map(|line| format!("{:margin$}{line}", "")));
    block
}

/// A text in lines of at most so many characters, as far as its words allow.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if width < NARROWEST {
        return vec![text.to_owned()].into_iter().filter(|line| !line.is_empty()).collect();
    }
    let mut lines: Vec<String> = vec![];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::finding::Check;
    use proptest::prelude::*;

    fn warned() -> Finding {
        Finding::new(Check::Keepalive, Severity::Warn, "It is off.", "Sockets stay for ever.")
            .about(["id=7".to_owned()])
            .fix("redis-cli CONFIG SET tcp-keepalive 60")
    }

    #[test]
    fn a_finding_stands_in_columns_and_its_commands_are_whole() {
        let style = Style { colours: false, width: 50 };
        let block = block(&warned(), 13, style);
        assert_eq!(block[0], "  warn  tcp-keepalive  It is off.");
        let margin = " ".repeat(23);
        assert_eq!(block[1], format!("{margin}Sockets stay for ever."));
        assert_eq!(block[2], format!("{margin}- id=7"));
        assert_eq!(block[3], format!("{margin}$ redis-cli CONFIG SET tcp-keepalive 60"));
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let plain = block(&warned(), 13, Style::PLAIN).concat();
        let bright = block(&warned(), 13, Style { colours: true, ..Style::PLAIN }).concat();
        assert!(!plain.contains('\u{1b}') && bright.contains("\u{1b}[33mwarn\u{1b}[0m"));
    }

    #[test]
    fn no_name_steers_the_terminal() {
        let finding = warned().about(["name=\u{1b}[2J".to_owned()]);
        assert!(!block(&finding, 13, Style::PLAIN).concat().contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn wrapping_loses_no_word_and_keeps_the_width(words in prop::collection::vec("[a-z]{1,18}", 0..20), width in 20usize..60) {
            let lines = wrapped(&words.join(" "), width);
            prop_assert_eq!(lines.join(" "), words.join(" "));
            prop_assert!(lines.iter().all(|line| line.len() <= width));
        }
    }
}
