//! From a pool (deadpool, bb8) to one connection: the same code before and after.
//!
//! ```text
//! cargo run --example migrate_from_pool -- redis://127.0.0.1:6379
//! ```
//!
//! **Before**, every task that wants Redis waits for a connection of its own:
//!
//! ```ignore
//! let pool = deadpool_redis::Config::from_url(url).create_pool(Some(Runtime::Tokio1))?;
//! let mut redis = pool.get().await?;             // waits when all are taken; may dial here
//! redis.incr("shop:sold", 1).await?;
//! redis.blpop("shop:inbox", 0.0).await?;         // holds this connection for as long as it takes
//! redis::cmd("WATCH").arg("shop:left").exec_async(&mut redis).await?; // a pool lets you
//! ```
//!
//! **After**, they share one. redis-rs puts their commands one behind the other on the wire, and a
//! handle is a clone, so `get` waits for nothing and fails at once while Redis is away. Three
//! things have to be written otherwise: see `blocking`, `watching` and `subscribing` below.

use std::time::Duration;

use redis::{AsyncCommands, RedisResult, Script, pipe};
use trunkline::conn::{Budget, Error, Options, Owner, Shared};
use trunkline::model::Subscription;

/// Lets code that says `pool.get().await?` stay as it is.
#[derive(Clone)]
struct Pool(Shared);

impl Pool {
    async fn get(&self) -> RedisResult<Shared> {
        Ok(self.0.clone())
    }
}

type Anything = Result<(), Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Anything {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let mut options = Options::from_url(&url, "shop", "migrated")?;
    options.signals = vec!["shop:inbox".into()]; // what `blocking` waits for
    let owner = Owner::new(options, &Budget::with_subscriber())?;
    let pool = Pool(owner.shared());
    pool.0.ready(Duration::from_secs(5)).await?;

    // As it was: commands, pipelines and transactions that are sent as one.
    let mut redis = pool.get().await?;
    let (sold, ()): (u64, ()) =
        pipe().atomic().incr("shop:sold", 1).set("shop:left", 2).query_async(&mut redis).await?;
    println!("sold {sold}");

    blocking(&pool).await?;
    watching(&pool).await?;
    subscribing(&owner, &pool).await?;
    owner.close(Duration::from_secs(1)).await;
    Ok(())
}

/// BLPOP would hold up everybody. Wait for a signal that the list changed, then LPOP.
async fn blocking(pool: &Pool) -> Anything {
    let mut redis = pool.get().await?;
    let refused: RedisResult<()> = redis.blpop("shop:inbox", 1.0).await;
    println!("BLPOP: {}", refused.map_err(Error::from).expect_err("it is refused"));

    let mut changed = redis.signal("shop:inbox");
    let mut sender = pool.get().await?;
    tokio::spawn(async move { sender.rpush::<_, _, ()>("shop:inbox", "a letter").await });
    loop {
        let letter: Option<String> = redis.lpop("shop:inbox", None).await?;
        if let Some(letter) = letter {
            println!("LPOP: {letter}");
            return Ok(());
        }
        // The timer is for a Redis that cannot tell (`Signal::listening` says so).
        let _ = tokio::time::timeout(Duration::from_millis(500), changed.changed()).await;
    }
}

/// WATCH, read, MULTI, EXEC belongs to a connection of one's own. A script decides in Redis.
async fn watching(pool: &Pool) -> Anything {
    let take = "local left = tonumber(redis.call('GET', KEYS[1]) or 0)
                if left > 0 then return redis.call('DECR', KEYS[1]) else return -1 end";
    let left: i64 = Script::new(take).key("shop:left").invoke_async(&mut pool.get().await?).await?;
    println!("left {left}");
    Ok(())
}

/// A pub/sub connection per listener becomes one subscriber for the process.
async fn subscribing(owner: &Owner, pool: &Pool) -> Anything {
    let subscriber = owner.subscriber()?;
    let mut messages = subscriber.messages().ok_or("taken already")?;
    subscriber.subscribe(&Subscription::parse("news")?, Duration::from_secs(5)).await?;
    let heard: u64 = pool.get().await?.publish("shop:notify:news", "hello").await?;
    let message = messages.next().await.ok_or("closed")?;
    println!("heard by {heard}: {}", String::from_utf8_lossy(&message.payload));
    Ok(())
}
