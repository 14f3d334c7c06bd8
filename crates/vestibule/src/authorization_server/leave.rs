//! The way out to the provider: state and cookie are made here and nowhere else, for a consent given now or earlier (law 4).

use axum::response::Response;
use http::StatusCode;

use super::cookies::Cookies;
use super::tell::{RedirectError, redirect_to};
use crate::House;
use crate::grants::Flow;
use crate::provider::{Provider, ProviderError, Purpose, SignIn};

/// Sends the browser to the provider with the cookie of this flow. `another_account`: the user wants to be asked which.
pub(super) async fn to_provider(
    house: &House,
    provider: &Provider,
    flow: &Flow,
    passed: &[(String, String)],
    another_account: bool,
) -> Result<Response, ProviderError> {
    let scopes = house
        .resource_at(flow.resource())
        .map(|resource| resource.provider_scopes(flow.scope()))
        .unwrap_or_default();
    let sign_in = SignIn {
        state: flow.id(),
        nonce: flow.nonce(),
        challenge: &flow.provider_challenge(),
        scopes: &scopes,
        passed,
        purpose: Purpose::Grant,
        another_account,
    };
    let location = provider.authorize_url(&sign_in).await?;
    let mut response = redirect_to(StatusCode::FOUND, &location);
    let until = house.now().plus(Flow::LIFETIME);
    let sealed = house.sealer().seal(flow, Some(until), house.random());
    let cookies = Cookies::new(&house.settings().public_url);
    cookies.set_flow(response.headers_mut(), flow.id(), &sealed, Flow::LIFETIME);
    Ok(response)
}

/// What the client is told when the provider cannot be asked.
impl From<&ProviderError> for RedirectError {
    fn from(error: &ProviderError) -> Self {
        let (code, description) = error.outside();
        Self {
            code,
            description: description.to_owned(),
            slug: error.slug(),
            cause: error.to_string(),
        }
    }
}
