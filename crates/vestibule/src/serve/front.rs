//! What new connections and new requests meet: replaced as a whole, while those under way go on with what they began with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::ServeLimits;
use super::connection::Http;
use crate::House;
use crate::metrics::table::{Level, Table, Up};
use crate::routes::Entrance;

/// The entrance, the limits and the certificate of a listener that runs.
pub struct Front {
    entrance: ArcSwap<Entrance>,
    door: ArcSwap<Door>,
    changed: Notify,
    connections: Table<(), Level>,
}

/// What a connection needs.
pub(super) struct Door {
    pub(super) limits: ServeLimits,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) http: Http,
}

impl Front {
    /// What is met first.
    pub fn new(
        entrance: impl Into<Entrance>,
        limits: ServeLimits,
        tls: Option<Arc<ServerConfig>>,
    ) -> Arc<Self> {
        Self::counting(Table::default(), entrance.into(), limits, tls)
    }

    /// The same, with its connections counted among the metrics of the house.
    pub fn of(
        house: &Arc<House>,
        limits: ServeLimits,
        tls: Option<Arc<ServerConfig>>,
    ) -> Arc<Self> {
        let connections = house.metrics().active_connections.clone();
        Self::counting(connections, Entrance::from(house), limits, tls)
    }

    fn counting(
        connections: Table<(), Level>,
        entrance: Entrance,
        limits: ServeLimits,
        tls: Option<Arc<ServerConfig>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            entrance: ArcSwap::from_pointee(entrance),
            door: ArcSwap::from_pointee(Door::new(limits, tls)),
            changed: Notify::new(),
            connections,
        })
    }

    /// From now on every new request meets `entrance`, on connections that are open already as well; every new connection
    /// meets the limits and the certificate. Requests, streams and connections under way notice nothing.
    pub fn replace(
        &self,
        entrance: impl Into<Entrance>,
        limits: ServeLimits,
        tls: Option<Arc<ServerConfig>>,
    ) {
        self.door.store(Arc::new(Door::new(limits, tls)));
        self.entrance.store(Arc::new(entrance.into()));
        self.changed.notify_one();
    }

    /// A connection is open as long as the returned value lives.
    pub(super) fn connected(&self) -> Up {
        self.connections.up()
    }

    pub(super) fn entrance(&self) -> Arc<Entrance> {
        self.entrance.load_full()
    }

    pub(super) fn door(&self) -> Arc<Door> {
        self.door.load_full()
    }

    pub(super) fn limits(&self) -> ServeLimits {
        self.door.load().limits
    }

    /// Waits for the next change: a house that was full may be larger now.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Door {
    fn new(limits: ServeLimits, tls: Option<Arc<ServerConfig>>) -> Self {
        Self {
            http: Http::new(&limits),
            limits,
            tls: tls.map(TlsAcceptor::from),
        }
    }
}
