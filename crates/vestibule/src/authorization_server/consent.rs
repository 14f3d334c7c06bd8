//! `POST /consent`: the user's decision. Same browser, same site, or nothing happens; then on to the provider.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::params::{ParamError, Params};

use super::connections;
use super::cookies::Cookies;
use super::leave::to_provider;
use super::remembered;
use super::respond::{self, BodyError};
use super::same_site::foreign_site;
use super::tell::{RedirectError, display_error};
use crate::House;
use crate::audit::{Event, Happened, Source};
use crate::grants::{ConsentTicket, Memory};
use crate::metrics::Reason;
use crate::metrics::labels::AuthorizationOutcome;
use crate::seal::SealError;
use crate::telemetry::Told;

/// The ticket holds a client `state` of up to 4 KiB.
const MAX_BODY: usize = 32 * 1024;
/// The user said no.
const DENIED: &str = "consent_denied";

/// Why a decision does not count.
#[derive(Debug, Error)]
enum ConsentError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error("the decision is neither approve nor deny")]
    Decision,
    #[error("the consent ticket does not open: {0}")]
    Ticket(#[from] SealError),
    #[error("the form was sent by another site: {0}")]
    CrossSite(String),
    #[error("the browser was not shown this page")]
    OtherBrowser,
    #[error("the chosen provider does not sign people in at this resource")]
    Provider,
}

/// `elsewhere`: the client runs on another computer, and the user will carry the answer there.
enum Decision {
    /// With the id of the provider to sign in at.
    Approve {
        provider: String,
        elsewhere: bool,
        /// The user does not want to be asked again.
        remember: bool,
        /// The user wants to choose another account at the provider.
        another: bool,
    },
    Deny {
        elsewhere: bool,
        /// What this browser remembers from now on, if that changes.
        memory: Option<Memory>,
    },
}

/// Takes the decision. Whatever redirect follows the form is a 303: no browser may send the form on (law 4, RFC 9700
/// §4.12).
pub async fn consent(house: State<Arc<House>>, request: Request) -> Response {
    let mut response = decide(house, request).await;
    if response.status() == StatusCode::FOUND {
        *response.status_mut() = StatusCode::SEE_OTHER;
    }
    response
}

async fn decide(State(house): State<Arc<House>>, request: Request) -> Response {
    let source = house.source(&request);
    let response = answer(&house, request, &source).await;
    if let Some(told) = Told::of(&response).filter(|told| told.reason != DENIED) {
        let event = Event::new(Happened::AuthorizeRefused).told(Some(told));
        house.tell_audit(&event.from(&source));
    }
    response
}

async fn answer(house: &House, request: Request, source: &Source) -> Response {
    match read(house, request).await {
        Ok((
            headers,
            ticket,
            Decision::Approve {
                provider,
                elsewhere,
                remember,
                another,
            },
        )) => {
            let steps = &house.metrics().authorizations;
            steps.inc((AuthorizationOutcome::Approved, Reason::NONE));
            let event = Event::new(Happened::AuthorizeConsented).from(source);
            house.tell_audit(&event.request(ticket.checked()));
            let mut response =
                go_to_provider(house, ticket, &provider, elsewhere, remember, another).await;
            if another {
                // It will be somebody else, and who is not known here.
                connections::forget_account(house, &headers, response.headers_mut());
            }
            response
        }
        Ok((_, ticket, Decision::Deny { elsewhere, memory })) => {
            let mut response = tell_denied(house, &ticket, elsewhere);
            let told = Told::of(&response);
            let event = Event::new(Happened::AuthorizeDenied).from(source);
            house.tell_audit(&event.request(ticket.checked()).told(told));
            if let Some(memory) = memory {
                remembered::keep(house, response.headers_mut(), memory);
            }
            response
        }
        Err(error) => error.respond(house),
    }
}

async fn read(
    house: &House,
    request: Request,
) -> Result<(HeaderMap, ConsentTicket, Decision), ConsentError> {
    let (headers, body) =
        respond::body(request, "application/x-www-form-urlencoded", MAX_BODY).await?;
    refuse_other_sites(house, &headers)?;
    let params = Params::parse(&body)?;
    let offered = house.settings().pages.other_computer;
    let elsewhere = offered && params.get("elsewhere")?.is_some();
    let approved = match params.require("decision")? {
        "approve" => true,
        "deny" => false,
        _ => return Err(ConsentError::Decision),
    };
    let ticket: ConsentTicket = house
        .sealer()
        .open(params.require("ticket")?, house.now())?;
    let browser = Cookies::new(&house.settings().public_url).browser(&headers);
    if !ticket.was_shown_to(browser.as_deref()) {
        return Err(ConsentError::OtherBrowser);
    }
    let decision = if approved {
        Decision::Approve {
            provider: chosen_provider(house, &ticket, params.get("provider")?)?,
            elsewhere,
            remember: params.get("remember")?.is_some(),
            another: params.get("another")?.is_some(),
        }
    } else {
        // Who says no does not want an earlier yes to hold.
        let mut memory = remembered::memory(house, &headers);
        let changed = ticket.asked().is_some_and(|asked| memory.forget(asked));
        Decision::Deny {
            elsewhere,
            memory: changed.then_some(memory),
        }
    };
    Ok((headers, ticket, decision))
}

/// One of the resource's own providers; the preferred one when the page offered no choice.
fn chosen_provider(
    house: &House,
    ticket: &ConsentTicket,
    chosen: Option<&str>,
) -> Result<String, ConsentError> {
    let providers = house
        .resource_at(ticket.resource())
        .map(|resource| house.providers_of(resource))
        .unwrap_or_default();
    let found = match chosen {
        Some(id) => providers.iter().find(|provider| provider.id() == id),
        None => providers.first(),
    };
    found
        .map(|provider| provider.id().to_owned())
        .ok_or(ConsentError::Provider)
}

/// Browsers say where a form comes from. Where they do not, the cookie check below still stands.
fn refuse_other_sites(house: &House, headers: &HeaderMap) -> Result<(), ConsentError> {
    match foreign_site(house, headers) {
        Some(site) => Err(ConsentError::CrossSite(site)),
        None => Ok(()),
    }
}

/// Approved: only now does the browser leave for the provider (law 4).
async fn go_to_provider(
    house: &House,
    ticket: ConsentTicket,
    provider: &str,
    elsewhere: bool,
    remember: bool,
    another: bool,
) -> Response {
    let Some(provider) = house.provider(provider) else {
        return ConsentError::Provider.respond(house);
    };
    let redirect = ticket.redirect().clone();
    let client_state = ticket.client_state().map(str::to_owned);
    let passed = ticket.passed().to_vec();
    let flow = ticket
        .approve(provider.id(), remember, house.random())
        .elsewhere(elsewhere);
    match to_provider(house, provider, &flow, &passed, another).await {
        Ok(response) => response,
        Err(error) => {
            let refusal = RedirectError::from(&error);
            if elsewhere {
                return refusal.respond_elsewhere(house, &redirect, client_state.as_deref());
            }
            // The user approved this address a moment ago: no second click is needed.
            refusal.respond(house, &redirect, client_state.as_deref(), true)
        }
    }
}

fn tell_denied(house: &House, ticket: &ConsentTicket, elsewhere: bool) -> Response {
    let refusal = RedirectError {
        code: ErrorCode::AccessDenied,
        description: "the user did not approve".to_owned(),
        slug: DENIED,
        cause: "the user pressed Deny".to_owned(),
    };
    let redirect = ticket.redirect();
    if elsewhere && redirect.may_redirect_unasked() {
        return refusal.respond_elsewhere(house, redirect, ticket.client_state());
    }
    refusal.respond(
        house,
        redirect,
        ticket.client_state(),
        redirect.may_redirect_unasked(),
    )
}

impl ConsentError {
    fn respond(&self, house: &House) -> Response {
        let again = "Start the sign-in again from the application, in this browser.";
        let (status, title, explanation, next_step, slug) = match self {
            Self::Body(error) => return error.respond(house),
            Self::Ticket(SealError::Expired) => (
                StatusCode::BAD_REQUEST,
                "This page was open for too long",
                "For your safety a sign-in page works for fifteen minutes.",
                again,
                "consent_expired",
            ),
            Self::Param(_) | Self::Decision | Self::Provider | Self::Ticket(_) => (
                StatusCode::BAD_REQUEST,
                "Your answer could not be read",
                "The form that arrived is not the one this server made.",
                again,
                "consent_unreadable",
            ),
            Self::CrossSite(_) => (
                StatusCode::FORBIDDEN,
                "The sign-in was stopped for your safety",
                "Your answer was sent by another website and not by this page.",
                "If you did not just approve an application, close the window: nothing was shared.",
                "consent_cross_site",
            ),
            Self::OtherBrowser => (
                StatusCode::FORBIDDEN,
                "The sign-in was stopped for your safety",
                "This browser did not bring the cookie that was set with the page. Either cookies are blocked here, or the page was opened in another browser.",
                "Allow cookies for this site and start the sign-in again from the application.",
                "consent_other_browser",
            ),
        };
        display_error(house, status, title, explanation, next_step, slug, self)
    }
}
