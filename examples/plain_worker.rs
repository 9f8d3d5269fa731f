//! A worker without any framework: every second it takes a number from Redis and tells of it, and
//! it hears what others tell. It survives outages, because it asks each error what was sent.
//!
//! ```text
//! cargo run --example plain_worker -- redis://127.0.0.1:6379
//! redis-cli publish shop:notify:orders hello
//! ```
//!
//! Stop Redis while it runs, and start it again: nothing has to be restarted. Ctrl-C ends it.

use std::pin::pin;
use std::time::Duration;

use redis::AsyncCommands;
use trunkline::conn::{Budget, Error, Options, Owner, Publisher, Sent, Shared};
use trunkline::model::Subscription;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let options = Options::from_url(&url, "shop", "worker")?;
    let channel = options.notify_channel("orders"); // shop:notify:orders

    // Two connections: one for commands and publishing, one for the subscription.
    let owner = Owner::new(options, &Budget::with_subscriber())?;
    let subscriber = owner.subscriber()?;
    let mut messages = subscriber.messages().ok_or("somebody else reads the messages")?;
    owner.connect().await;
    let orders = Subscription::parse("orders")?;
    if let Err(error) = subscriber.subscribe(&orders, Duration::from_secs(5)).await {
        println!("subscribed later: {error}"); // it stays wanted, and comes with the connection
    }

    let (mut shared, publisher) = (owner.shared(), owner.publisher());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    // Once for the whole loop: a new one would not know of a Ctrl-C that came during the work.
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            _ = ticks.tick() => match work(&mut shared, &publisher, &channel).await {
                Ok(order) => println!("order {order} told"),
                Err(error) => println!("{}: {error}", advice(&error)),
            },
            Some(message) = messages.next() => {
                println!("heard {} on {}", String::from_utf8_lossy(&message.payload), message.channel);
            }
            _ = &mut interrupt => break,
        }
    }
    owner.close(Duration::from_secs(1)).await;
    println!("closed");
    Ok(())
}

/// Takes the next number and tells of it. Either step may fail, and the error says which way.
async fn work(shared: &mut Shared, publisher: &Publisher, channel: &str) -> Result<u64, Error> {
    let order: u64 = shared.incr("shop:orders", 1).await?;
    publisher.publish(channel, order.to_string().as_bytes()).await?;
    Ok(order)
}

/// What a worker does with a failed command.
fn advice(error: &Error) -> &'static str {
    match error.sent() {
        Sent::No => "nothing happened, next second again",
        Sent::Maybe => "it may have happened, so this number is not taken twice",
        Sent::Refused if error.is_outage() => "redis cannot at the moment, next second again",
        Sent::Refused => "redis will not, somebody has to look",
    }
}
