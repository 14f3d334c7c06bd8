//! Whether a form comes from our own pages: asked by `/consent`, `/logout` and `/connections` (T8, Fetch metadata).

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue};

use crate::House;

/// What says that a form was sent by another site, if anything does.
pub(super) fn foreign_site(house: &House, headers: &HeaderMap) -> Option<String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    if let Some(site) = headers
        .get("sec-fetch-site")
        .filter(|site| *site != "same-origin")
    {
        return Some(format!("Sec-Fetch-Site is {}", text(site)));
    }
    headers
        .get(ORIGIN)
        .filter(|origin| *origin != house.settings().public_url.as_str())
        .map(|origin| format!("Origin is {}", text(origin)))
}
