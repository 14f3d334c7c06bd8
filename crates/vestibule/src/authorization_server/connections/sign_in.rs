//! A person signs in for `/connections`: out to the provider, and what `/callback` does when the browser is back.
//!
//! This is the one sign-in whose code is redeemed at the callback: nobody else is to have it. The provider's tokens are
//! dropped.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use vestibule_oauth::error::safe_description;
use vestibule_oauth::params::Params;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::AuthorizationCode;

use super::error::ConnectionsError;
use super::{back_to_page, end_session, keep_session, read_any_form, remember, session};
use crate::House;
use crate::authorization_server::cookies::Cookies;
use crate::authorization_server::tell::redirect_to;
use crate::grants::{Account, AccountFlow, ReturnedAccount, Session};
use crate::provider::profile::Revocation;
use crate::provider::{ProviderError, Purpose, SignIn};

/// `POST /connections/sign-in`: on to the provider.
pub async fn sign_in(State(house): State<Arc<House>>, request: Request) -> Response {
    match leave(&house, request).await {
        Ok(response) => response,
        Err(error) => error.respond(&house),
    }
}

async fn leave(house: &Arc<House>, request: Request) -> Result<Response, ConnectionsError> {
    let (headers, params, ticket) = read_any_form(house, request).await?;
    let cookies = Cookies::new(&house.settings().public_url);
    if !ticket?.is_of_browser(cookies.browser(&headers).as_deref()) {
        return Err(ConnectionsError::OtherSession);
    }
    if house.store().is_none() {
        return Ok(back_to_page(house));
    }
    let provider = house
        .provider(params.require("provider")?)
        .ok_or(ConnectionsError::NoProvider)?;
    let flow = AccountFlow::begin(provider.id(), house.random());
    let sign_in = SignIn {
        state: flow.id(),
        nonce: flow.nonce(),
        challenge: &flow.challenge(),
        scopes: &ScopeSet::default(),
        passed: &[],
        purpose: Purpose::Identity,
        another_account: params.has("another"),
    };
    let location = provider.authorize_url(&sign_in).await?;
    let mut response = redirect_to(StatusCode::SEE_OTHER, &location);
    let until = house.now().plus(AccountFlow::LIFETIME);
    let sealed = house.sealer().seal(&flow, Some(until), house.random());
    let headers = response.headers_mut();
    cookies.set_flow(headers, flow.id(), &sealed, AccountFlow::LIFETIME);
    Ok(response)
}

/// The browser is back at `/callback` with the flow that it left with: it is signed in, or told why not.
pub(in crate::authorization_server) async fn finish(
    house: &Arc<House>,
    headers: &HeaderMap,
    params: &Params,
    flow: ReturnedAccount,
) -> Response {
    let account = match learn(house, params, flow).await {
        Ok(account) => account,
        Err(error) => return error.respond(house),
    };
    // Never the id of a session that was there before: somebody may have put that one into this browser.
    if let Some(before) = session(house, headers) {
        end_session(house, &before).await;
    }
    let session = Session::begin(account, house.now(), house.random());
    tracing::info!(
        event = "connections.signed_in",
        provider = session.account.provider,
        "somebody signed in to see their connections"
    );
    let mut response = back_to_page(house);
    keep_session(house, response.headers_mut(), &session);
    remember(house, response.headers_mut(), &session.account);
    response
}

async fn learn(
    house: &Arc<House>,
    params: &Params,
    flow: ReturnedAccount,
) -> Result<Account, ConnectionsError> {
    let provider = house
        .provider(&flow.provider)
        .ok_or(ConnectionsError::NoProvider)?;
    let iss = params.get("iss")?;
    if !provider.accepts_issuer(iss).await? {
        return Err(ConnectionsError::Issuer(iss.map(str::to_owned)));
    }
    if let Some(error) = params.get("error")? {
        let description = params.get("error_description")?.unwrap_or_default();
        // What the provider wrote may hold anything: it goes to the log only, cleaned and cut.
        let said = safe_description(&format!("{error}: {description}"));
        return Err(ConnectionsError::Refused(said.chars().take(300).collect()));
    }
    let code = AuthorizationCode::new(params.require("code")?);
    let mut tokens = provider
        .exchange(&code, &flow.verifier, &flow.nonce)
        .await?;
    if let Some(token) = tokens.refresh.take()
        && provider.profile().revocation == Revocation::Alone
    {
        house.give_back(provider, token);
    }
    let identity = tokens
        .identity
        .ok_or_else(|| ProviderError::Misconfigured("no identity".to_owned()))?;
    let name = provider.name_of(&identity);
    Ok(Account::new(provider.id(), &identity.subject, name))
}
