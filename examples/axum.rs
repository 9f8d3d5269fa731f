//! An axum service whose handlers share ONE connection to Redis, with `/metrics`, and a shutdown
//! that ends requests first and the connection last.
//!
//! ```text
//! cargo run --example axum -- redis://127.0.0.1:6379 127.0.0.1:3000
//! curl -X POST http://127.0.0.1:3000/visits/home
//! curl http://127.0.0.1:3000/metrics
//! ```

use std::error::Error as StdError;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use redis::AsyncCommands;
use trunkline::conn::{Budget, Error, Options, Owner, Sent, Shared};
use trunkline::telemetry::catalogue;

/// What handlers get. Cloning it clones handles: there is one connection however many requests.
#[derive(Clone)]
struct App {
    redis: Shared,
    metrics: PrometheusHandle,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let mut words = std::env::args().skip(1);
    let url = words.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let listen = words.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());

    let budget = Budget::shared_only();
    let metrics = record(&budget)?; // before the owner: what counts asks for the recorder once
    let owner = Owner::new(Options::from_url(&url, "shop", "web")?, &budget)?;
    owner.connect().await; // it does not wait: a service may start before its Redis

    let router = Router::new()
        .route("/visits/{page}", post(visit))
        .route("/metrics", get(async |State(app): State<App>| app.metrics.render()))
        .route("/readyz", get(ready))
        .with_state(App { redis: owner.shared(), metrics });
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, router).with_graceful_shutdown(interrupted()).await?;

    owner.close(Duration::from_secs(1)).await;
    println!("closed");
    Ok(())
}

async fn visit(State(mut app): State<App>, Path(page): Path<String>) -> (StatusCode, String) {
    let counted: Result<u64, _> = app.redis.hincr("shop:visits", page, 1).await;
    match counted.map_err(Error::from) {
        Ok(visits) => (StatusCode::OK, format!("{visits}\n")),
        // Nothing was sent: whoever asked may ask again.
        Err(error) if error.sent() == Sent::No => {
            (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        // It may have counted: to ask again could count twice.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn ready(State(app): State<App>) -> (StatusCode, String) {
    let status = app.redis.status();
    let code = if status.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("redis {}\n", status.state))
}

fn record(budget: &Budget) -> Result<PrometheusHandle, Box<dyn StdError>> {
    let mut builder = PrometheusBuilder::new();
    for metric in catalogue::ALL.iter().filter(|metric| !metric.buckets.is_empty()) {
        let name = Matcher::Full(metric.name.to_owned());
        builder = builder.set_buckets_for_metric(name, metric.buckets)?;
    }
    let page = builder.install_recorder()?;
    budget.describe_metrics();
    let upkeep = page.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep(); // what histograms observed waits in memory until then
        }
    });
    Ok(page)
}

async fn interrupted() {
    // Without the signal the service ends at once, which is the safer of the two faults.
    let _ = tokio::signal::ctrl_c().await;
}
