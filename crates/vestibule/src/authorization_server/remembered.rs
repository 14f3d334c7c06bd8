//! Remembered consent: which requests may skip the page, and the cookie in which a browser keeps what it approved (T9).
//!
//! The page is what stands between a user and an authorization server that passes our sign-in off as its own (mix-up,
//! GHSA-6x8h-498w-gv8c). So it is skipped only where that server could not use the code: the client proves itself at
//! `/token`, and a page of our own site sent the browser here without a detour, so the PKCE challenge is the client's. That
//! the user typed or clicked something (`Sec-Fetch-Site: none`) says nothing: browsers keep saying it after a redirect
//! from anywhere. For clients that compare `iss` (RFC 9207) the operator may say that any way leads here.

use http::{HeaderMap, HeaderValue};

use vestibule_oauth::client::{Client, ClientAuthMethod, MatchedRedirect};
use vestibule_oauth::params::Params;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::RedirectClass;

use super::cookies::Cookies;
use crate::House;
use crate::grants::{Asked, Memory, Remembered};

/// Longest `state`, in bytes, with which a decision can be remembered: it travels twice, with all else, in cookies.
const MAX_STATE: usize = 1024;
/// Longest cookie, in bytes: some proxies refuse 8 KiB of cookies, and a flow needs its share (FastMCP #3747).
const MAX_MEMORY: usize = 3000;

/// What a decision on this request would be remembered as; `None` when the user is to be asked each time.
pub(super) fn asked(
    house: &House,
    headers: &HeaderMap,
    client: &Client,
    redirect: &MatchedRedirect,
    state: Option<&str>,
    resource: &str,
) -> Option<Asked> {
    let settings = &house.settings().consent;
    settings.remember?;
    // Any program can listen on the loopback or claim a scheme (OAuth 2.1 §7.3.1).
    let website = redirect.uri().class() == RedirectClass::Https;
    let small = state.is_none_or(|state| state.len() <= MAX_STATE);
    let from_anywhere = settings
        .from_anywhere
        .iter()
        .any(|id| id == client.id.as_str());
    let proves_itself = client.auth_method != ClientAuthMethod::None;
    let way = from_anywhere || (proves_itself && from_our_site(headers));
    (website && small && way && is_visible(headers)).then(|| Asked::new(client, redirect, resource))
}

/// The user chose to be asked, or to be somebody else: `prompt` of OpenID Connect, whatever it says.
pub(super) fn wants_page(params: &Params) -> bool {
    params.has("prompt")
}

/// What this browser remembers.
pub(super) fn memory(house: &House, headers: &HeaderMap) -> Memory {
    let Some(lifetime) = house.settings().consent.remember else {
        return Memory::default();
    };
    Cookies::new(&house.settings().public_url)
        .memory(headers)
        .and_then(|sealed| house.sealer().open::<Memory>(sealed, house.now()).ok())
        .unwrap_or_default()
        .at(house.now(), lifetime.as_secs())
}

/// The decision that makes the page needless now.
pub(super) fn decision<'a>(
    house: &House,
    memory: &'a Memory,
    asked: &Asked,
    scope: &ScopeSet,
) -> Option<&'a Remembered> {
    memory
        .find(asked)
        .filter(|decision| decision.covers(scope, house.now()))
}

/// Writes what the browser is to remember. The oldest decisions go until the rest fits into one cookie.
pub(super) fn keep(house: &House, headers: &mut HeaderMap, mut memory: Memory) {
    let cookies = Cookies::new(&house.settings().public_url);
    let lifetime = house.settings().consent.remember.unwrap_or_default();
    while !memory.is_empty() {
        let until = house.now().plus(lifetime.as_secs());
        let sealed = house.sealer().seal(&memory, Some(until), house.random());
        if sealed.len() <= MAX_MEMORY {
            return cookies.set_memory(headers, &sealed, lifetime.as_secs());
        }
        memory.forget_oldest();
    }
    cookies.clear_memory(headers);
}

/// Forgets everything, where there is something.
pub(super) fn forget_all(house: &House, request: &HeaderMap, headers: &mut HeaderMap) {
    let cookies = Cookies::new(&house.settings().public_url);
    if cookies.memory(request).is_some() {
        cookies.clear_memory(headers);
    }
}

/// A page of our own site, and no redirect of another site on the way: browsers say `cross-site` after that.
fn from_our_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| site == "same-origin" || site == "same-site")
}

/// The browser shows the answer in a window of its own, and has not just fetched it ahead. A browser that does not say so
/// is an old one, or none.
fn is_visible(headers: &HeaderMap) -> bool {
    let says = |name: &str, word: &str| headers.get(name).is_some_and(|value| value == word);
    let ahead = |value: &HeaderValue| value.as_bytes().starts_with(b"prefetch");
    let fetched_ahead = ["sec-purpose", "purpose"]
        .into_iter()
        .any(|name| headers.get(name).is_some_and(ahead));
    says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document") && !fetched_ahead
}
