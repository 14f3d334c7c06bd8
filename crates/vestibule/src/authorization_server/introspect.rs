//! `POST /introspect` (RFC 7662): a configured resource server asks what an access token of its own says, and whether it is
//! still good.
//!
//! Everything else is `{"active":false}`, in the same bytes: an unknown token, an expired or revoked one, a refresh token,
//! and the token of a resource that the asker is not responsible for (§2.2, §4). Signed answers (RFC 9701) are not given.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value, json};
use thiserror::Error;

use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::params::{ParamError, Params};
use vestibule_oauth::token::{PresentedClient, TokenRequestError};

use super::respond::{self, BodyError, Outside, json, refuse};
use crate::House;
use crate::grants::Access;
use crate::settings::IntrospectionClient;

/// Bytes of a form: an access token of ours holds the provider's (about 4 KiB).
const MAX_BODY: usize = 64 * 1024;
/// Claims that say a user's name for people, the best one first.
const NAMES: [&str; 3] = ["username", "preferred_username", "email"];

/// Why nothing is said.
#[derive(Debug, Error)]
enum IntrospectError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Request(#[from] TokenRequestError),
    #[error("'{0}' may not ask, or its secret is wrong")]
    Client(String),
}

impl From<ParamError> for IntrospectError {
    fn from(error: ParamError) -> Self {
        Self::Request(error.into())
    }
}

/// Tells about a token.
pub async fn introspect(State(house): State<Arc<House>>, request: Request) -> Response {
    match handle(&house, request).await {
        Ok(Some(access)) => json(StatusCode::OK, &active(&house, &access)),
        Ok(None) => json(StatusCode::OK, &json!({ "active": false })),
        Err(error) => error.respond(&house),
    }
}

async fn handle(house: &House, request: Request) -> Result<Option<Access>, IntrospectError> {
    let (headers, body) =
        respond::body(request, "application/x-www-form-urlencoded", MAX_BODY).await?;
    let params = Params::parse(&body)?;
    let authorization = headers
        .get(AUTHORIZATION)
        .map(|value| value.to_str().unwrap_or_default());
    let presented = PresentedClient::parse(authorization, &params)?;
    let client = known(house, &presented)?;
    // `token_type_hint` is only a hint; our tokens say themselves what they are.
    let token = params.require("token")?;
    Ok(live(house, client, token))
}

/// `Secret` compares in constant time. An id that is not configured is told from a wrong secret by nobody outside.
fn known<'a>(
    house: &'a House,
    presented: &PresentedClient,
) -> Result<&'a IntrospectionClient, IntrospectError> {
    let id = presented.id.as_str();
    let mut clients = house.settings().introspection.clients.iter();
    let client = clients.find(|client| client.client_id == id);
    client
        .filter(|client| presented.secret.as_ref() == Some(&client.secret))
        .ok_or_else(|| IntrospectError::Client(id.chars().take(80).collect()))
}

/// The token, if the asker's door would let it in.
fn live(house: &House, client: &IntrospectionClient, token: &str) -> Option<Access> {
    let now = house.now();
    let access = house.issuer().recognise(token, now).ok()?;
    let mut resources = client.resources.iter();
    let is_theirs = resources.any(|path| {
        let resource = house.resource_at(path);
        resource.is_some_and(|resource| resource.uri.as_str() == access.audience)
    });
    let good = is_theirs && access.expires_at > now && house.barrier().lets(&access, now);
    good.then_some(access)
}

/// RFC 7662 §2.2. What the standard defines is written last: a mapped claim never replaces it.
fn active(house: &House, access: &Access) -> Map<String, Value> {
    let mut members = access.claims.clone();
    let named = |name: &&str| access.claims.get(*name).filter(|value| value.is_string());
    match NAMES.iter().find_map(named) {
        Some(name) => members.insert("username".to_owned(), name.clone()),
        None => members.remove("username"),
    };
    for (name, value) in [
        ("active", json!(true)),
        ("scope", json!(access.scope)),
        ("client_id", json!(access.client_id)),
        ("token_type", json!("Bearer")),
        ("exp", json!(access.expires_at)),
        ("iat", json!(access.issued_at)),
        ("sub", json!(access.subject)),
        ("aud", json!(access.audience)),
        ("iss", json!(house.settings().public_url.as_str())),
        ("jti", json!(access.id)),
    ] {
        members.insert(name.to_owned(), value);
    }
    members
}

impl IntrospectError {
    fn respond(&self, house: &House) -> Response {
        let outside = match self {
            Self::Body(error) => return error.respond(house),
            Self::Request(error) => Outside {
                basic_challenge: error.code() == ErrorCode::InvalidClient,
                ..Outside::new(error.code(), "introspection_request", error.to_string())
            },
            Self::Client(_) => Outside {
                basic_challenge: true,
                ..Outside::new(
                    ErrorCode::InvalidClient,
                    "introspection_client",
                    "the client is not known here, or its secret is wrong",
                )
            },
        };
        refuse(house, &outside, self)
    }
}
