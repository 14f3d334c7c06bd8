//! `GET /authorize` (RFC 6749 §4.1.1): client → redirect URI → PKCE → resource → scopes → consent page. No side effects, or
//! straight to the provider where this browser remembers the same decision.
//!
//! Until client and redirect URI are known, an error is a page; after that it is told to the client, with `iss` and
//! `state` (RFC 6749 §4.1.2.1). FastMCP fetches this URL once before the browser does, so it must be repeatable.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use vestibule_oauth::authorize::{AuthorizationRequest, MAX_STATE};
use vestibule_oauth::client::{Client, MatchedRedirect, RedirectMismatch};
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::params::{ParamError, Params};
use vestibule_oauth::pkce::{CodeChallenge, PkceError};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::RedirectClass;

use super::connections;
use super::cookies::Cookies;
use super::leave::to_provider;
use super::remembered;
use super::tell::{RedirectError, display_error};
use crate::House;
use crate::audit::{Event, Happened, Source};
use crate::clients::UnknownClient;
use crate::clients::policy::Refusal;
use crate::grants::{Asked, CheckedRequest, ClientDigest, ConsentTicket, Flow, Remembered};
use crate::limits::{Limited, network_of};
use crate::metrics::Reason;
use crate::metrics::labels::AuthorizationOutcome;
use crate::pages::{self, ConsentPage, Page, ProviderChoice, ScopeLine};
use crate::settings::{ResourceSettings, is_silent};
use crate::telemetry::Told;

/// Longest query looked at.
const MAX_QUERY: usize = 16 * 1024;
/// Longest value that is handed on to a provider, in bytes.
const MAX_PASSED: usize = 256;

/// No redirect is possible: the answer is a page.
#[derive(Debug, Error)]
enum DisplayError {
    #[error("the query is longer than {MAX_QUERY} bytes")]
    TooLong,
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error(transparent)]
    Client(#[from] UnknownClient),
    #[error(transparent)]
    Redirect(#[from] RedirectMismatch),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("an operator has shut the client out")]
    Quarantined,
}

/// The client can be told.
#[derive(Debug, Error)]
enum RequestError {
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error(transparent)]
    Pkce(#[from] PkceError),
    #[error("response_type must be 'code'")]
    ResponseType,
    #[error("response_mode must be 'query'")]
    ResponseMode,
    #[error("state is longer than {MAX_STATE} bytes")]
    StateLength,
    #[error("state contains control characters")]
    StateCharacters,
    #[error("the resource is not one of this server's: use the exact URL of the MCP endpoint")]
    Resource,
    #[error("request and request_uri are not supported")]
    RequestObject,
}

impl RequestError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::ResponseType => ErrorCode::UnsupportedResponseType,
            Self::Resource => ErrorCode::InvalidTarget,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

/// A request of which everything was checked.
struct ValidAuthorization<'a> {
    challenge: CodeChallenge,
    resource: &'a ResourceSettings,
    scope: ScopeSet,
    state: Option<String>,
    /// For the provider, as far as its settings list it.
    passed: Vec<(String, String)>,
    /// The page is to be shown, whatever is remembered.
    wants_page: bool,
}

impl ValidAuthorization<'_> {
    /// What travels on, and what is for the provider.
    fn checked(
        self,
        client: &Client,
        redirect: &MatchedRedirect,
    ) -> (CheckedRequest, Vec<(String, String)>) {
        let request = CheckedRequest {
            client: ClientDigest::of(&client.id),
            redirect: redirect.clone(),
            state: self.state,
            challenge: self.challenge,
            resource: self.resource.path.clone(),
            scope: self.scope,
        };
        (request, self.passed)
    }
}

/// Shows the consent page, or says why not.
pub async fn authorize(State(house): State<Arc<House>>, request: Request) -> Response {
    let source = house.source(&request);
    let response = decide(&house, request, &source).await;
    if let Some(told) = Told::of(&response) {
        let event = Event::new(Happened::AuthorizeRefused).told(Some(told));
        house.tell_audit(&event.from(&source));
    }
    response
}

async fn decide(house: &House, request: Request, source: &Source) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let (params, client, redirect) = match identify(house, query).await {
        Ok(identified) => identified,
        Err(error) => return error.respond(house),
    };
    let network = network_of(&request);
    if let Err(over) = house
        .limits()
        .client(Limited::Authorize, &client.id, network)
    {
        return over.respond(house);
    }
    match validate(house, &params) {
        Ok(valid) => {
            let headers = request.headers();
            show_or_skip(house, headers, &client, &redirect, valid, source).await
        }
        Err(error) => {
            // `state` goes back even when it is what was wrong; a doubled one cannot.
            let state = params.get("state").ok().flatten();
            let refusal = RedirectError {
                code: error.code(),
                description: error.to_string(),
                slug: "authorization_request",
                cause: error.to_string(),
            };
            refusal.respond(house, &redirect, state, redirect.may_redirect_unasked())
        }
    }
}

/// Who asks, and where may the answer go?
async fn identify(
    house: &House,
    query: &str,
) -> Result<(Params, Client, MatchedRedirect), DisplayError> {
    if query.len() > MAX_QUERY {
        return Err(DisplayError::TooLong);
    }
    let params = Params::parse(query.as_bytes())?;
    let clients = house.clients();
    let client = clients
        .resolve(house.sealer(), params.require("client_id")?, house.now())
        .await?;
    let name = || client.name.as_deref();
    if (house.quarantine()).has_client(client.id.as_str(), name, house.now()) {
        return Err(DisplayError::Quarantined);
    }
    let redirect = client.match_redirect(
        params.get("redirect_uri")?,
        &house.settings().clients.private_use_schemes,
    )?;
    clients.policy().admit_redirect(&client, redirect.uri())?;
    Ok((params, client, redirect))
}

/// Is the rest of the request in order?
fn validate<'a>(house: &'a House, params: &Params) -> Result<ValidAuthorization<'a>, RequestError> {
    let request = AuthorizationRequest::parse(params)?;
    if params.has("request") || params.has("request_uri") {
        return Err(RequestError::RequestObject);
    }
    match request.response_type.as_deref() {
        Some("code") => {}
        Some(_) => return Err(RequestError::ResponseType),
        None => return Err(ParamError::Missing("response_type").into()),
    }
    if request
        .response_mode
        .as_deref()
        .is_some_and(|mode| mode != "query")
    {
        return Err(RequestError::ResponseMode);
    }
    let challenge = CodeChallenge::parse(
        request.code_challenge.as_deref(),
        request.code_challenge_method.as_deref(),
    )?;
    let state = checked_state(params)?;
    let resource = house
        .resource_meant(&request.resources)
        .ok_or(RequestError::Resource)?;
    let scope = granted_scope(resource, request.scope.as_deref());
    let passed = passed_through(house, resource, params)?;
    Ok(ValidAuthorization {
        challenge,
        resource,
        scope,
        state,
        passed,
        wants_page: remembered::wants_page(params),
    })
}

/// The client's `state`, which is carried through the form and the flow cookie. Control characters, which RFC 6749
/// appendix A.5 forbids, grow sixfold in the JSON under the seal: the flow would not fit into its cookies.
fn checked_state(params: &Params) -> Result<Option<String>, RequestError> {
    let state = params.get("state")?;
    if state.is_some_and(|state| state.len() > MAX_STATE) {
        return Err(RequestError::StateLength);
    }
    if state.is_some_and(|state| state.contains(char::is_control)) {
        return Err(RequestError::StateCharacters);
    }
    Ok(state.map(str::to_owned))
}

/// The parameters that some provider of the resource is handed. What is too long, or asks the provider not to ask
/// anybody, is left out: a parameter that we need not understand fails no sign-in.
fn passed_through(
    house: &House,
    resource: &ResourceSettings,
    params: &Params,
) -> Result<Vec<(String, String)>, ParamError> {
    let providers = house.settings().providers_of(resource);
    let listed = providers.iter().flat_map(|provider| &provider.pass_through);
    let mut passed: Vec<(String, String)> = Vec::new();
    for name in listed {
        let Some(value) = params.get(name)? else {
            continue;
        };
        let fits = value.len() <= MAX_PASSED && !value.chars().any(char::is_control);
        if fits && !is_silent(name, value) && passed.iter().all(|(own, _)| own != name) {
            passed.push((name.clone(), value.to_owned()));
        }
    }
    Ok(passed)
}

/// Law 9: what the resource offers of what was asked; its defaults when nothing asked for is known here.
fn granted_scope(resource: &ResourceSettings, requested: Option<&str>) -> ScopeSet {
    let asked = requested
        .map(ScopeSet::parse)
        .unwrap_or_default()
        .intersection(&resource.scopes);
    if asked.is_empty() {
        resource.with_implied(&resource.default_scopes)
    } else {
        resource.with_implied(&asked)
    }
}

/// The page, unless this browser remembers the very decision that it would ask for.
async fn show_or_skip(
    house: &House,
    headers: &HeaderMap,
    client: &Client,
    redirect: &MatchedRedirect,
    valid: ValidAuthorization<'_>,
    source: &Source,
) -> Response {
    let (resource, state) = (valid.resource, valid.state.as_deref());
    let asked = remembered::asked(house, headers, client, redirect, state, &resource.path);
    let mut memory = remembered::memory(house, headers);
    let decision = asked
        .as_ref()
        .filter(|_| !valid.wants_page)
        .and_then(|asked| remembered::decision(house, &memory, asked, &valid.scope))
        .cloned();
    let providers = house.providers_of(resource);
    let provider = decision.as_ref().and_then(|decision| {
        let mut allowed = providers.iter();
        allowed.find(|own| own.id() == decision.provider())
    });
    let steps = &house.metrics().authorizations;
    let event = |happened| {
        let event = Event::new(happened).client(client).from(source);
        event.at(&resource.path).scope(&valid.scope)
    };
    let (Some(asked), Some(decision), Some(provider)) = (&asked, &decision, provider) else {
        let approved = asked.as_ref().and_then(|asked| memory.find(asked));
        let approved = approved.map(Remembered::scope);
        steps.inc((AuthorizationOutcome::Asked, Reason::NONE));
        house.tell_audit(&event(Happened::AuthorizeStarted));
        return consent_page(house, headers, client, redirect, valid, asked, approved);
    };
    let skipped = event(Happened::AuthorizeConsented).because("remembered");
    let client_state = valid.state.clone();
    let (request, passed) = valid.checked(client, redirect);
    let user = decision.user().clone();
    let flow = Flow::remembered(provider.id().to_owned(), request, user, house.random());
    match to_provider(house, provider, &flow, &passed, false).await {
        Ok(mut response) => {
            tracing::info!(
                client_name = client.logged_name(),
                resource = resource.path,
                "consent page skipped: remembered"
            );
            steps.inc((AuthorizationOutcome::Remembered, Reason::NONE));
            house.tell_audit(&skipped);
            memory.use_now(asked, house.now());
            remembered::keep(house, response.headers_mut(), memory);
            response
        }
        Err(error) => RedirectError::from(&error).respond(
            house,
            redirect,
            client_state.as_deref(),
            redirect.may_redirect_unasked(),
        ),
    }
}

/// `asked`: what the page may offer to remember. `approved`: the scopes that this browser remembers of the same client.
fn consent_page(
    house: &House,
    headers: &HeaderMap,
    client: &Client,
    redirect: &MatchedRedirect,
    valid: ValidAuthorization<'_>,
    asked: Option<Asked>,
    approved: Option<&ScopeSet>,
) -> Response {
    let remember_days = asked
        .as_ref()
        .and(house.settings().consent.remember)
        .map(|lifetime| lifetime.as_secs() / (24 * 3600));
    let cookies = Cookies::new(&house.settings().public_url);
    let known_browser = cookies.browser(headers);
    let browser = known_browser
        .clone()
        .unwrap_or_else(|| house.random().token(16));
    let resource = valid.resource;
    let scopes = valid.scope.clone();
    let providers = house.providers_of(resource);
    let account = connections::last_account(house, headers, &providers);
    let (request, passed) = valid.checked(client, redirect);
    let ticket = ConsentTicket::new(request, &browser)
        .passing(passed)
        .rememberable(asked);
    let ticket = house.sealer().seal(
        &ticket,
        Some(house.now().plus(ConsentTicket::LIFETIME)),
        house.random(),
    );
    let loopback = redirect.uri().class() == RedirectClass::Loopback;
    let page = ConsentPage {
        client_name: client.name.clone(),
        verified: client.is_trusted(),
        document_host: client.document_host().map(str::to_owned),
        resource: resource
            .name
            .as_deref()
            .unwrap_or(resource.uri.as_str())
            .to_owned(),
        redirect_host: redirect.uri().display_host().to_owned(),
        redirect_uri: redirect.uri().as_str().to_owned(),
        loopback,
        carry: loopback && house.settings().pages.other_computer,
        private_use: redirect.uri().class() == RedirectClass::PrivateUse,
        scopes: scopes
            .iter()
            .map(|name| {
                let detail = resource.scope_detail(name);
                let words =
                    detail.and_then(|detail| detail.description_in(pages::language(headers)));
                let line = ScopeLine::new(name, words);
                let known = approved.is_none_or(|scope| scope.contains(name));
                ScopeLine {
                    is_new: !known,
                    ..line
                }
            })
            .collect(),
        providers: match providers.as_slice() {
            [_] => Vec::new(),
            several => several
                .iter()
                .map(|provider| ProviderChoice::new(provider.id(), provider.label()))
                .collect(),
        },
        remember_days,
        account,
        ticket,
    };
    let mut response = pages::respond(StatusCode::OK, Page::Consent(page));
    if known_browser.is_none() {
        cookies.set_browser(response.headers_mut(), &browser);
    }
    response
}

impl DisplayError {
    fn respond(&self, house: &House) -> Response {
        let (title, explanation, next_step, slug) = match self {
            Self::TooLong | Self::Param(_) => (
                "This sign-in link is not complete",
                format!("The application sent a request that cannot be read: {self}."),
                "Start the sign-in again from the application. If it happens again, tell its makers.",
                "authorization_unreadable",
            ),
            Self::Refused(refusal) | Self::Client(UnknownClient::Refused(refusal)) => (
                "This application is not allowed here",
                format!("The operator of this server decided so: {refusal}."),
                "If you need the application, ask the operator of this server.",
                "client_refused",
            ),
            Self::Quarantined => (
                "This application is suspended here",
                "The operator of this server has suspended it for now.".to_owned(),
                "If you need the application, ask the operator of this server.",
                "client_quarantined",
            ),
            Self::Client(error @ UnknownClient::Document(_)) if error.is_transient() => (
                "The application cannot be identified at the moment",
                format!("It is described by a document on its maker's website, and that did not answer as it should: {error}."),
                "Try again in a minute. If it happens again, tell the operator of this server.",
                "client_document_away",
            ),
            Self::Client(
                error @ (UnknownClient::Document(_)
                | UnknownClient::DocumentUrl(_)
                | UnknownClient::DocumentHost(_)
                | UnknownClient::DocumentsOff),
            ) => (
                "This application cannot sign in here",
                format!("It is described by a document that this server does not accept: {error}."),
                "Let the application register itself, or ask the operator of this server.",
                "client_document",
            ),
            Self::Client(_) => (
                "This server does not know the application",
                "Its client_id was issued by another server, or by an earlier installation of this one.".to_owned(),
                "Remove the server from the application and add it again, so that it registers anew.",
                "client_unknown",
            ),
            Self::Redirect(error) => (
                "The sign-in was stopped for your safety",
                format!("The answer would go to an address that the application has not registered: {error}."),
                "Remove the server from the application and add it again. If you did not start this sign-in, close the window.",
                "redirect_mismatch",
            ),
        };
        let status = match self {
            Self::Client(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Quarantined => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        display_error(house, status, title, &explanation, next_step, slug, self)
    }
}
