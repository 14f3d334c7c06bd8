//! What the fuzz targets (`fuzz/`) reach inside for: parsers of strangers' bytes that have no public name. Not an API.

use std::net::IpAddr;

use http::{HeaderMap, Uri};
use ipnet::IpNet;

use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::Origin;

use crate::authorization_server::cookies::Cookies;
use crate::limits::network::Proxies;
use crate::policy;
use crate::proxy::{Upstream, path, rewrite};
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
