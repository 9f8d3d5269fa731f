//! What a server and a worker have in common: settings, telemetry, signals, the exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{
    self, CommonConfig, EXIT_BAD_CONFIGURATION, Parsed, Surroundings, fault_report, instance_name,
};
use crate::model::{Component, Fault};
use crate::telemetry::events::process::{DrainStarted, ProcessStarted, SettingDoubted};
use crate::telemetry::trace::TraceOptions;
use crate::telemetry::{LogFormat, Telemetry, TelemetryOptions};

/// The process could not start although its settings are good: `EX_UNAVAILABLE` of sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;
/// The process ended itself because a part of it failed: `EX_SOFTWARE` of sysexits.h.
const EXIT_SOFTWARE: u8 = 70;
/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// A program that runs until it is told to end.
pub trait Daemon: Sized {
    /// Its settings.
    type Config;
    /// Which program it is.
    const COMPONENT: Component;
    /// Reads its settings.
    fn read(
        arguments: impl IntoIterator<Item = OsString>,
        around: &Surroundings<'_>,
    ) -> Parsed<Self::Config>;
    /// The settings all daemons have.
    fn common(config: &Self::Config) -> &CommonConfig;
    /// Binds, connects and starts. The first fault ends the process.
    fn start(
        config: Self::Config,
        ground: Ground,
    ) -> impl Future<Output = Result<Self, Vec<Fault>>>;
    /// Runs until the ground's `stop`, then drains. Returns when everything is closed, and
    /// whether it was told to end.
    fn run(self) -> impl Future<Output = bool>;
}

/// What a daemon stands on.
#[derive(Clone)]
pub struct Ground {
    /// Metrics, logs and traces.
    pub telemetry: Telemetry,
    /// The name of this start of this process.
    pub instance: Arc<str>,
    /// Cancelled when the process is to drain.
    pub stop: CancellationToken,
}

/// The whole life of a daemon. Settings that cannot be used end it with 64 and every fault at
/// once; an address that cannot be bound, with 69; SIGTERM or SIGINT drains it and it ends with
/// 0; a second one ends it at once.
pub fn main<D: Daemon>() -> ExitCode {
    match D::read(std::env::args_os().skip(1), &surroundings()) {
        Parsed::Print(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Parsed::Faults(faults) => refuse(D::COMPONENT, &faults, EXIT_BAD_CONFIGURATION),
        Parsed::Run { run, warnings } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(live::<D>(run, warnings)),
                Err(error) => {
                    let path = "runtime".to_owned();
                    let faults = [Fault { path, message: error.to_string() }];
                    refuse(D::COMPONENT, &faults, EXIT_UNAVAILABLE)
                }
            }
        }
    }
}

async fn live<D: Daemon>(config: D::Config, warnings: Vec<String>) -> ExitCode {
    let common = D::common(&config);
    let instance: Arc<str> = instance_name(common.instance.as_ref(), fastrand::u64(..)).into();
    let telemetry = match Telemetry::start(&telemetry_options(D::COMPONENT, &instance, common)) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            let faults = [Fault { path: "telemetry".to_owned(), message: error.to_string() }];
            return refuse(D::COMPONENT, &faults, EXIT_BAD_CONFIGURATION);
        }
    };
    ProcessStarted { component: D::COMPONENT, instance: &instance }.emit();
    for advice in &warnings {
        SettingDoubted { setting: "configuration", advice }.emit();
    }
    let stop = CancellationToken::new();
    let ground = Ground { telemetry: telemetry.clone(), instance, stop: stop.clone() };
    let code = match D::start(config, ground).await {
        Ok(daemon) => {
            crate::telemetry::task::spawn("signals", await_signals(stop));
            if daemon.run().await { ExitCode::SUCCESS } else { ExitCode::from(EXIT_SOFTWARE) }
        }
        Err(faults) => refuse(D::COMPONENT, &faults, EXIT_UNAVAILABLE),
    };
    telemetry.shutdown(FLUSH).await;
    code
}

fn telemetry_options(
    component: Component,
    instance: &str,
    config: &CommonConfig,
) -> TelemetryOptions {
    TelemetryOptions {
        component,
        instance: instance.to_owned(),
        queue: config.queue.name.as_str().to_owned(),
        log_format: match config.log.format {
            Some(config::LogFormat::Text) => LogFormat::Text,
            Some(config::LogFormat::Json) => LogFormat::Json,
            None => LogFormat::detect(),
        },
        log_filter: Some(config.log.filter.clone()),
        tracing: TraceOptions::of(&config.otel),
    }
}

/// The first signal drains, the second ends.
async fn await_signals(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers either signal ends the process, which is what the system does anyway.
        return;
    };
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    DrainStarted { cause: name }.emit();
    stop.cancel();
    next().await;
    std::process::exit(1);
}

pub(super) fn refuse(component: Component, faults: &[Fault], code: u8) -> ExitCode {
    eprintln!("{}", fault_report(component, faults));
    ExitCode::from(code)
}

/// The process' own environment and files, for [`crate::config`].
pub(super) fn surroundings() -> Surroundings<'static> {
    Surroundings {
        variable: &|name| std::env::var(name).ok(),
        names: &|| std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect(),
        file: &|path| std::fs::read_to_string(path),
    }
}
