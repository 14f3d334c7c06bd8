//! `POST /register`: dynamic client registration (RFC 7591) that stores nothing; the `client_id` is the registration.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use thiserror::Error;

use vestibule_oauth::client::{
    Client, ClientAuthMethod, ClientId, ClientInformation, ClientMetadata, RegistrationError,
};
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::Secret;

use super::respond::{self, BodyError, Outside, json, refuse};
use crate::House;
use crate::audit::{Event, Happened};
use crate::clients::policy::Refusal;
use crate::metrics::labels::{ClientKind, RegistrationOutcome};
use crate::telemetry::Told;

/// Real registrations are below 2 KiB.
const MAX_BODY: usize = 16 * 1024;

/// Why a registration failed.
#[derive(Debug, Error)]
enum RegisterError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the body is not a JSON object with the members of RFC 7591: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Metadata(#[from] RegistrationError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("registration at this server needs an initial access token; ask the operator for one")]
    InitialAccessToken,
    #[error(
        "the registration is too large: its client_id would not fit into a URL; register fewer or shorter redirect URIs"
    )]
    TooLarge,
    #[error(
        "dynamic client registration is switched off at this server; ask the operator for a client_id"
    )]
    Off,
}

impl RegisterError {
    fn respond(&self, house: &House) -> Response {
        let (code, slug) = match self {
            Self::Body(error) => return error.respond(house),
            Self::Json(_) | Self::TooLarge => {
                (ErrorCode::InvalidClientMetadata, "registration_malformed")
            }
            Self::Metadata(error) => (error.code(), "registration_refused"),
            Self::Refused(Refusal::Redirect(_)) => {
                (ErrorCode::InvalidRedirectUri, "registration_refused")
            }
            Self::Refused(_) => (ErrorCode::InvalidClientMetadata, "registration_refused"),
            Self::InitialAccessToken => (ErrorCode::InvalidToken, "registration_token"),
            Self::Off => (ErrorCode::AccessDenied, "registration_off"),
        };
        let mut response = refuse(house, &Outside::new(code, slug, self.to_string()), self);
        if matches!(self, Self::InitialAccessToken) {
            let challenge = HeaderValue::from_static("Bearer realm=\"registration\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Registers a client.
pub async fn register(State(house): State<Arc<House>>, request: Request) -> Response {
    let source = house.source(&request);
    let event = Event::new(Happened::ClientRegistered).from(&source);
    let counts = &house.metrics().registrations;
    match handle(&house, request).await {
        Ok(client) => {
            house.tell_audit(&event.client(&client));
            let kind = match client.auth_method {
                ClientAuthMethod::None => ClientKind::Public,
                _ => ClientKind::Confidential,
            };
            counts.inc((kind, RegistrationOutcome::Registered));
            json(StatusCode::CREATED, &information(&house, client))
        }
        Err(error) => {
            let response = error.respond(&house);
            house.tell_audit(&event.told(Told::of(&response)));
            counts.inc((ClientKind::Unread, RegistrationOutcome::Refused));
            response
        }
    }
}

async fn handle(house: &House, request: Request) -> Result<Client, RegisterError> {
    if !house.settings().clients.registration {
        return Err(RegisterError::Off);
    }
    require_initial_access_token(house, request.headers())?;
    let (_, body) = respond::body(request, "application/json", MAX_BODY).await?;
    let metadata: ClientMetadata = serde_json::from_slice(&body)?;
    let settings = &house.settings().clients;
    let registration = metadata.check(&settings.private_use_schemes, settings.confidential)?;
    let clients = house.clients();
    let client = clients.register(house.sealer(), registration, house.random());
    if client.id.as_str().len() > ClientId::MAX_LENGTH {
        return Err(RegisterError::TooLarge);
    }
    // The same rules as at `/authorize`: nobody learns there what could have been said here (facts/clients.md §6.3).
    clients.policy().admit(&client)?;
    for uri in &client.redirect_uris {
        clients.policy().admit_redirect(&client, uri)?;
    }
    tracing::info!(
        client_name = client.logged_name(),
        redirect_uris = client.redirect_uris.len(),
        method = client.auth_method.as_str(),
        "client registered"
    );
    Ok(client)
}

/// RFC 7591 §3: `Authorization: Bearer` with the operator's token, where one is configured.
fn require_initial_access_token(house: &House, headers: &HeaderMap) -> Result<(), RegisterError> {
    let Some(wanted) = &house.settings().clients.initial_access_token else {
        return Ok(());
    };
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let presented = header.and_then(|header| header.split_once(' '));
    // `Secret` compares in constant time.
    match presented {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && Secret::new(token.trim()) == *wanted =>
        {
            Ok(())
        }
        _ => Err(RegisterError::InitialAccessToken),
    }
}

fn information(house: &House, client: Client) -> ClientInformation {
    let catalogue = house.settings().resources.iter();
    let catalogue = catalogue.fold(ScopeSet::default(), |all, resource| {
        all.union(&resource.scopes)
    });
    let client_secret = house.clients().secret_of(house.sealer(), &client);
    ClientInformation {
        client_secret_expires_at: client_secret.as_ref().map(|_| 0),
        client_secret,
        client_id: client.id.as_str().to_owned(),
        client_id_issued_at: house.now().0,
        redirect_uris: client
            .redirect_uris
            .iter()
            .map(|uri| uri.as_str().to_owned())
            .collect(),
        token_endpoint_auth_method: client.auth_method,
        grant_types: vec!["authorization_code", "refresh_token"],
        response_types: vec!["code"],
        client_name: client.name,
        scope: (!catalogue.is_empty()).then(|| catalogue.to_string()),
        application_type: client.application_type,
    }
}
