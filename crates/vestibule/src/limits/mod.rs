//! Limits on requests: token buckets for each endpoint by network, client, user and in all (facts/deployment-and-operations.md
//! §6 "Rate limits"), answered with an OAuth-shaped 429. In the memory of this process: replicas count apart.
//!
//! The discovery documents and key sets have no limit: Python and rmcp clients give up on a 429 there
//! (facts/mcp-authorization.md §3). A caller is never judged by a bare address, which a company's people or a hosted
//! assistant's users share: by a whole network, and generously.

mod bucket;
pub(crate) mod network;
mod origin_lock;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use thiserror::Error;

use vestibule_oauth::client::ClientId;
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::random::Random;
use vestibule_oauth::time::Clock;

use crate::House;
use crate::arrival::PeerAddr;
use crate::authorization_server::{Outside, refuse};
use crate::metrics::labels::Label;
use crate::pages::{self, Page, RefusalPage};
use crate::settings::{EndpointLimits, LimitSettings, Rate, ServerSettings};
use crate::telemetry::{ReferenceId, Told};

pub use network::Network;
pub use origin_lock::ORIGIN_HEADER;
pub(crate) use origin_lock::OriginLock;

use bucket::Buckets;
use network::Proxies;

/// Wrong admin tokens that are told apart in the log; `limits.enabled` does not matter.
const WRONG_TOKENS: &str = "30/1m";

/// An endpoint that has limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// `GET /authorize`.
    Authorize,
    /// `POST /consent`.
    Consent,
    /// `GET /callback`.
    Callback,
    /// `POST /token`.
    Token,
    /// `POST /revoke`.
    Revoke,
    /// `POST /introspect`.
    Introspect,
    /// `POST /register`.
    Register,
    /// `POST /logout`.
    Logout,
    /// `/connections`, page and forms.
    Connections,
    /// The protected resources.
    Mcp,
}

impl Limited {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 10] = [
        Self::Authorize,
        Self::Consent,
        Self::Callback,
        Self::Token,
        Self::Revoke,
        Self::Introspect,
        Self::Register,
        Self::Logout,
        Self::Connections,
        Self::Mcp,
    ];

    fn settings(self, settings: &LimitSettings) -> EndpointLimits {
        match self {
            Self::Authorize => settings.authorize,
            Self::Consent => settings.consent,
            Self::Callback => settings.callback,
            Self::Token => settings.token,
            Self::Revoke => settings.revoke,
            Self::Introspect => settings.introspect,
            Self::Register => settings.register,
            Self::Logout => settings.logout,
            Self::Connections => settings.connections,
            Self::Mcp => settings.mcp,
        }
    }

    /// True when people see the answer.
    fn has_pages(self) -> bool {
        matches!(
            self,
            Self::Authorize | Self::Consent | Self::Callback | Self::Logout | Self::Connections
        )
    }
}

impl Label for Limited {
    const NAME: &'static str = "endpoint";
    const VALUES: &'static [&'static str] = &[
        "authorize",
        "consent",
        "callback",
        "token",
        "revoke",
        "introspect",
        "register",
        "logout",
        "connections",
        "mcp",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Requests from one network.
    Address,
    /// Requests of one client from one network.
    Client,
    /// Requests for one user.
    User,
    /// All requests to the endpoint.
    Total,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "from this network",
            Self::Client => "of this client",
            Self::User => "for this user",
            Self::Total => "at this endpoint",
        })
    }
}

/// Too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many requests {by}; try again in {retry_after} s")]
pub struct OverLimit {
    /// Where.
    pub endpoint: Limited,
    /// What was counted.
    pub by: By,
    /// After how many seconds there is room again.
    pub retry_after: u64,
}

#[derive(Debug, Default)]
struct Rules {
    address: Option<Buckets>,
    client: Option<Buckets>,
    user: Option<Buckets>,
    total: Option<Buckets>,
}

/// Every bucket of this process.
#[derive(Debug)]
pub struct Limits {
    clock: Arc<dyn Clock>,
    proxies: Proxies,
    rules: [Rules; Limited::ALL.len()],
    /// Wrong admin tokens.
    wrong_tokens: Option<Buckets>,
}

impl Limits {
    /// Full buckets. `random` makes the tables' keys.
    pub fn new(
        settings: &LimitSettings,
        server: &ServerSettings,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Self {
        Self::build(settings, server, clock, random, None)
    }

    /// Other rates and proxies, for buckets that are as full as they are: a reload of the configuration refills none.
    #[must_use]
    pub fn succeeded_by(
        &self,
        settings: &LimitSettings,
        server: &ServerSettings,
        random: &dyn Random,
    ) -> Self {
        let clock = Arc::clone(&self.clock);
        Self::build(settings, server, clock, random, Some(self))
    }

    fn build(
        settings: &LimitSettings,
        server: &ServerSettings,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
        before: Option<&Self>,
    ) -> Self {
        let keyed = |before: Option<&Buckets>, rate| {
            let fresh = || {
                let mut seed = [0; 16];
                random.fill(&mut seed);
                Buckets::keyed(rate, seed)
            };
            before.map_or_else(fresh, |buckets| buckets.at(rate))
        };
        let single = |before: Option<&Buckets>, rate| match before {
            Some(buckets) => buckets.at(rate),
            None => Buckets::single(rate),
        };
        let rules = Limited::ALL.map(|endpoint| {
            let limits = endpoint.settings(settings);
            if !settings.enabled {
                return Rules::default();
            }
            let before = before.and_then(|before| before.rules.get(endpoint as usize));
            let of = |part: fn(&Rules) -> &Option<Buckets>| {
                before.and_then(|rules| part(rules).as_ref())
            };
            Rules {
                address: (limits.per_address).map(|rate| keyed(of(|rules| &rules.address), rate)),
                client: (limits.per_client).map(|rate| keyed(of(|rules| &rules.client), rate)),
                user: (limits.per_user).map(|rate| keyed(of(|rules| &rules.user), rate)),
                total: (limits.total).map(|rate| single(of(|rules| &rules.total), rate)),
            }
        });
        let wrong_tokens = match before {
            Some(limits) => limits.wrong_tokens.clone(),
            None => Rate::parse(WRONG_TOKENS).ok().map(Buckets::single),
        };
        Self {
            wrong_tokens,
            clock,
            proxies: Proxies::new(&server.trusted_proxies, server.forwarded_header),
            rules,
        }
    }

    /// Counts a request by its network and in all. The narrow bucket comes first, so that a caller who is refused takes
    /// nothing from the others.
    pub fn request(&self, endpoint: Limited, network: Network) -> Result<(), OverLimit> {
        if network != Network::Unknown {
            self.take(endpoint, By::Address, &[network.bytes()])?;
        }
        self.take(endpoint, By::Total, &[])
    }

    /// Counts a request of a client that is known by now. Only clients that registered themselves are one installation;
    /// the id of any other is shared by all of its users, whom `user` tells apart.
    pub fn client(
        &self,
        endpoint: Limited,
        client: &ClientId,
        network: Network,
    ) -> Result<(), OverLimit> {
        match client {
            ClientId::Registered(id) => {
                self.take(endpoint, By::Client, &[id.as_bytes(), network.bytes()])
            }
            _ => Ok(()),
        }
    }

    /// Counts a request for a user who is known by now.
    pub fn user(&self, endpoint: Limited, subject: &str) -> Result<(), OverLimit> {
        self.take(endpoint, By::User, &[subject.as_bytes()])
    }

    /// The address of who sent these headers, as far as it is known.
    pub(crate) fn caller(&self, peer: Option<PeerAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let PeerAddr(peer) = peer?;
        self.proxies.caller(peer.ip().to_canonical(), headers)
    }

    /// Counts a wrong admin token; the error is in how many seconds another one is looked at.
    pub(crate) fn wrong_token(&self) -> Result<(), u64> {
        match &self.wrong_tokens {
            Some(buckets) => buckets.take(&[], self.clock.now()),
            None => Ok(()),
        }
    }

    fn take(&self, endpoint: Limited, by: By, key: &[&[u8]]) -> Result<(), OverLimit> {
        let rules = self.rules.get(endpoint as usize);
        let buckets = rules.and_then(|rules| match by {
            By::Address => rules.address.as_ref(),
            By::Client => rules.client.as_ref(),
            By::User => rules.user.as_ref(),
            By::Total => rules.total.as_ref(),
        });
        let Some(buckets) = buckets else {
            return Ok(());
        };
        buckets
            .take(key, self.clock.now())
            .map_err(|retry_after| OverLimit {
                endpoint,
                by,
                retry_after,
            })
    }
}

/// The layer of one endpoint. Leaves the caller's [`Network`] with the request for whoever knows more of it later.
pub(crate) async fn enforce(
    State((house, endpoint)): State<(Arc<House>, Limited)>,
    mut request: Request,
    next: Next,
) -> Response {
    let network = house.limits().proxies.network(&request);
    if let Err(over) = house.limits().request(endpoint, network) {
        return over.respond(&house);
    }
    request.extensions_mut().insert(network);
    next.run(request).await
}

/// The network that [`enforce`] found.
pub(crate) fn network_of(request: &Request) -> Network {
    request.extensions().get().copied().unwrap_or_default()
}

impl OverLimit {
    /// 429 with `Retry-After`: a page for people, an OAuth error for programs.
    pub(crate) fn respond(&self, house: &House) -> Response {
        house.metrics().rate_limited.inc((self.endpoint,));
        let mut response = if self.endpoint.has_pages() {
            self.page(house)
        } else {
            // Clients know this code and keep their refresh token on it. `slow_down` is the device grant's (RFC 8628);
            // an SDK that does not know it takes the server for broken and opens a browser.
            let code = ErrorCode::TemporarilyUnavailable;
            refuse(
                house,
                &Outside::new(code, "rate_limit", self.to_string()),
                self,
            )
        };
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(self.retry_after));
        response
    }

    fn page(&self, house: &House) -> Response {
        let reference = ReferenceId::new(house.random());
        tracing::warn!(%reference, reason = "rate_limit", cause = %self, "refused with a page");
        let page = RefusalPage {
            title: "Too many requests".to_owned(),
            explanation: "More requests arrived at once than this server takes.".to_owned(),
            next_step: format!(
                "Wait {} seconds, then reload this page. Nothing was lost.",
                self.retry_after
            ),
            reference: reference.into(),
            slug: "rate_limit",
        };
        let response = pages::respond(StatusCode::TOO_MANY_REQUESTS, Page::Refusal(page));
        Told::new(reference, "rate_limit").on(response)
    }
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::random::SystemRandom;
    use vestibule_oauth::time::{ManualClock, UnixTime};

    use super::*;

    fn limits(settings: &LimitSettings) -> Limits {
        let clock = Arc::new(ManualClock::new(UnixTime(1_000_000)));
        Limits::new(settings, &ServerSettings::default(), clock, &SystemRandom)
    }

    #[test]
    fn one_network_cannot_use_up_what_is_there_for_all() {
        let limits = limits(&LimitSettings {
            register: EndpointLimits {
                per_address: Rate::parse("5/1m").ok(),
                total: Rate::parse("10/1m").ok(),
                ..EndpointLimits::default()
            },
            ..LimitSettings::default()
        });
        let from = |last: u8| limits.request(Limited::Register, Network::V4([203, 0, last]));
        let granted = (0..1000).filter(|_| from(1).is_ok()).count();
        assert_eq!(granted, 5);
        assert_eq!(from(1).unwrap_err().by, By::Address);
        assert_eq!((0..1000).filter(|_| from(2).is_ok()).count(), 5);
        assert_eq!(from(3).unwrap_err().by, By::Total);
        // Another endpoint is another matter, and an unknown network is judged by the total alone.
        assert!(
            limits
                .request(Limited::Token, Network::V4([203, 0, 1]))
                .is_ok()
        );
        assert_eq!(
            limits
                .request(Limited::Register, Network::Unknown)
                .unwrap_err()
                .by,
            By::Total
        );
    }

    #[test]
    fn only_clients_of_one_installation_are_counted_as_clients() {
        let limits = limits(&LimitSettings {
            token: EndpointLimits {
                per_client: Rate::parse("2/1m").ok(),
                ..EndpointLimits::default()
            },
            ..LimitSettings::default()
        });
        let tries = |id: &ClientId, network| {
            (0..9)
                .filter(|_| limits.client(Limited::Token, id, network).is_ok())
                .count()
        };
        let registered = ClientId::Registered("vcl_1".to_owned());
        assert_eq!(tries(&registered, Network::V4([1, 2, 3])), 2);
        assert_eq!(tries(&registered, Network::V4([1, 2, 4])), 2);
        let shared = ClientId::PreRegistered("desk".to_owned());
        assert_eq!(tries(&shared, Network::V4([1, 2, 3])), 9);
    }

    #[test]
    fn new_settings_refill_no_bucket() {
        let at = |rate: &str| LimitSettings {
            register: EndpointLimits {
                per_address: Rate::parse(rate).ok(),
                ..EndpointLimits::default()
            },
            ..LimitSettings::default()
        };
        let server = ServerSettings::default();
        let granted = |limits: &Limits, last| {
            let network = Network::V4([203, 0, last]);
            (0..100)
                .filter(|_| limits.request(Limited::Register, network).is_ok())
                .count()
        };
        let first = limits(&at("10/1m"));
        assert_eq!(granted(&first, 1), 10);
        let same = first.succeeded_by(&at("10/1m"), &server, &SystemRandom);
        assert_eq!((granted(&same, 1), granted(&same, 2)), (0, 10));
        // The old house still answers requests in flight: both count in the same bucket.
        assert_eq!(granted(&first, 2), 0);
        let wider = same.succeeded_by(&at("20/1m"), &server, &SystemRandom);
        assert_eq!((granted(&wider, 1), granted(&wider, 3)), (0, 20));
    }

    #[test]
    fn nothing_is_counted_when_limits_are_off() {
        let limits = limits(&LimitSettings {
            enabled: false,
            ..LimitSettings::default()
        });
        assert!((0..100_000).all(|_| {
            limits
                .request(Limited::Register, Network::V4([1, 2, 3]))
                .is_ok()
        }));
    }
}
