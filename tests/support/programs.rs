//! The real programs the tests run against, found as `tools/bootstrap` finds them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that is not part of this package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// redis-server or valkey-server, 7.0 or newer.
    Redis,
    /// The Prometheus server.
    Prometheus,
    /// Its checker of rules and metrics.
    Promtool,
    /// The Alertmanager.
    Alertmanager,
    /// A browser.
    Chromium,
}

impl Program {
    /// A command that runs the program. Panics with the line to type if there is none.
    pub fn command(self) -> Command {
        let path = self.path().unwrap_or_else(|reason| panic!("{reason}"));
        invocation(&path)
    }

    fn path(self) -> Result<PathBuf, String> {
        let (variable, names, package) = match self {
            Program::Redis => (
                "TRUNKLINE_REDIS_SERVER",
                // The last one is Debian's name for the server that comes without a service.
                &["redis-server", "valkey-server", "redis-check-rdb"][..],
                "redis-tools",
            ),
            Program::Prometheus => ("TRUNKLINE_PROMETHEUS", &["prometheus"][..], "prometheus"),
            Program::Promtool => ("TRUNKLINE_PROMTOOL", &["promtool"][..], "prometheus"),
            Program::Alertmanager => (
                "TRUNKLINE_ALERTMANAGER",
                &["alertmanager", "prometheus-alertmanager"][..],
                "prometheus-alertmanager",
            ),
            Program::Chromium => (
                "CHROME",
                &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"][..],
                "chromium",
            ),
        };
        if let Some(chosen) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
            let path = PathBuf::from(chosen);
            let usable = self.usable(&path);
            return usable.then_some(path).ok_or(format!("{variable} names no {}", names[0]));
        }
        let search = std::env::var_os("PATH").unwrap_or_default();
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin").join(names[0]);
        names
            .iter()
            .flat_map(|name| std::env::split_paths(&search).map(move |place| place.join(name)))
            .chain([tools])
            .find(|path| self.usable(path))
            .ok_or(format!(
                "needs {}: run tools/bootstrap test, or apt-get install --no-install-recommends \
                 {package}, or set {variable}",
                names[0]
            ))
    }

    fn usable(self, path: &Path) -> bool {
        let runs = || match self {
            Program::Redis => major_version(path) >= 7,
            // Ubuntu's is a script that asks for a snap.
            Program::Chromium => {
                Command::new(path).arg("--version").output().is_ok_and(|it| it.status.success())
            }
            Program::Prometheus | Program::Promtool | Program::Alertmanager => true,
        };
        path.is_file() && runs()
    }
}

/// Debian's redis-check-rdb is the server when it is called by the server's name.
fn invocation(path: &Path) -> Command {
    let mut command = Command::new(path);
    if path.ends_with("redis-check-rdb") {
        command.arg0("redis-server");
    }
    command
}

fn major_version(path: &Path) -> u32 {
    let Ok(output) = invocation(path).arg("--version").output() else { return 0 };
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_once(" v=").map_or("", |(_, rest)| rest);
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}
