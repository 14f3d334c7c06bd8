//! What the reader of a page wants (RFC 9110 §12.5): HTML or JSON by `Accept`, the language by `Accept-Language`.

use http::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION};
use http::{HeaderMap, HeaderName, Method};

use super::texts::{ENGLISH, JAPANESE, Texts};

/// Form and language of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// JSON was named, and HTML was not or is worth less.
    pub(super) json: bool,
    /// The words to use.
    pub(super) texts: &'static Texts,
}

impl Wanted {
    /// Reads the headers of a request. Without any, it is HTML in English.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accept = weighted(headers, &ACCEPT);
        let json = weight(&accept, "application/json");
        let html = weight(&accept, "text/html");
        Self {
            json: match (json, html) {
                (Some(json), Some(html)) => json > html,
                (Some(json), None) => json > 0,
                (None, _) => false,
            },
            texts: language(headers),
        }
    }
}

/// True for a person who typed an address into a browser: a GET that prefers HTML, without a token. MCP clients name JSON
/// or an event stream, and `curl` takes anything.
pub fn is_browser(method: &Method, headers: &HeaderMap) -> bool {
    if method != Method::GET || headers.contains_key(AUTHORIZATION) {
        return false;
    }
    let accept = weighted(headers, &ACCEPT);
    let json = weight(&accept, "application/json").unwrap_or(0);
    weight(&accept, "text/html").is_some_and(|html| html > json)
        && weight(&accept, "text/event-stream").is_none()
}

/// The first language of ours among those with the greatest weight.
fn language(headers: &HeaderMap) -> &'static Texts {
    let mut best = (0, &ENGLISH);
    for (tag, weight) in weighted(headers, &ACCEPT_LANGUAGE) {
        let primary = tag.split('-').next().unwrap_or_default();
        let texts = [&ENGLISH, &JAPANESE]
            .into_iter()
            .find(|texts| texts.lang == primary);
        if let Some(texts) = texts.filter(|_| weight > best.0) {
            best = (weight, texts);
        }
    }
    best.1
}

/// The names of a header in lower case with their weights in thousandths.
fn weighted(headers: &HeaderMap, name: &HeaderName) -> Vec<(String, u32)> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(1000, thousandths);
            (name, weight)
        })
        .collect()
}

/// RFC 9110 §12.4.2: `0` or `1` and up to three decimals. What cannot be read counts nothing.
fn thousandths(text: &str) -> u32 {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if decimals.len() > 3 || !digits(decimals) || !matches!(whole, "0" | "1") {
        return 0;
    }
    let decimals = format!("{decimals:0<3}").parse().unwrap_or(0);
    match whole {
        "1" => 1000,
        _ => decimals,
    }
}

fn weight(items: &[(String, u32)], name: &str) -> Option<u32> {
    items
        .iter()
        .find(|(own, _)| own == name)
        .map(|(_, weight)| *weight)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const CHROME: &str =
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        let json = |accept| Wanted::of(&headers(&[(ACCEPT, accept)])).json;
        assert!(json("application/json"));
        assert!(json("application/json, text/plain, */*"));
        assert!(json("text/html;q=0.5, application/json"));
        assert!(json("APPLICATION/JSON; charset=utf-8; Q=0.1"));
        for html in [
            CHROME,
            "*/*",
            "",
            "text/html, application/json",
            "application/json;q=0",
            "application/json;q=huge",
        ] {
            assert!(!json(html), "{html}");
        }
        assert!(!Wanted::of(&HeaderMap::new()).json);
    }

    #[test]
    fn a_browser_is_told_from_a_client() {
        let get = |accept| is_browser(&Method::GET, &headers(&[(ACCEPT, accept)]));
        assert!(get(CHROME));
        for client in [
            "*/*",
            "",
            "text/event-stream",
            "application/json, text/event-stream",
            "text/event-stream, text/html",
            "application/json, text/html",
            "text/html;q=0, */*",
        ] {
            assert!(!get(client), "{client}");
        }
        assert!(!is_browser(&Method::GET, &HeaderMap::new()));
        assert!(!is_browser(&Method::POST, &headers(&[(ACCEPT, CHROME)])));
        let signed_in = headers(&[(ACCEPT, CHROME), (AUTHORIZATION, "Bearer x")]);
        assert!(!is_browser(&Method::GET, &signed_in));
    }

    #[test]
    fn the_language_is_the_one_liked_best_among_ours() {
        let lang = |accept| {
            Wanted::of(&headers(&[(ACCEPT_LANGUAGE, accept)]))
                .texts
                .lang
        };
        assert_eq!(lang("ja"), "ja");
        assert_eq!(lang("ja-JP,ja;q=0.9,en-US;q=0.8,en;q=0.7"), "ja");
        assert_eq!(lang("de-DE,de;q=0.9,ja;q=0.3"), "ja");
        assert_eq!(lang("en-GB,ja"), "en");
        assert_eq!(lang("en;q=0.2, JA;q=0.3"), "ja");
        assert_eq!(lang("ja;q=0"), "en");
        assert_eq!(lang("jam, de, *"), "en");
        assert_eq!(Wanted::of(&HeaderMap::new()).texts.lang, "en");
    }

    #[test]
    fn weights_are_read_as_the_standard_says() {
        for (text, expected) in [
            ("1", 1000),
            ("1.000", 1000),
            ("0.8", 800),
            ("0.05", 50),
            ("0.", 0),
            ("0", 0),
            ("2", 0),
            (".5", 0),
            ("0.1234", 0),
            ("-1", 0),
            ("", 0),
        ] {
            assert_eq!(thousandths(text), expected, "{text:?}");
        }
    }
}
