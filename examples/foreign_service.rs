//! Somebody else's Tokio service uses the connection: any command, pipeline or script of
//! redis-rs runs over it, and its metrics go wherever the service sends its own.
//!
//! `cargo run --example foreign_service -- 127.0.0.1 6379`

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use redis::{AsyncCommands, Script, pipe};
use trunkline::conn::{Budget, Options, Owner, Target};
use trunkline::model::Component;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let mut words = std::env::args().skip(1);
    let host = words.next().unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = words.next().map_or(Ok(6379), |port| port.parse())?;

    // A budget of one connection, and only its owner can open or close it.
    let options = Options::new(Target::Tcp { host, port }, "shop", Component::Tool, "example-1");
    let owner = Owner::new(options, &Budget::of(Component::Tool))?;
    owner.connect().await;
    let mut redis = owner.shared();
    redis.ready(Duration::from_secs(5)).await?;

    let () = redis.set("shop:open", true).await?;
    let (sold, left): (i64, i64) =
        pipe().atomic().incr("shop:sold", 1).decr("shop:left", 1).query_async(&mut redis).await?;
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    let total: i64 = script.key("shop:total").arg(7).invoke_async(&mut redis).await?;
    let heard = owner.publisher().publish("shop:news", b"sold one").await?;
    println!("sold {sold}, left {left}, total {total}, heard by {heard}\n");

    owner.close(Duration::from_secs(1)).await;
    println!("{}", metrics.render());
    Ok(())
}
