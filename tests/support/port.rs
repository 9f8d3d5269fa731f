//! Free TCP ports.

use std::net::{Ipv4Addr, TcpListener};

/// A port of 127.0.0.1 that nobody listens on at the moment; whoever binds it next may still
/// come too late and has to ask again.
///
/// It lies below the kernel's ephemeral range (from 32768 on). So while a server is down, no
/// outgoing connection is given its port, and a client that dials it cannot be connected to
/// itself, which TCP allows. It is never Redis' 6379, and a cluster bus fits 10,000 above.
pub fn free() -> u16 {
    for _ in 0..1000 {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port among a thousand tried");
}
