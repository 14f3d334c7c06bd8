//! What the fuzz targets (`fuzz/`) reach inside for: parsers of strangers' bytes that have no public name. Not an API.

use std::net::IpAddr;

use http::{HeaderMap, Uri};
use ipnet::IpNet;

use vestibule_oauth::client::Registration;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url::Origin;

use crate::authorization_server::cookies::Cookies;
use crate::grants::{
    Access, Account, AccountFlow, Code, ConsentTicket, Flow, FormTicket, Grant, Memory, Session,
    StoredGrant, Ticket, UsedCode,
};
use crate::limits::network::Proxies;
use crate::policy;
use crate::proxy::{Upstream, path, rewrite};
use crate::quarantine::Quarantined;
use crate::revocation::Revocation;
use crate::seal::{Kind, Sealable, Sealer};
use crate::settings::ForwardedHeader;

/// The URL that a request to `uri` goes to, on the route at `public_path`.
pub fn proxy_target(public_path: &str, upstream: &Upstream, uri: &Uri) -> Option<Uri> {
    path::target(public_path, upstream, uri).ok()
}

/// The scopes that an upstream's challenges ask for.
pub fn needed_scopes(headers: &HeaderMap) -> Option<ScopeSet> {
    rewrite::needed_scopes(headers)
}

/// The flow cookie of `state`, put together again, and the browser cookie.
pub fn cookies(
    origin: &Origin,
    headers: &HeaderMap,
    state: &str,
) -> (Option<String>, Option<String>) {
    let cookies = Cookies::new(origin);
    (cookies.flow(headers, state), cookies.browser(headers))
}

/// The caller behind a chain of proxies.
pub fn caller(
    trusted: &[IpNet],
    header: ForwardedHeader,
    peer: IpAddr,
    headers: &HeaderMap,
) -> Option<IpAddr> {
    Proxies::new(trusted, header).caller(peer, headers)
}

/// The methods of a JSON-RPC body and what they name, as the gate of a resource with rules reads them.
pub fn mcp_calls(body: &[u8]) -> Option<Vec<(String, Vec<String>)>> {
    policy::calls(body)
}

/// True when `text` opens as what is sealed for this purpose.
///
/// # Panics
///
/// If the type here is sealed for another purpose.
pub fn opens(sealer: &Sealer, kind: Kind, text: &str, now: UnixTime) -> bool {
    fn as_a<T: Sealable>(sealer: &Sealer, kind: Kind, text: &str, now: UnixTime) -> bool {
        assert!(T::KIND == kind, "another type has this kind");
        sealer.open::<T>(text, now).is_ok()
    }
    // No `_`: a new kind has a line here, or this does not compile.
    let opens = match kind {
        Kind::Registration => as_a::<Registration>,
        Kind::Consent => as_a::<ConsentTicket>,
        Kind::Flow => as_a::<Flow>,
        Kind::Code => as_a::<Code>,
        Kind::Grant => as_a::<Grant>,
        Kind::Access => as_a::<Access>,
        Kind::Ticket => as_a::<Ticket>,
        Kind::StoredGrant => as_a::<StoredGrant>,
        Kind::Revocation => as_a::<Revocation>,
        Kind::UsedCode => as_a::<UsedCode>,
        Kind::Memory => as_a::<Memory>,
        Kind::AccountFlow => as_a::<AccountFlow>,
        Kind::Session => as_a::<Session>,
        Kind::FormTicket => as_a::<FormTicket>,
        Kind::Account => as_a::<Account>,
        Kind::Quarantine => as_a::<Quarantined>,
    };
    opens(sealer, kind, text, now)
}
