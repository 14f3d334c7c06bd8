//! Binding the listening sockets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// How many connections may wait in the kernel until we accept them.
const BACKLOG: i32 = 4096;

/// Binds every address. An error names the address it is about.
///
/// `[::]:port` also takes IPv4 connections, unless `0.0.0.0:port` is listed beside it.
pub fn bind(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let listener = |address: &SocketAddr| {
        let both = addresses.iter().any(|other| {
            other.is_ipv4()
                && other.ip().is_unspecified()
                && other.port() == address.port()
                && other.port() != 0
        });
        bind_one(*address, both).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })
    };
    addresses.iter().map(listener).collect()
}

fn bind_one(address: SocketAddr, ipv6_only: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only || !address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
