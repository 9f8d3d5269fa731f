//! A network that can be hurt: a TCP proxy between a client and a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::port;

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToServer,
    /// From the server.
    ToClient,
}

/// What becomes of a piece of the stream; a piece is what one read returned. Return it, change
/// it, or return nothing to swallow it.
pub type Filter = Arc<dyn Fn(Direction, Vec<u8>) -> Vec<u8> + Send + Sync>;

/// Forwards connections to one server and does to them what the test asks. It lives on a
/// thread of its own, so it goes on while a test blocks or its clock stands still.
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    orders: mpsc::Sender<Order>,
    counts: Arc<Counts>,
}

#[derive(Clone, Default)]
struct Rules {
    /// The port of the server.
    target: u16,
    silent_to_server: bool,
    silent_to_client: bool,
    delay: Duration,
    filter: Option<Filter>,
    /// How many times all connections were cut, and whether last by a reset.
    cuts: usize,
    reset: bool,
    /// How many times all connections were stranded.
    strandings: usize,
    /// How many times all connections were half closed, and in which direction last.
    halves: usize,
    half: Option<Direction>,
}

impl Rules {
    fn silent(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.silent_to_server,
            Direction::ToClient => self.silent_to_client,
        }
    }
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

/// What is done between two connections; whoever asks hears when it is done.
#[derive(Debug)]
struct Order {
    what: What,
    done: std::sync::mpsc::SyncSender<()>,
}

#[derive(Debug)]
enum What {
    Open,
    Shut,
    Cut { reset: bool },
}

impl Proxy {
    /// A proxy on a free port, to the given port of 127.0.0.1, forwarding.
    pub fn to(port: u16) -> Proxy {
        let listener = std::iter::repeat_with(|| (Ipv4Addr::LOCALHOST, port::free()))
            .find_map(|address| std::net::TcpListener::bind(address).ok())
            .expect("an endless search");
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (rules, _) = watch::channel(Rules { target: port, ..Rules::default() });
        let (orders, inbox) = mpsc::channel(1);
        let counts = Arc::new(Counts::default());
        let keeper = Keeper {
            address,
            rules: rules.clone(),
            counts: Arc::clone(&counts),
            connections: JoinSet::new(),
        };
        runtime().spawn(keeper.run(listener, inbox));
        Proxy { address, rules, orders, counts }
    }

    /// The port clients dial.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `redis://` and the address clients dial.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Holds everything back in both directions, on connections old and new, as a network that
    /// lost its route. Connecting still succeeds.
    pub fn silence(&self) {
        self.silence_one(Direction::ToServer);
        self.silence_one(Direction::ToClient);
    }

    /// Holds back one direction only.
    pub fn silence_one(&self, direction: Direction) {
        self.rules.send_modify(|rules| match direction {
            Direction::ToServer => rules.silent_to_server = true,
            Direction::ToClient => rules.silent_to_client = true,
        });
    }

    /// Holds everything back for good on the connections there are, and forwards those that come:
    /// either side keeps what the other has given up.
    pub fn strand(&self) {
        self.rules.send_modify(|rules| rules.strandings += 1);
    }

    /// Holds back every piece for so long.
    pub fn delay(&self, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Passes every piece through the filter.
    pub fn filter(&self, filter: Filter) {
        self.rules.send_modify(|rules| rules.filter = Some(filter));
    }

    /// Forwards again: ends silence, delay, filter and refusal. What was held back arrives.
    pub fn forward(&self) {
        self.rules.send_modify(|rules| {
            let Rules { target, cuts, reset, strandings, halves, half, .. } = *rules;
            *rules = Rules { target, cuts, reset, strandings, halves, half, ..Rules::default() };
        });
        self.order(What::Open);
    }

    /// Shuts the port: dialling is refused from now on. Open connections stay.
    pub fn refuse(&self) {
        self.order(What::Shut);
    }

    /// Tells one side of all open connections that the other has ended what it says, and says no
    /// more in that direction. The other direction goes on.
    pub fn half_close(&self, direction: Direction) {
        self.rules.send_modify(|rules| {
            rules.halves += 1;
            rules.half = Some(direction);
        });
    }

    /// Forwards the connections that come from now on to this port.
    pub fn aim(&self, port: u16) {
        self.rules.send_modify(|rules| rules.target = port);
    }

    /// Resets all open connections, on both sides.
    pub fn reset(&self) {
        self.order(What::Cut { reset: true });
    }

    /// Closes all open connections in good order, on both sides.
    pub fn close(&self) {
        self.order(What::Cut { reset: false });
    }

    /// How many connections were accepted since the start.
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// How many are open. A silent connection that its client gave up stays open.
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    fn order(&self, what: What) {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        self.orders.try_send(Order { what, done }).expect("one order at a time");
        wait.recv().expect("the proxy runs as long as this handle");
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("proxies").enable_all().build().unwrap()
    })
}

/// Accepts, and carries out orders, until the handle is dropped; then everything closes.
struct Keeper {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    counts: Arc<Counts>,
    connections: JoinSet<()>,
}

impl Keeper {
    async fn run(mut self, listener: std::net::TcpListener, mut inbox: mpsc::Receiver<Order>) {
        let mut listener = Some(TcpListener::from_std(listener).unwrap());
        loop {
            let accept = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = inbox.recv() => {
                    let Some(Order { what, done }) = order else { return };
                    self.accept_waiting(listener.as_ref());
                    match what {
                        What::Open if listener.is_some() => {}
                        What::Open => listener = Some(TcpListener::bind(self.address).await.unwrap()),
                        What::Shut => listener = None,
                        What::Cut { reset } => self.rules.send_modify(|rules| {
                            rules.cuts += 1;
                            rules.reset = reset;
                        }),
                    }
                    // A test that gave up waiting has panicked already.
                    let _ = done.send(());
                }
                accepted = accept => self.admit(accepted.unwrap().0),
                _ = self.connections.join_next(), if !self.connections.is_empty() => {}
            }
        }
    }

    /// Admits those who are connected, as they see it, and wait in the kernel's queue: shutting
    /// the port would reset them, and an order to cut would miss them. It asks the kernel itself
    /// because tokio may not have heard of them yet.
    fn accept_waiting(&mut self, listener: Option<&TcpListener>) {
        let Some(listener) = listener else { return };
        while let Ok((client, _)) = SockRef::from(listener).accept() {
            client.set_nonblocking(true).unwrap();
            self.admit(TcpStream::from_std(client.into()).unwrap());
        }
    }

    fn admit(&mut self, client: TcpStream) {
        self.counts.accepted.fetch_add(1, Ordering::SeqCst);
        let open = Open::count(&self.counts);
        let rules = self.rules.subscribe();
        let (server, cuts) = {
            let rules = rules.borrow();
            (SocketAddr::from((Ipv4Addr::LOCALHOST, rules.target)), rules.cuts)
        };
        self.connections.spawn(async move {
            connection(client, server, rules, cuts).await;
            drop(open);
        });
    }
}

/// Counted as open while it lives.
struct Open(Arc<Counts>);

impl Open {
    fn count(counts: &Arc<Counts>) -> Open {
        counts.open.fetch_add(1, Ordering::SeqCst);
        Open(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs until both sides have ended, or all connections are cut once more.
async fn connection(
    mut client: TcpStream,
    server: SocketAddr,
    mut rules: watch::Receiver<Rules>,
    cuts: usize,
) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        // Nobody behind us: the client sees its connection reset.
        client.set_zero_linger().unwrap();
        return;
    };
    {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = lane(Direction::ToServer, from_client, to_server, rules.clone());
        let back = lane(Direction::ToClient, from_server, to_client, rules.clone());
        let both = async { tokio::join!(there, back) };
        tokio::select! {
            _ = both => return,
            cut = rules.wait_for(|rules| rules.cuts != cuts) => {
                if !cut.is_ok_and(|rules| rules.reset) { return }
            }
        }
    }
    // Closing with a linger of zero sends RST.
    for stream in [&client, &server] {
        stream.set_zero_linger().unwrap();
    }
}

/// One direction of a connection, until it ends or fails; the end is handed on.
async fn lane(
    direction: Direction,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Rules>,
) {
    let mut buffer = vec![0; 16 * 1024];
    let (before, halves) = {
        let rules = rules.borrow();
        (rules.strandings, rules.halves)
    };
    let mut closing = rules.clone();
    loop {
        let half = |rules: &Rules| rules.halves != halves && rules.half == Some(direction);
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = closing.wait_for(half) => 0,
        };
        let passes = |rules: &Rules| !rules.silent(direction) && rules.strandings == before;
        let heard = rules.wait_for(passes).await;
        let Ok((delay, filter)) = heard.map(|rule| (rule.delay, rule.filter.clone())) else {
            return;
        };
        tokio::time::sleep(delay).await;
        if read == 0 {
            // Fails when the other side is gone already, which ends the other lane too.
            let _ = to.shutdown().await;
            return;
        }
        let piece = buffer[..read].to_vec();
        let piece = filter.map_or(piece.clone(), |filter| filter(direction, piece));
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}
