//! What a server and a worker have in common: settings, telemetry, signals, the exit code.

use std::ffi::OsString;
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tokio::runtime::{self, Handle};
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::tasks::Tasks;
use super::{drain, terminal};
use crate::config::{
    CommonConfig, EXIT_BAD_CONFIGURATION, Parsed, Surroundings, fault_report, instance_name,
};
use crate::conn::Owner;
use crate::model::{Component, Fault};
use crate::telemetry::events::process::{DrainStarted, ProcessStarted, SettingDoubted};
use crate::telemetry::trace::TraceOptions;
use crate::telemetry::{Telemetry, TelemetryOptions, detect_format};

/// The process could not start although its settings are good: `EX_UNAVAILABLE` of sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;
/// The process ended itself because a part of it failed: `EX_SOFTWARE` of sysexits.h.
const EXIT_SOFTWARE: u8 = 70;

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
    /// The runtime of all that waits for Redis: `start` and `run` are on it, and what they spawn.
    fn runtime() -> runtime::Builder;
    /// The settings all daemons have.
    fn common(config: &Self::Config) -> &CommonConfig;
    /// Binds, connects and starts. A refusal ends the process.
    fn start(config: Self::Config, ground: Ground) -> impl Future<Output = Result<Self, Refusal>>;
    /// Who opens and closes its connections to Redis.
    fn owner(&self) -> &Arc<Owner>;
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
    /// A runtime on a thread of its own, for what has to answer however busy the other one is:
    /// signals, readiness, the admin listener. Spans leave on it as well.
    pub watch: Handle,
    /// The tasks whose end ends the process. The one that hears signals is among them already:
    /// without it nobody could end the process but by force.
    pub(super) tasks: Tasks,
}

/// Why a daemon does not start. Each lists all that is wrong.
#[derive(Debug)]
pub enum Refusal {
    /// A setting that could be read cannot be used.
    Settings(Vec<Fault>),
    /// The settings are good, and the system does not grant what they ask for.
    Unavailable(Vec<Fault>),
}

/// The whole life of a daemon. Settings that cannot be used end it with 64 and every fault at
/// once; an address that cannot be bound, with 69; SIGTERM or SIGINT drains it and it ends with
/// 0; a second one ends it at once, with 1; a part of it that fails ends it with 70.
pub fn main<D: Daemon>() -> ExitCode {
    main_with::<D>(|_| {})
}

/// The same with a look at the connections once the daemon has started: for tests that do to them
/// what no program does.
#[doc(hidden)]
pub fn main_with<D: Daemon>(look: impl FnOnce(&Arc<Owner>)) -> ExitCode {
    match D::read(std::env::args_os().skip(1), &surroundings()) {
        Parsed::Print(text) => print(&text),
        Parsed::Faults(faults) => refuse(D::COMPONENT, &faults, EXIT_BAD_CONFIGURATION),
        Parsed::Run { run, warnings } => {
            let runtimes = D::runtime().enable_all().build();
            let runtimes = runtimes.and_then(|runtime| Ok((runtime, thread("watch")?)));
            match runtimes {
                Ok((runtime, watch)) => {
                    let code = runtime.block_on(live::<D>(run, warnings, watch, look));
                    // A rule that cannot be interrupted, or a name that is still being resolved,
                    // keeps its thread busy; it does not hold up the end.
                    runtime.shutdown_background();
                    code
                }
                Err(error) => {
                    let path = "runtime".to_owned();
                    let faults = [Fault { path, message: error.to_string() }];
                    refuse(D::COMPONENT, &faults, EXIT_UNAVAILABLE)
                }
            }
        }
    }
}

/// Starts a thread with a runtime of its own; it ends with the process.
pub(super) fn thread(name: &str) -> io::Result<Handle> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let forever = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name(name.to_owned()).spawn(forever)?;
    Ok(handle)
}

async fn live<D: Daemon>(
    config: D::Config,
    warnings: Vec<String>,
    watch: Handle,
    look: impl FnOnce(&Arc<Owner>),
) -> ExitCode {
    let common = D::common(&config);
    let instance: Arc<str> = instance_name(common.instance.as_ref(), fastrand::u64(..)).into();
    let telemetry =
        match Telemetry::start(&telemetry_options(D::COMPONENT, &instance, common, &watch)) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                let faults = [Fault { path: "telemetry".to_owned(), message: error.to_string() }];
                return refuse(D::COMPONENT, &faults, EXIT_BAD_CONFIGURATION);
            }
        };
    let _last_words = telemetry.last_words();
    ProcessStarted { component: D::COMPONENT, instance: &instance }.emit();
    for advice in &warnings {
        SettingDoubted { setting: "configuration", advice }.emit();
    }
    let stop = CancellationToken::new();
    let signals = {
        let _on = watch.enter();
        Signals::catch()
    };
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            telemetry.shutdown(drain::SPANS).await;
            let faults = [Fault { path: "signals".to_owned(), message: error.to_string() }];
            return refuse(D::COMPONENT, &faults, EXIT_UNAVAILABLE);
        }
    };
    let tasks = Tasks::default();
    heed(signals.stream(), &tasks, &watch, stop.clone());
    let ground = Ground { telemetry: telemetry.clone(), instance, stop, watch, tasks };
    let code = match D::start(config, ground).await {
        Ok(daemon) => {
            look(daemon.owner());
            match daemon.run().await {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(EXIT_SOFTWARE),
            }
        }
        Err(Refusal::Settings(faults)) => refuse(D::COMPONENT, &faults, EXIT_BAD_CONFIGURATION),
        Err(Refusal::Unavailable(faults)) => refuse(D::COMPONENT, &faults, EXIT_UNAVAILABLE),
    };
    telemetry.shutdown(drain::SPANS).await;
    code
}

fn telemetry_options(
    component: Component,
    instance: &str,
    config: &CommonConfig,
    watch: &Handle,
) -> TelemetryOptions {
    TelemetryOptions {
        component,
        instance: instance.to_owned(),
        queue: config.queue.name.as_str().to_owned(),
        log_format: config.log.format.unwrap_or_else(detect_format),
        log_filter: Some(config.log.filter.clone()),
        tracing: TraceOptions::of(&config.otel),
        exemplars: config.exemplars,
        exporting: watch.clone(),
    }
}

/// The first signal drains, the second ends. A process that cannot hear any more ends by itself,
/// because this is one of its tasks.
fn heed(
    signals: impl Stream<Item = &'static str> + Send + 'static,
    tasks: &Tasks,
    watch: &Handle,
    stop: CancellationToken,
) {
    tasks.spawn_on(watch, "signals", async move {
        let mut signals = pin!(signals);
        let Some(cause) = signals.next().await else { return };
        DrainStarted { cause }.emit();
        stop.cancel();
        if signals.next().await.is_some() {
            std::process::exit(1);
        }
    });
}

/// Prints what was asked for.
pub(super) fn print(text: &str) -> ExitCode {
    match terminal::print(text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::warn(&format!("standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

pub(super) fn refuse(component: Component, faults: &[Fault], code: u8) -> ExitCode {
    terminal::warn(&fault_report(component, faults));
    ExitCode::from(code)
}

/// The process' own environment and files, for [`crate::config`].
pub(super) fn surroundings() -> Surroundings<'static> {
    Surroundings {
        // What is not UTF-8 is set all the same, and shows by its replacement characters.
        variable: &|name| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned()),
        names: &|| {
            std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
        },
        file: &|path| std::fs::read_to_string(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::time::Duration;

    #[tokio::test]
    async fn a_daemon_that_hears_no_signals_any_more_ends() {
        let ended = async |signals: stream::BoxStream<'static, &'static str>| {
            let (tasks, stop) = (Tasks::default(), CancellationToken::new());
            heed(signals, &tasks, &Handle::current(), stop.clone());
            let end = tasks.until_stop_or_end(&stop);
            tokio::time::timeout(Duration::from_secs(10), end).await.expect("it runs on, deaf")
        };
        assert!(!ended(stream::empty().boxed()).await, "nobody told it to end");
        assert!(!ended(stream::once(async { panic!("on purpose") }).boxed()).await);
        let told = stream::once(async { "SIGTERM" }).chain(stream::pending());
        assert!(ended(told.boxed()).await);
    }
}
