//! The HTML pages: consent, answer, refusal, landing. No script, no outside asset, fine on a phone and in the dark.
//!
//! A handler says *what* is to be told ([`respond`] with a [`Page`]); the layer [`speak`] writes it down in the language and
//! form that the request prefers. So no handler carries headers about for the sake of an error message.

mod connections;
pub mod landing;
mod negotiation;
pub mod snippets;
pub mod texts;

use std::sync::Arc;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

pub use connections::{Connected, ConnectionLine, ConnectionsPage, NotSignedIn};
use negotiation::Wanted;
pub use negotiation::is_browser;
use texts::{ENGLISH, Texts};

/// The one style sheet, inline, named in the policy by its hash.
const STYLE: &str = include_str!("style.css");

/// What is to be told.
#[derive(Clone, Debug)]
pub enum Page {
    /// May this application?
    Consent(ConsentPage),
    /// An answer on its way to the application.
    Answer(AnswerPage),
    /// Something went wrong and there is no trustworthy address to redirect to.
    Refusal(RefusalPage),
    /// Signing out.
    Logout(LogoutPage),
    /// What somebody has connected.
    Connections(Box<ConnectionsPage>),
}

/// What the user is asked to approve.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of them a sentence on the page"
)]
#[derive(Clone, Debug)]
pub struct ConsentPage {
    /// What the client calls itself.
    pub client_name: Option<String>,
    /// True when the operator vouches for the client.
    pub verified: bool,
    /// The host whose metadata document describes the client: verified, unlike the name.
    pub document_host: Option<String>,
    /// The resource's name or URL.
    pub resource: String,
    /// Host or scheme the code will go to.
    pub redirect_host: String,
    /// The full redirect URI.
    pub redirect_uri: String,
    /// The redirect goes to this computer: anybody who runs a program here may be the client.
    pub loopback: bool,
    /// True when the page offers to show the answer, for a client on another computer.
    pub carry: bool,
    /// The redirect goes to whatever application claimed the scheme.
    pub private_use: bool,
    /// The scopes, one by one.
    pub scopes: Vec<ScopeLine>,
    /// Where the user may sign in, when there is a choice; empty when there is none. The one of `account` is chosen to
    /// begin with, else the first one.
    pub providers: Vec<ProviderChoice>,
    /// The decision may be remembered for so many days.
    pub remember_days: Option<u64>,
    /// Who signed in last in this browser, if that is known.
    pub account: Option<AccountLine>,
    /// The sealed ticket.
    pub ticket: String,
}

impl ConsentPage {
    /// True for the provider that is chosen until the user chooses: where the last sign-in was, else the first one.
    fn is_chosen(&self, provider: &ProviderChoice) -> bool {
        let last = self.account.as_ref().map(|account| &account.provider);
        let chosen = last.or(self.providers.first());
        chosen.is_some_and(|chosen| chosen.id == provider.id)
    }
}

/// Somebody's account, for people.
#[derive(Clone, Debug)]
pub struct AccountLine {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub provider: ProviderChoice,
    /// The provider can be asked to let the user choose another one.
    pub can_change: bool,
}

/// One scope on the consent page.
#[derive(Clone, Debug)]
pub struct ScopeLine {
    /// The scope.
    pub name: String,
    /// What it allows, in words; the scope itself is shown where there are none.
    pub description: Option<String>,
    /// This browser remembers a decision about the same application without it.
    pub is_new: bool,
}

impl ScopeLine {
    /// A scope, in words where the settings have them.
    pub fn new(name: impl Into<String>, description: Option<&str>) -> Self {
        Self {
            name: name.into(),
            description: description.map(str::to_owned),
            is_new: false,
        }
    }
}

/// A provider, for people.
#[derive(Clone, Debug)]
pub struct ProviderChoice {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub label: String,
}

impl ProviderChoice {
    /// A provider by id and name.
    pub fn new(id: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            label: label.into(),
        }
    }
}

/// Asks whether to sign out, and says afterwards what that did and did not do.
#[derive(Clone, Debug)]
pub struct LogoutPage {
    /// True after the fact.
    pub done: bool,
    /// Where one can sign out; one button each.
    pub providers: Vec<ProviderChoice>,
    /// This browser remembers what its user approved; a button makes it forget.
    pub remembers: bool,
}

/// An answer that does not reach the application by a redirect.
#[derive(Clone, Debug)]
pub struct AnswerPage {
    /// What came of the sign-in.
    pub outcome: Outcome,
    /// How the answer gets to the application.
    pub way: Way,
    /// The redirect URI with the answer.
    pub location: String,
    /// Its host, or its scheme if that is private, for people.
    pub host: String,
}

/// What came of a sign-in.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// There is a code.
    Done,
    /// The user said no.
    Denied,
    /// The request was refused, for this reason.
    Refused(String),
}

/// How an answer gets to the application.
#[derive(Clone, Debug)]
pub enum Way {
    /// The user follows a link: nobody is redirected unasked to an address that anyone may have registered.
    Click,
    /// The browser opens the application at once. The link is there for a second try, which a redirect does not allow.
    Launch,
    /// The user carries it to another computer, with this command line or as an address.
    Carry(String),
}

/// What was refused, in English; the texts have other languages by the slug.
#[derive(Clone, Debug)]
pub struct RefusalPage {
    /// What happened.
    pub title: String,
    /// Why.
    pub explanation: String,
    /// What to do.
    pub next_step: String,
    /// The id that the log knows too.
    pub reference: String,
    /// The stable reason.
    pub slug: &'static str,
}

/// Says what is to be told; [`speak`] writes it.
pub fn respond(status: StatusCode, page: Page) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.extensions_mut().insert(Arc::new(page));
    response
}

/// The language of the page that answers a request with these headers: a primary tag, as `ja`.
pub fn language(headers: &HeaderMap) -> &'static str {
    Wanted::of(headers).texts.lang
}

/// The layer that writes pages in the form and language that the request prefers.
pub async fn speak(request: Request, next: Next) -> Response {
    let wanted = Wanted::of(request.headers());
    let mut response = next.run(request).await;
    if let Some(page) = response.extensions_mut().remove::<Arc<Page>>() {
        write(&mut response, &page, wanted);
    }
    response
}

fn write(response: &mut Response, page: &Page, wanted: Wanted) {
    match page {
        Page::Consent(page) => {
            let t = wanted.texts;
            let name = page.client_name.as_deref().unwrap_or(t.consent.nameless);
            write_html(
                response,
                &Consent {
                    style: STYLE,
                    t,
                    page,
                    name,
                },
            );
        }
        Page::Answer(page) => write_html(response, &Answer::new(page, wanted.texts)),
        Page::Refusal(page) if wanted.json => write_json(response, page),
        Page::Refusal(page) => write_html(response, &Refusal::new(page, wanted.texts)),
        Page::Logout(page) => write_html(response, &Logout::new(page, wanted.texts)),
        Page::Connections(page) => connections::write(response, page, wanted),
    }
    let vary = HeaderValue::from_static("Accept, Accept-Language");
    response.headers_mut().append(VARY, vary);
}

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'a> {
    style: &'static str,
    t: &'static Texts,
    page: &'a ConsentPage,
    name: &'a str,
}

#[derive(Template)]
#[template(path = "return.html")]
struct Answer<'a> {
    style: &'static str,
    t: &'static Texts,
    page: &'a AnswerPage,
    title: &'static str,
    explanation: String,
    launch: bool,
    command: Option<&'a str>,
}

impl<'a> Answer<'a> {
    fn new(page: &'a AnswerPage, t: &'static Texts) -> Self {
        let (title, explanation) = match &page.outcome {
            Outcome::Done => (t.answer.done_title, t.answer.done.to_owned()),
            Outcome::Denied => (t.answer.denied_title, t.answer.denied.to_owned()),
            Outcome::Refused(reason) => {
                let [before, after] = t.answer.refused;
                (t.answer.refused_title, format!("{before}{reason}{after}"))
            }
        };
        let command = match &page.way {
            Way::Carry(command) => Some(command.as_str()),
            Way::Click | Way::Launch => None,
        };
        Self {
            style: STYLE,
            t,
            page,
            title,
            explanation,
            launch: matches!(page.way, Way::Launch),
            command,
        }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct Refusal<'a> {
    style: &'static str,
    t: &'static Texts,
    title: &'a str,
    explanation: &'a str,
    next_step: &'a str,
    reference: &'a str,
}

impl<'a> Refusal<'a> {
    /// All in one language: a refusal that `t` has no words for is English altogether.
    fn new(page: &'a RefusalPage, t: &'static Texts) -> Self {
        match (t.refusal)(page.slug) {
            Some(words) => Self {
                style: STYLE,
                t,
                title: words.title,
                explanation: words.explanation,
                next_step: words.next_step,
                reference: &page.reference,
            },
            None => Self {
                style: STYLE,
                t: &ENGLISH,
                title: &page.title,
                explanation: &page.explanation,
                next_step: &page.next_step,
                reference: &page.reference,
            },
        }
    }
}

#[derive(Template)]
#[template(path = "logout.html")]
struct Logout<'a> {
    style: &'static str,
    t: &'static Texts,
    page: &'a LogoutPage,
    title: &'static str,
    explanation: &'static str,
}

impl<'a> Logout<'a> {
    fn new(page: &'a LogoutPage, t: &'static Texts) -> Self {
        let words = &t.logout;
        let (title, explanation) = match (page.done, page.providers.is_empty()) {
            (true, _) => (words.done_title, words.done),
            (false, true) => (words.nothing_title, words.nothing),
            (false, false) => (words.ask_title, words.ask),
        };
        Self {
            style: STYLE,
            t,
            page,
            title,
            explanation,
        }
    }
}

/// The twin for programs. `error` is the slug that the log has as `reason`.
fn write_json(response: &mut Response, page: &RefusalPage) {
    let body = json!({
        "error": page.slug,
        "error_description": format!("{}. {}", page.title, page.explanation),
        "reference": page.reference,
        "next_step": page.next_step,
    });
    *response.body_mut() = Body::from(body.to_string());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Puts a page into an answer, with the headers that every page has.
fn write_html(response: &mut Response, page: &impl Template) {
    let Ok(html) = page.render() else {
        *response.body_mut() = Body::from("the page could not be rendered");
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return;
    };
    *response.body_mut() = Body::from(html);
    put_headers(response.headers_mut());
}

/// No `form-action`: browsers apply it to the whole redirect chain after the POST and would stop the hop to
/// `http://localhost:…` or `cursor://…` (law 4). `same-origin` and not `no-referrer`: with the latter browsers send
/// `Origin: null` with the consent form, and the check of that header would be lost.
fn put_headers(headers: &mut HeaderMap) {
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let style_hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}

#[cfg(test)]
mod tests;
