//! `GET /callback`: the provider sends the browser back. State ↔ cookie → code (or the provider's error) + state + iss.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use vestibule_oauth::authorize::AuthorizationResponse;
use vestibule_oauth::error::{ErrorCode, safe_description};
use vestibule_oauth::params::{ParamError, Params};
use vestibule_oauth::secret::AuthorizationCode;

use super::connections;
use super::cookies::Cookies;
use super::leave::to_provider;
use super::remembered;
use super::tell::{RedirectError, deliver, display_error};
use crate::House;
use crate::audit::{Event, Happened};
use crate::grants::{
    Account, AccountFlow, Code, Flow, Identify, NotThisFlow, Remembered, Returned, ReturnedAccount,
    Step, UserDigest,
};
use crate::metrics::Reason;
use crate::metrics::labels::AuthorizationOutcome;
use crate::pages::Outcome;
use crate::provider::{Profile, Provider, ProviderError, callback_error};
use crate::seal::{Kind, SealError};
use crate::telemetry::Told;

/// Nobody can be told but the person in front of the browser.
#[derive(Debug, Error)]
enum CallbackError {
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error("no cookie of this sign-in in this browser")]
    NoFlow,
    #[error("the flow cookie does not open: {0}")]
    Flow(#[from] SealError),
    #[error(transparent)]
    NotThisFlow(#[from] NotThisFlow),
    #[error("the provider that was asked is not configured any more")]
    ProviderGone,
    #[error("the answer came to the callback of another provider")]
    OtherCallback,
    #[error("the redirect says it is from the issuer {0:?}, which is not the provider")]
    Issuer(Option<String>),
}

/// A sign-in that began in this browser.
enum Begun {
    /// A client's, after consent.
    Client(Box<Returned>),
    /// A person's own, for `/connections`. It never gives a code.
    Account(ReturnedAccount),
}

impl Begun {
    /// Id of the provider that was asked.
    fn provider(&self) -> &str {
        match self {
            Self::Client(flow) => flow.provider(),
            Self::Account(flow) => &flow.provider,
        }
    }
}

/// Finishes the browser's part of a sign-in.
pub async fn callback(State(house): State<Arc<House>>, request: Request) -> Response {
    let source = house.source(&request);
    let query = request.uri().query().unwrap_or_default();
    let (params, state, begun) = match find_flow(&house, request.headers(), query) {
        Ok(found) => found,
        Err(error) => {
            let response = error.respond(&house);
            let event = Event::new(Happened::ProviderCallback).from(&source);
            house.tell_audit(&event.told(Told::of(&response)));
            return response;
        }
    };
    let about = match &begun {
        Begun::Client(flow) => Some((
            flow.checked().client.clone(),
            flow.checked().resource.clone(),
        )),
        Begun::Account(_) => None,
    };
    let at_home = request.uri().path() == house.settings().callback_path(begun.provider());
    let mut response = match begun {
        _ if !at_home => CallbackError::OtherCallback.respond(&house),
        Begun::Client(flow) => match answer(&house, request.headers(), &params, *flow).await {
            Ok(response) => response,
            Err(error) => error.respond(&house),
        },
        Begun::Account(flow) => connections::finish(&house, request.headers(), &params, flow).await,
    };
    let mut event = Event::new(Happened::ProviderCallback)
        .from(&source)
        .told(Told::of(&response));
    if let Some((client, resource)) = &about {
        event = event.client_digest(client.as_str()).at(resource);
    }
    house.tell_audit(&event);
    // One sign-in, one use: whatever came of it, the cookie goes.
    let cookies = Cookies::new(&house.settings().public_url);
    cookies.clear_flow(request.headers(), response.headers_mut(), &state);
    response
}

/// Which sign-in is it, and did it begin in this browser? Errors of the provider pass this gate as well: without it
/// anybody could end a stranger's sign-in, or have an error sent to an address of their choice.
fn find_flow(
    house: &House,
    headers: &HeaderMap,
    query: &str,
) -> Result<(Params, String, Begun), CallbackError> {
    let params = Params::parse(query.as_bytes())?;
    params.refuse_repeated()?;
    let state = params.require("state")?.to_owned();
    let cookie = Cookies::new(&house.settings().public_url)
        .flow(headers, &state)
        .ok_or(CallbackError::NoFlow)?;
    // Each kind opens with a key of its own, so neither passes for the other.
    let begun = if cookie.starts_with(Kind::AccountFlow.prefix()) {
        let flow: AccountFlow = house.sealer().open(&cookie, house.now())?;
        Begun::Account(flow.returned(&state)?)
    } else {
        let flow: Flow = house.sealer().open(&cookie, house.now())?;
        Begun::Client(Box::new(flow.returned(&state)?))
    };
    Ok((params, state, begun))
}

async fn answer(
    house: &House,
    headers: &HeaderMap,
    params: &Params,
    flow: Returned,
) -> Result<Response, CallbackError> {
    let iss = params.get("iss")?;
    let provider = house
        .provider(flow.provider())
        .ok_or(CallbackError::ProviderGone)?;
    match provider.accepts_issuer(iss).await {
        Ok(true) => {}
        Ok(false) => return Err(CallbackError::Issuer(iss.map(str::to_owned))),
        Err(error) => return Ok(tell(house, &flow, &RedirectError::from(&error))),
    }
    if let Some(error) = params.get("error")? {
        return Ok(tell_refused(
            house,
            provider.profile(),
            &flow,
            error,
            params.get("error_description")?.unwrap_or_default(),
        ));
    }
    let Some(code) = params.get("code")?.map(AuthorizationCode::new) else {
        let refusal = RedirectError {
            code: ErrorCode::ServerError,
            description: "the identity provider sent neither a code nor an error".to_owned(),
            slug: "provider_bad_answer",
            cause: "the redirect of the provider has neither code nor error".to_owned(),
        };
        return Ok(tell(house, &flow, &refusal));
    };
    let redirect = flow.redirect().clone();
    let client_state = flow.client_state().map(str::to_owned);
    let elsewhere = flow.is_elsewhere();
    let code = match flow.with_code(code) {
        Step::Answer(code) => code,
        Step::Identify(identify) => {
            let next = learn_user(house, headers, provider, identify).await;
            return Ok(next.unwrap_or_else(|error| {
                let refusal = RedirectError::from(&error);
                refusal.respond(house, &redirect, client_state.as_deref(), true)
            }));
        }
    };
    let steps = &house.metrics().authorizations;
    steps.inc((AuthorizationOutcome::Answered, Reason::NONE));
    let code = house.sealer().seal(
        &code,
        Some(house.now().plus(Code::LIFETIME)),
        house.random(),
    );
    let issuer = house.settings().public_url.as_str();
    let location =
        AuthorizationResponse::Code(&code).location(&redirect, client_state.as_deref(), issuer);
    Ok(deliver(&redirect, location, Outcome::Done, elsewhere))
}

/// The user approved and does not want to be asked again. Whose decision it is only the provider's answer says, so this
/// code is redeemed here; its tokens are thrown away (and not revoked, which at some providers ends the user's session).
/// Then the sign-in itself begins, for this user only, while the provider still knows the browser.
async fn learn_user(
    house: &House,
    headers: &HeaderMap,
    provider: &Provider,
    approved: Identify,
) -> Result<Response, ProviderError> {
    let tokens = provider
        .exchange(&approved.provider_code, &approved.verifier, &approved.nonce)
        .await?;
    let identity = tokens
        .identity
        .ok_or_else(|| ProviderError::Misconfigured("no identity".to_owned()))?;
    let user = UserDigest::of(provider.id(), &identity.subject);
    let name = provider.name_of(&identity);
    let account = Account::new(provider.id(), &identity.subject, name);
    let mut memory = remembered::memory(house, headers);
    memory.put(Remembered::new(
        approved.asked.clone(),
        approved.scope().clone(),
        provider.id().to_owned(),
        user.clone(),
        house.now(),
    ));
    let passed = approved.passed.clone();
    let flow = approved.learned(user, house.random());
    let mut response = to_provider(house, provider, &flow, &passed, false).await?;
    remembered::keep(house, response.headers_mut(), memory);
    connections::remember(house, response.headers_mut(), &account);
    Ok(response)
}

/// The provider said no.
fn tell_refused(
    house: &House,
    profile: &Profile,
    flow: &Returned,
    error: &str,
    description: &str,
) -> Response {
    let mapped = callback_error::map(profile, error, description);
    // What the provider wrote may hold anything: it goes to the log only, cleaned and cut.
    let said: String = safe_description(&format!("{error}: {description}"))
        .chars()
        .take(300)
        .collect();
    let refusal = RedirectError {
        code: mapped.code,
        description: mapped.description.to_owned(),
        slug: mapped.slug,
        cause: format!("the provider said {said}"),
    };
    tell(house, flow, &refusal)
}

/// The user approved this address a moment ago: no second click is needed.
fn tell(house: &House, flow: &Returned, refusal: &RedirectError) -> Response {
    if flow.is_elsewhere() {
        return refusal.respond_elsewhere(house, flow.redirect(), flow.client_state());
    }
    refusal.respond(house, flow.redirect(), flow.client_state(), true)
}

impl CallbackError {
    fn respond(&self, house: &House) -> Response {
        let again =
            "Start the sign-in again from the application, and finish it in the same browser.";
        let (status, title, explanation, slug) = match self {
            Self::Param(_) => (
                StatusCode::BAD_REQUEST,
                "The sign-in answer cannot be read",
                "The identity provider sent this browser back without the values that belong to a sign-in.",
                "callback_unreadable",
            ),
            Self::Flow(SealError::Expired) => (
                StatusCode::BAD_REQUEST,
                "The sign-in took too long",
                "For your safety a sign-in must be finished within ten minutes.",
                "callback_expired",
            ),
            Self::ProviderGone => (
                StatusCode::BAD_REQUEST,
                "The sign-in cannot go on",
                "The settings of this server changed while you were signing in.",
                "callback_provider_gone",
            ),
            Self::NoFlow | Self::Flow(_) | Self::NotThisFlow(_) => (
                StatusCode::FORBIDDEN,
                "This browser did not begin the sign-in",
                "The sign-in was approved in another browser, was finished already, or cookies are blocked here.",
                "callback_other_browser",
            ),
            Self::Issuer(_) | Self::OtherCallback => (
                StatusCode::FORBIDDEN,
                "The sign-in was stopped for your safety",
                "The answer did not come from the identity provider that was asked.",
                "callback_issuer",
            ),
        };
        display_error(house, status, title, explanation, again, slug, self)
    }
}
