//! What tests ask of an answer: is it a page of ours, where does its link lead, what does it look like without the random.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;
use url::Url;
use vestibule_standin::cognito::Endpoint;

use super::{Answer, ORIGIN, TestHouse};

/// The policy of every page, without the hash of the style sheet.
const POLICY: [&str; 3] = [
    "default-src 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
];

impl Answer {
    /// A page of ours: HTML with the headers of all pages, no script, nothing loaded, nowhere to be redirected.
    #[track_caller]
    pub(crate) fn assert_page(&self, status: StatusCode, title: &str) {
        let html = self.text();
        assert_eq!(self.status, status, "{html}");
        assert_eq!(self.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("x-frame-options"), "DENY");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert_eq!(self.header("referrer-policy"), "same-origin");
        let policy = self.header("content-security-policy");
        for directive in POLICY {
            assert!(policy.split("; ").any(|own| own == directive), "{policy}");
        }
        assert!(policy.contains("style-src 'sha256-"), "{policy}");
        for never in ["script-src", "unsafe-", "form-action", "*", "http"] {
            assert!(!policy.contains(never), "{policy}");
        }
        assert!(!self.headers.contains_key("location"));
        assert!(!self.headers.contains_key("access-control-allow-origin"));
        assert!(
            html.contains(&format!("<title>{title}</title>")),
            "{title}: {html}"
        );
        assert_runs_nothing(&html);
    }

    /// A refusal that only the person in front of the browser is told: no redirect, no link out, no code, no cookie.
    #[track_caller]
    pub(crate) fn assert_refusal_page(&self, status: StatusCode, title: &str) {
        self.assert_page(status, title);
        let html = self.text();
        assert_eq!(self.reference().len(), 13, "{html}");
        for never in ["<a ", "<form", "vac_", "vct_", "vfl_"] {
            assert!(!html.contains(never), "{never}: {html}");
        }
    }

    /// The reference that a refusal shows.
    pub(crate) fn reference(&self) -> String {
        let html = self.text();
        let rest = html.split("Reference: <code>").nth(1);
        let rest = rest.unwrap_or_else(|| panic!("no reference in {html}"));
        rest.split('<').next().unwrap().to_owned()
    }

    /// Where the one link of a page leads.
    #[track_caller]
    pub(crate) fn link(&self) -> Url {
        let html = self.text();
        assert_eq!(html.matches("href=").count(), 1, "{html}");
        let link = html.split("href=\"").nth(1).unwrap();
        let link = link.split('"').next().unwrap();
        let link = link.replace("&#38;", "&").replace("&#39;", "'");
        assert!(!link.contains("&#"), "{link}");
        Url::parse(&link).unwrap()
    }

    /// The scopes that the consent page names.
    pub(crate) fn scopes(&self) -> Vec<String> {
        let html = self.text();
        let items = html.split("<li><code>").skip(1);
        items
            .map(|item| item.split('<').next().unwrap().to_owned())
            .collect()
    }

    /// The `Set-Cookie` lines.
    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        let lines = self.headers.get_all("set-cookie").iter();
        lines.map(|line| line.to_str().unwrap()).collect()
    }

    /// An error as the client is told it, whether by a redirect or by a page with a link: the parameters it gets.
    #[track_caller]
    pub(crate) fn told(&self, redirect_uri: &str, error: &str, state: Option<&str>) -> Url {
        let url = if self.status.is_redirection() {
            Url::parse(self.location()).unwrap()
        } else {
            self.link()
        };
        assert!(url.as_str().starts_with(redirect_uri), "{url}");
        assert_eq!(param(&url, "error").as_deref(), Some(error), "{url}");
        assert_eq!(param(&url, "state").as_deref(), state, "{url}");
        assert_eq!(param(&url, "iss").as_deref(), Some(ORIGIN), "{url}");
        assert_eq!(param(&url, "code"), None, "{url}");
        let description = param(&url, "error_description").unwrap();
        assert!(description.contains(" (reference "), "{description}");
        url
    }
}

impl TestHouse {
    /// Nothing was asked of the provider.
    #[track_caller]
    pub(crate) fn assert_provider_untouched(&self) {
        for endpoint in Endpoint::ALL {
            let calls = self.cognito.control().calls(endpoint);
            assert_eq!(calls, 0, "{}", endpoint.name());
        }
    }
}

/// No tag and no attribute that runs or loads anything. Text that only looks like one is fine: it is escaped.
#[track_caller]
fn assert_runs_nothing(html: &str) {
    const TAGS: [&str; 10] = [
        "script", "img", "iframe", "object", "embed", "svg", "math", "base", "link", "video",
    ];
    const ATTRIBUTES: [&str; 5] = ["src", "srcdoc", "style", "formaction", "ping"];
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        // Every second piece stands in quotes.
        let (bare, quoted): (Vec<_>, Vec<_>) =
            tag.split('"').enumerate().partition(|(n, _)| n % 2 == 0);
        let bare: Vec<_> = bare.into_iter().map(|(_, text)| text).collect();
        let bare = bare.join(" ").to_lowercase();
        let mut words = bare.split_ascii_whitespace();
        let name = words.next().unwrap().trim_start_matches('/');
        assert!(!TAGS.contains(&name), "<{tag}> in {html}");
        for attribute in words {
            let attribute = attribute.trim_end_matches('=');
            let harmless = !attribute.starts_with("on") && !ATTRIBUTES.contains(&attribute);
            assert!(harmless, "{attribute} in <{tag}> in {html}");
        }
        for (_, value) in quoted {
            assert!(!value.to_lowercase().contains("javascript:"), "{html}");
        }
    }
}

/// The only value of a query parameter.
#[track_caller]
fn param(url: &Url, name: &str) -> Option<String> {
    let mut values = url.query_pairs().filter(|(own, _)| own == name);
    let first = values.next().map(|(_, value)| value.into_owned());
    assert!(values.next().is_none(), "{name} twice in {url}");
    first
}

/// The JSON of an answer as text, for snapshots: in order, whatever the build makes of the order of members.
pub(crate) fn document(answer: &Answer) -> String {
    let members: BTreeMap<String, Value> = serde_json::from_value(answer.json()).unwrap();
    serde_json::to_string_pretty(&members).unwrap()
}

/// A page as text, for snapshots: without style sheet, sealed values and reference.
pub(crate) fn masked(page: &Answer) -> String {
    let mut html = page.text();
    let style = html.split("<style>").nth(1).unwrap();
    let style = style.split("</style>").next().unwrap().to_owned();
    html = html.replace(&style, "…");
    if html.contains("Reference: <code>") {
        html = html.replace(&page.reference(), "[reference]");
    }
    if html.contains("name=\"ticket\"") {
        html = html.replace(&page.input("ticket"), "[ticket]");
    }
    if let Some(rest) = html.split("%28reference+").nth(1) {
        let reference = rest.split('%').next().unwrap().to_owned();
        html = html.replace(&reference, "[reference]");
    }
    let lines = html.lines().filter(|line| !line.trim().is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// The parameters with another value for one of them, or one more.
pub(crate) fn replace<'a>(
    mut params: Vec<(&'static str, &'a str)>,
    name: &'static str,
    value: &'a str,
) -> Vec<(&'static str, &'a str)> {
    match params.iter_mut().find(|(own, _)| *own == name) {
        Some(pair) => pair.1 = value,
        None => params.push((name, value)),
    }
    params
}

/// The parameters without one of them.
pub(crate) fn without<'a>(
    mut params: Vec<(&'static str, &'a str)>,
    name: &str,
) -> Vec<(&'static str, &'a str)> {
    params.retain(|(own, _)| *own != name);
    params
}
