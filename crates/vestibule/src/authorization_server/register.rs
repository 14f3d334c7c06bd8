//! `POST /register`: dynamic client registration (RFC 7591) that stores nothing; the `client_id` is the registration.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use thiserror::Error;

use vestibule_oauth::client::{
    Client, ClientId, ClientInformation, ClientMetadata, RegistrationError,
};
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::scope::ScopeSet;

use super::respond::{self, BodyError, Outside, json, refuse};
use crate::House;

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
            Self::Off => (ErrorCode::AccessDenied, "registration_off"),
        };
        refuse(house, &Outside::new(code, slug, self.to_string()), self)
    }
}

/// Registers a client.
pub async fn register(State(house): State<Arc<House>>, request: Request) -> Response {
    match handle(&house, request).await {
        Ok(information) => json(StatusCode::CREATED, &information),
        Err(error) => error.respond(&house),
    }
}

async fn handle(house: &House, request: Request) -> Result<ClientInformation, RegisterError> {
    if !house.settings().clients.registration {
        return Err(RegisterError::Off);
    }
    let (_, body) = respond::body(request, "application/json", MAX_BODY).await?;
    let metadata: ClientMetadata = serde_json::from_slice(&body)?;
    let registration = metadata.check(&house.settings().clients.private_use_schemes)?;
    let client = house
        .clients()
        .register(house.sealer(), registration, house.random());
    if client.id.as_str().len() > ClientId::MAX_LENGTH {
        return Err(RegisterError::TooLarge);
    }
    tracing::info!(
        client_name = client.name.as_deref().unwrap_or("-"),
        redirect_uris = client.redirect_uris.len(),
        "client registered"
    );
    Ok(information(house, client))
}

fn information(house: &House, client: Client) -> ClientInformation {
    let catalogue = house.settings().resources.iter();
    let catalogue = catalogue.fold(ScopeSet::default(), |all, resource| {
        all.union(&resource.scopes)
    });
    ClientInformation {
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
