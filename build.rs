//! Tells the program what it was built from.

use std::path::Path;
use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = said(&rustc, &["--version"]).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=TRUNKLINE_RUSTC={version}");
    // Without one, a variable of this name in the environment of the build is taken as it is.
    if let Some(revision) = revision() {
        println!("cargo::rustc-env=TRUNKLINE_REVISION={revision}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// The commit that is checked out here; none in an unpacked archive, not even one that lies
/// inside another project's repository.
fn revision() -> Option<String> {
    let git = |arguments: &[&str]| said("git", arguments);
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    // In a work tree of its own `.git` is a file, so git has to say where these are. A path that
    // does not exist would count as changed at every build.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"]).filter(|revision| !revision.is_empty())
}

/// The first line a program prints, if it succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}
