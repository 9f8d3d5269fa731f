//! The declaration as text: the documentation's table, the effective configuration, faults.

use std::fmt::Write as _;

use crate::model::{Component, Fault};

use super::declaration;
use super::flags::program_name;
use super::setting::{DefaultText, Setting};
use super::source::{Given, Source};

/// `docs/configuration.md`, whole.
pub fn documentation() -> String {
    let mut page = String::from(PREFACE);
    let mut heading = "";
    for setting in declaration::settings() {
        if setting.heading != heading {
            heading = setting.heading;
            write!(page, "\n## {heading}\n\n{TABLE}").expect("a string takes any text");
        }
        page.push_str(&row(setting));
    }
    page.push_str(AFTERWORD);
    page
}

const PREFACE: &str = "\
<!-- Rendered from src/config/declaration.rs. Refresh with: TRUNKLINE_WRITE=1 cargo test documentation -->
# Configuration

A flag wins over the environment, the environment over the file named by `--config FILE.toml`, the file over the
default. An empty environment variable is unset. A key of the file is the flag's name with `_`, such as `redis_url`;
one file may serve servers and workers, and a key that is no setting is a fault. Settings of other programs in the
environment are ignored.

`trunkline config server` and `trunkline config worker` show what is in force and where it came from; with `--check`
they say whether the program would start. `trunkline doctor` reads what is about Redis, the queue, the namespace and
the heartbeat: see [doctor](doctor.md). A configuration with faults ends a program with exit code 64 and the list
of all of them.

Durations are numbers with units (`500ms`, `30s`, `24h`). Sizes are bytes, or `KiB`, `MiB`, `GiB`. Addresses are an
IP address and a port. A switch such as `--insecure` means `true`; `--insecure=false` overrides the environment.
";

const TABLE: &str = "\
| flag | environment | value | default | read by | meaning |
|---|---|---|---|---|---|
";

const AFTERWORD: &str = "
## Rules between settings

- `--queue-recovery` < `--queue-warning` < `--queue-critical`, and `--redis-backoff-min` ≤ `--redis-backoff-max`.
- `--client-queue-bytes` holds at least one `--max-payload`, which is from 1 KiB to 4 MiB.
- `--job-lease` is at least three times `--redis-command-timeout`, and at least a second.
- Production needs a Redis password or a client certificate, and refuses `--insecure`.
- `--listen` outside loopback needs `--insecure`, as nobody has to authenticate. `--admin-listen` may be bound anywhere.
- `TRUNKLINE_API_TOKENS` and `TRUNKLINE_JWT_*` are refused until authentication is built.
- `REDIS_URL` wins over `REDIS_HOST` and its siblings; these win over `redis_url` of the file.
";

fn row(setting: &Setting) -> String {
    let flag = setting.flag.map_or_else(|| "—".into(), |flag| format!("`{flag}`"));
    let default = match setting.default {
        DefaultText::Text(text) => format!("`{text}`"),
        DefaultText::PerDaemon { server, worker } => {
            format!("server `{server}`, worker `{worker}`")
        }
        DefaultText::Unset(words) => words.to_owned(),
    };
    let programs: Vec<_> = setting.programs.iter().map(|program| program.label()).collect();
    let meaning = setting.paragraph().replace('|', "\\|");
    let variable = setting.variable;
    format!(
        "| {flag} | `{variable}` | {} | {default} | {} | {meaning} |\n",
        setting.form,
        programs.join(", ")
    )
}

/// The effective configuration of a program, one setting in a line: name, value, where from.
pub(super) fn effective(program: Component, given: &Given) -> String {
    let rows: Vec<[String; 3]> = given
        .settings()
        .map(|setting| {
            let name = setting.flag.unwrap_or(setting.variable).to_owned();
            let value = match (given.text(setting.variable), setting.default) {
                (Some(text), _) => (setting.show)(text),
                (None, DefaultText::Unset(words)) => format!("({words})"),
                (None, _) => "(not used)".into(),
            };
            let source = match given.source(setting.variable) {
                Source::Environment => format!("environment {}", setting.variable),
                source => source.to_string(),
            };
            [name, value, source]
        })
        .collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1).min(60));
    let mut text = format!("# {}\n", program_name(program));
    for [name, value, source] in &rows {
        // Control characters of a broken value must not reach the terminal.
        let value: String =
            value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        writeln!(text, "{name:first$}  {value:second$}  {source}")
            .expect("a string takes any text");
    }
    text
}

/// What a program prints before it ends with [`super::EXIT_BAD_CONFIGURATION`].
pub fn fault_report(program: Component, faults: &[Fault]) -> String {
    let name = program_name(program);
    let mut text = match faults {
        [_] => format!("{name}: 1 fault\n"),
        _ => format!("{name}: {} faults\n", faults.len()),
    };
    for fault in faults {
        writeln!(text, "  {fault}").expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_documentation_is_what_the_declaration_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("TRUNKLINE_WRITE").is_some() {
            std::fs::write(path, documentation()).expect(path);
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == documentation(),
            "docs/configuration.md is stale: TRUNKLINE_WRITE=1 cargo test documentation"
        );
    }

    #[test]
    fn a_fault_report_counts_and_lists() {
        let fault = |path: &str| Fault { path: path.into(), message: "is wrong".into() };
        assert_eq!(
            fault_report(Component::Worker, &[fault("--a (A)"), fault("B")]),
            "trunkline-worker: 2 faults\n  --a (A): is wrong\n  B: is wrong\n"
        );
        assert!(
            fault_report(Component::Server, &[fault("B")])
                .starts_with("trunkline-server: 1 fault\n")
        );
    }
}
