//! The second side: the TCP sockets that the kernel says this process has.
//!
//! Counted below everything of ours, so a socket that no guard knows shows here: one that a
//! library opened, or one whose handshake failed and that has no name in Redis. Linux only.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// States of a socket that is open on our side, as the kernel's table numbers them.
const ESTABLISHED: u8 = 0x01;
/// The other side has closed, we have not.
const CLOSE_WAIT: u8 = 0x08;

/// One line of the kernel's table of TCP sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    state: u8,
    /// What tells sockets apart, and says whose they are.
    pub(super) inode: u64,
}

/// This process' open TCP sockets to any of these addresses. Blocks.
///
/// # Errors
/// When `/proc` does not say: it is not mounted, or this is not Linux.
pub(super) fn sockets_to(peers: &BTreeSet<SocketAddr>) -> io::Result<Vec<Entry>> {
    let mut found = table(&fs::read_to_string("/proc/self/net/tcp")?, peers);
    match fs::read_to_string("/proc/self/net/tcp6") {
        Ok(text) => found.extend(table(&text, peers)),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if found.is_empty() {
        return Ok(found);
    }
    // The table is that of the whole network namespace: other processes' are in it.
    let mut ours = BTreeSet::new();
    for file in fs::read_dir("/proc/self/fd")? {
        // A file that was closed meanwhile has no link any more.
        if let Ok(link) = fs::read_link(file?.path()) {
            ours.extend(link.to_str().and_then(inode));
        }
    }
    found.retain(|entry| ours.contains(&entry.inode));
    Ok(found)
}

/// The open sockets to these addresses in the text of `/proc/net/tcp` or `tcp6`. Lines that
/// cannot be read are passed over, its heading among them.
fn table(text: &str, peers: &BTreeSet<SocketAddr>) -> Vec<Entry> {
    let open = |entry: &Entry| {
        matches!(entry.state, ESTABLISHED | CLOSE_WAIT) && peers.contains(&entry.peer)
    };
    text.lines().filter_map(entry).filter(open).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace();
    let local = address(words.nth(1)?)?;
    let peer = address(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    // Queues, timer, retransmits, user and timeout lie between.
    let inode = words.nth(5)?.parse().ok()?;
    Some(Entry { local, peer, state, inode })
}

/// `0100007F:18EB`, or the same with four words for IPv6. An IPv4 address in an IPv6 socket is
/// given as what it is.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip: IpAddr = match host.len() {
        8 => Ipv4Addr::from(word(host)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, into) in bytes.chunks_exact_mut(4).enumerate() {
                into.copy_from_slice(&word(host.get(8 * at..8 * at + 8)?)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The kernel prints addresses, which are in network order, as numbers of its own order.
fn word(hex: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes)
}

/// The inode of `socket:[12345]`.
fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A line as the kernel prints it.
    fn line(local: SocketAddr, peer: SocketAddr, state: u8, inode: u64) -> String {
        let words = |bytes: &[u8]| -> String {
            let words = bytes.chunks_exact(4);
            words.map(|it| format!("{:08X}", u32::from_ne_bytes(it.try_into().unwrap()))).collect()
        };
        let address = |address: SocketAddr| {
            let host = match address.ip() {
                IpAddr::V4(ip) => words(&ip.octets()),
                IpAddr::V6(ip) => words(&ip.octets()),
            };
            format!("{host}:{:04X}", address.port())
        };
        let (local, peer) = (address(local), address(peer));
        format!(
            "  12: {local} {peer} {state:02X} 00000000:00000000 02:00000A2B 00000000  1000 \
             0 {inode} 2 0000000000000000 20 4 30 10 -1"
        )
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_own_words_are_understood() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20  0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   103        0 26045 1 0 100 0 0 10 0\n\
             \x20  1: 0100007F:C350 0100007F:18EB 01 00000000:00000000 02:0000 00000000  1000        0 99001 2 0 20 4 30 10 -1\n";
        let redis = at("127.0.0.1:6379");
        let found = table(text, &BTreeSet::from([redis]));
        let (local, state, inode) = (at("127.0.0.1:50000"), ESTABLISHED, 99_001);
        assert_eq!(found, [Entry { local, peer: redis, state, inode }]);
        let mapped = "0000000000000000FFFF00000100007F:18EB";
        assert_eq!(address(mapped), Some(redis), "IPv4 in an IPv6 socket");
    }

    #[test]
    fn a_socket_that_only_redis_has_closed_counts_and_one_that_is_ending_does_not() {
        let (us, redis) = (at("10.0.0.7:50000"), at("10.0.0.1:6379"));
        let listed = |state| table(&line(us, redis, state, 5), &BTreeSet::from([redis])).len();
        assert_eq!((listed(ESTABLISHED), listed(CLOSE_WAIT)), (1, 1));
        // FIN_WAIT1, TIME_WAIT, LISTEN.
        assert_eq!((listed(4), listed(6), listed(10)), (0, 0, 0));
        let elsewhere = BTreeSet::from([at("10.0.0.1:6380")]);
        assert_eq!(table(&line(us, redis, ESTABLISHED, 5), &elsewhere), []);
    }

    #[test]
    fn a_socket_of_this_process_counts_while_it_is_open() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let peers = BTreeSet::from([peer]);
        assert_eq!(sockets_to(&peers).unwrap(), []);
        let socket = std::net::TcpStream::connect(peer).unwrap();
        let found = sockets_to(&peers).unwrap();
        let ends: Vec<_> = found.iter().map(|entry| (entry.local, entry.peer)).collect();
        assert_eq!(ends, [(socket.local_addr().unwrap(), peer)]);
        drop(socket);
        assert_eq!(sockets_to(&peers).unwrap(), []);
    }

    fn addresses() -> impl Strategy<Value = SocketAddr> {
        let ip = prop_oneof![
            any::<[u8; 4]>().prop_map(|it| IpAddr::from(Ipv4Addr::from(it))),
            any::<[u8; 16]>().prop_map(|it| IpAddr::from(Ipv6Addr::from(it)).to_canonical()),
        ];
        (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn every_line_of_the_table_is_read_back(local in addresses(), peer in addresses(), state: u8, inode: u64) {
            prop_assert_eq!(entry(&line(local, peer, state, inode)), Some(Entry { local, peer, state, inode }));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC*", words in "([0-9A-F:\u{e4}]{0,40} ){0,12}") {
            for text in [&text, &words] {
                text.lines().filter_map(entry).for_each(drop);
                inode(text);
            }
        }
    }
}
