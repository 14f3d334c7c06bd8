//! Where a request comes from: the peer, or what a trusted proxy says (RFC 7239, `X-Forwarded-For`), as a network prefix.
//!
//! Nothing that a caller can write is believed: headers count only from a peer on the list, and are read from the right,
//! up to the first address that is not on it. The addresses are used for limits and logs alone, never for URLs (law 1)
//! and never for authorization.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use axum::extract::Request;
use http::HeaderMap;
use http::header::{FORWARDED, VIA};
use ipnet::IpNet;

use vestibule_guard::fetch::AddressClass;

use crate::arrival::PeerAddr;
use crate::settings::ForwardedHeader;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The network a request comes from: small enough to tell callers apart, large enough that one caller cannot have many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// An IPv4 address without its last byte (/24).
    V4([u8; 3]),
    /// The upper half of an IPv6 address (/64), which is what one household or one machine has.
    V6([u8; 8]),
    /// It cannot be told: there is no connection (Lambda, tests), or a proxy stands in front that nobody has listed.
    #[default]
    Unknown,
}

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(prefix(&address.octets())),
            IpAddr::V6(address) => Self::V6(prefix(&address.octets())),
        }
    }

    /// Bytes for a key; none when unknown.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
            Self::Unknown => &[],
        }
    }
}

fn prefix<const N: usize>(octets: &[u8]) -> [u8; N] {
    octets.first_chunk().copied().unwrap_or([0; N])
}

/// Whom to believe about addresses.
#[derive(Debug)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
    unlisted: Once,
}

impl Proxies {
    pub(crate) fn new(trusted: &[IpNet], header: ForwardedHeader) -> Self {
        Self {
            trusted: trusted.to_vec(),
            header,
            unlisted: Once::new(),
        }
    }

    /// The network of the caller.
    pub(super) fn network(&self, request: &Request) -> Network {
        let Some(PeerAddr(peer)) = PeerAddr::of(request) else {
            return Network::Unknown;
        };
        let peer = peer.ip().to_canonical();
        if let Some(caller) = self.caller(peer, request.headers()) {
            return Network::of(caller);
        }
        self.unlisted.call_once(|| {
            tracing::warn!(
                proxy = %peer,
                "a proxy in front is not in server.trusted_proxies: its callers cannot be told apart, and limits per \
                 address are not applied to them"
            );
        });
        Network::Unknown
    }

    /// The address of the caller. `None` when the peer is a proxy that nobody has listed: everybody would share its
    /// address, and be refused together.
    pub(crate) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return (!is_unlisted_proxy(peer, headers)).then_some(peer);
        }
        let mut nearest = peer;
        for hop in self.hops(headers) {
            match hop {
                Some(address) if self.trusts(address) => nearest = address,
                Some(address) => return Some(address),
                // `unknown` or an invented name: what lies behind it cannot be told, and what it says is not believed.
                None => return Some(nearest),
            }
        }
        Some(nearest)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// The addresses that the header names, nearest first; `None` for what is not an address.
    fn hops(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, address),
            ForwardedHeader::Forwarded => (FORWARDED.as_str(), forwarded_for),
        };
        let lines = headers.get_all(name).iter().rev();
        let text = |value| http::HeaderValue::to_str(value).unwrap_or("?");
        lines
            .flat_map(|line| text(line).rsplit(',').map(read))
            .collect()
    }
}

/// A request that went through a proxy, from an address of the inside. From the outside nobody has such an address, so
/// nobody there escapes a limit by writing the header.
fn is_unlisted_proxy(peer: IpAddr, headers: &HeaderMap) -> bool {
    let proxied = [X_FORWARDED_FOR, FORWARDED.as_str(), VIA.as_str()]
        .iter()
        .any(|name| headers.contains_key(*name));
    proxied
        && matches!(
            AddressClass::of(peer),
            AddressClass::Loopback | AddressClass::Private | AddressClass::LinkLocal
        )
}

/// The `for` of one element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pair = element
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let value = pair?.1.trim();
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    address(quoted.unwrap_or(value))
}

/// An address with or without port, an IPv6 one with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bracketed.unwrap_or(text).parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn caller(header: ForwardedHeader, peer: &str, lines: &[(&str, &str)]) -> Option<String> {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap());
        let proxies = Proxies::new(&trusted, header);
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        proxies
            .caller(peer.parse().unwrap(), &headers)
            .map(|address| address.to_string())
    }

    #[test]
    fn an_attacker_who_writes_x_forwarded_for_keeps_his_own_address() {
        let xff = |peer, value| {
            caller(
                ForwardedHeader::XForwardedFor,
                peer,
                &[("x-forwarded-for", value)],
            )
        };
        // Straight to us.
        assert_eq!(xff("203.0.113.9", "1.2.3.4").unwrap(), "203.0.113.9");
        // Through the proxy, which appends what it saw.
        assert_eq!(
            xff("10.0.0.1", "1.2.3.4, 203.0.113.9").unwrap(),
            "203.0.113.9"
        );
        assert_eq!(
            xff("10.0.0.1", "10.9.9.9, 203.0.113.9, 10.0.0.7").unwrap(),
            "203.0.113.9"
        );
        assert_eq!(
            xff("10.0.0.1", "1.2.3.4, unknown, 10.0.0.7").unwrap(),
            "10.0.0.7"
        );
        assert_eq!(xff("10.0.0.1", "1.2.3.4, ").unwrap(), "10.0.0.1");
        assert_eq!(xff("10.0.0.1", "10.1.1.1, 10.2.2.2").unwrap(), "10.1.1.1");
        // In a header that the proxy does not write.
        let spoofed = caller(
            ForwardedHeader::XForwardedFor,
            "10.0.0.1",
            &[
                ("forwarded", "for=1.2.3.4"),
                ("x-forwarded-for", "203.0.113.9"),
            ],
        );
        assert_eq!(spoofed.unwrap(), "203.0.113.9");
        // In a line of its own, before the proxy's.
        let lines = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        let spoofed = caller(ForwardedHeader::XForwardedFor, "10.0.0.1", &lines);
        assert_eq!(spoofed.unwrap(), "203.0.113.9");
    }

    #[test]
    fn every_spelling_of_an_address_is_read() {
        for (value, expected) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            let read = caller(
                ForwardedHeader::XForwardedFor,
                "2001:db8:1::5",
                &[("x-forwarded-for", value)],
            );
            assert_eq!(read.as_deref(), Some(expected), "{value}");
        }
        for (value, expected) in [
            ("for=203.0.113.9", "203.0.113.9"),
            (
                "for=1.2.3.4, For=\"[2001:db8::1]:80\";proto=https;by=10.0.0.1",
                "2001:db8::1",
            ),
            ("for=1.2.3.4, for=_hidden", "10.0.0.1"),
            ("for=1.2.3.4, proto=https", "10.0.0.1"),
            ("for=\"1.2.3.4, 203.0.113.9\"", "10.0.0.1"),
        ] {
            let read = caller(
                ForwardedHeader::Forwarded,
                "10.0.0.1",
                &[("forwarded", value)],
            );
            assert_eq!(read.as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn people_behind_a_proxy_that_nobody_listed_are_not_refused_together() {
        let xff = [("x-forwarded-for", "203.0.113.9")];
        for inside in ["127.0.0.1", "192.168.1.1", "::1", "fd00::1"] {
            assert_eq!(caller(ForwardedHeader::XForwardedFor, inside, &xff), None);
            assert!(caller(ForwardedHeader::XForwardedFor, inside, &[]).is_some());
        }
        assert!(caller(ForwardedHeader::XForwardedFor, "198.51.100.1", &xff).is_some());
    }

    #[test]
    fn a_caller_with_many_addresses_has_one_network() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("203.0.113.1"), network("203.0.113.254"));
        assert_eq!(network("203.0.113.1"), network("::ffff:203.0.113.7"));
        assert_ne!(network("203.0.113.1"), network("203.0.114.1"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
