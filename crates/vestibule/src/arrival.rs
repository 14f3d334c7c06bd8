//! When a request came, and from where.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::Request;

/// The address at the other end of the connection, which requests to the router carry as an extension. Behind a proxy it is
/// the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    /// Who sent a request that the router got.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        request.extensions().get().copied()
    }
}

/// The same for requests to a resource, which do not pass the router: an extension costs a map for each of them.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The moment.
    pub at: Instant,
    /// The other end of its connection, if it is known.
    pub from: Option<PeerAddr>,
}
