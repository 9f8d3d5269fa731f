//! Tells the program what it was built from.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!(
        "cargo::rustc-env=TRUNKLINE_RUSTC={}",
        first_line(&rustc, &["--version"]).unwrap_or("unknown".into())
    );
    if let Some(revision) = first_line("git", &["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=TRUNKLINE_REVISION={revision}");
        println!("cargo::rerun-if-changed=.git/HEAD");
        println!("cargo::rerun-if-changed=.git/logs/HEAD");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
