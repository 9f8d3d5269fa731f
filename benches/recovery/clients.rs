//! Ways to publish, each over one connection that comes back by its own rules.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, cmd};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use trunkline::conn::{Budget, Options, Owner, Publisher, Target};
use trunkline::model::Component;

use crate::support::DEADLINE;

const CHANNEL: &str = "bench:notify:a";
const PAYLOAD: [u8; 256] = [b'x'; 256];

/// Who is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Owner`] with its defaults.
    Ours,
    /// redis-rs' [`ConnectionManager`] with its defaults: a command waits while it dials.
    Manager,
    /// The same, told to dial once and soon.
    ManagerShort,
    /// What the Node system that Trunkline replaces did with ioredis; see [`LikeIoredis`].
    LikeIoredis,
}

impl Kind {
    /// Everybody.
    pub const ALL: [Kind; 4] = [Kind::Ours, Kind::Manager, Kind::ManagerShort, Kind::LikeIoredis];

    /// As in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "trunkline",
            Kind::Manager => "ConnectionManager, defaults",
            Kind::ManagerShort => "ConnectionManager, short",
            Kind::LikeIoredis => "like ioredis",
        }
    }
}

/// A connection that works when it is made. Clones share it.
#[derive(Clone)]
pub enum Client {
    /// Of this repository. Without its owner it would be closed.
    Ours { publisher: Publisher, _owner: Arc<Owner> },
    /// Of redis-rs.
    Manager(ConnectionManager),
    /// The stand-in.
    LikeIoredis(Arc<LikeIoredis>),
}

impl Client {
    /// Connects.
    pub async fn connect(kind: Kind, port: u16) -> Client {
        let manager = async |config: ConnectionManagerConfig| {
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
            Client::Manager(ConnectionManager::new_with_config(client, config).await.unwrap())
        };
        match kind {
            Kind::Ours => {
                let target = Target::Tcp { host: "127.0.0.1".to_owned(), port };
                let options = Options::new(target, "bench", "recovery");
                let owner = Owner::new(options, &Budget::of(Component::Worker)).unwrap();
                owner.connect().await;
                owner.shared().ready(DEADLINE).await.unwrap();
                let publisher = owner.publisher();
                Client::Ours { publisher, _owner: Arc::new(owner) }
            }
            Kind::Manager => manager(ConnectionManagerConfig::new()).await,
            Kind::ManagerShort => {
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(1)
                    .set_min_delay(Duration::from_millis(50))
                    .set_max_delay(Duration::from_millis(500));
                manager(config).await
            }
            Kind::LikeIoredis => Client::LikeIoredis(LikeIoredis::connect(port).await),
        }
    }

    /// Whether Redis acknowledged it.
    pub async fn publish(&self) -> bool {
        let mut publish = cmd("PUBLISH");
        publish.arg(CHANNEL).arg(&PAYLOAD[..]);
        match self {
            Client::Ours { publisher, .. } => publisher.publish(CHANNEL, &PAYLOAD).await.is_ok(),
            Client::Manager(manager) => {
                publish.query_async::<u64>(&mut manager.clone()).await.is_ok()
            }
            Client::LikeIoredis(client) => match client.connection() {
                Some(mut connection) => publish.query_async::<u64>(&mut connection).await.is_ok(),
                None => false,
            },
        }
    }

    /// Whether it dials no more, whatever Redis does.
    pub fn gave_up(&self) -> bool {
        match self {
            Client::Ours { .. } | Client::Manager(_) => false,
            Client::LikeIoredis(client) => client.live.has_changed().is_err(),
        }
    }
}

/// Dials that are made in a row before it gives up for good.
const TRIES: u32 = 10;

/// A small stand-in of our own for ioredis as that Node system used it: `retryStrategy` waits
/// `min(tries * 50, 2000)` ms and gives up after ten tries, 2.75 s in all; no offline queue, and
/// no `commandTimeout`. It shares no code with ioredis and says nothing of how fast that is.
pub struct LikeIoredis {
    live: watch::Receiver<Option<MultiplexedConnection>>,
    task: AbortHandle,
}

impl LikeIoredis {
    async fn connect(port: u16) -> Arc<Self> {
        let (sender, mut live) = watch::channel(None);
        let task = tokio::spawn(keep(port, sender)).abort_handle();
        live.wait_for(Option::is_some).await.unwrap();
        Arc::new(Self { live, task })
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        self.live.borrow().clone()
    }
}

impl Drop for LikeIoredis {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps a connection, until it gives up; then the sender is dropped, with no connection in it.
async fn keep(port: u16, live: watch::Sender<Option<MultiplexedConnection>>) {
    let mut tries = 0;
    while tries < TRIES {
        if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            stream.set_nodelay(true).unwrap();
            let (info, config) = (RedisConnectionInfo::default(), AsyncConnectionConfig::new());
            let config = config.set_response_timeout(None);
            let adopted = MultiplexedConnection::new_with_config(&info, stream, config).await;
            if let Ok((connection, driver)) = adopted {
                tries = 0;
                live.send_replace(Some(connection));
                driver.await;
                live.send_replace(None);
            }
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(50) * tries).await;
    }
}
