//! A REST API with scopes and groups. Tokens must be meant for this API: their `aud` is its URL (RFC 8707, RFC 9068 §4).
//!
//! ```text
//! cargo run -p vestibule-guard --example axum_rest -- https://login.example
//! ```

use std::error::Error;

use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::net::TcpListener;
use vestibule_guard::{Caller, Preset, ProtectedResource, Refusal, RequireScope, TrustedIssuer};

/// The claims this API knows beyond the usual ones.
#[derive(Deserialize)]
struct Claims {
    username: String,
}

async fn list(caller: Caller) -> String {
    let claims = caller.claims_as::<Claims>();
    let name = claims.map_or_else(
        |_| caller.subject().to_owned(),
        |claims: Claims| claims.username,
    );
    format!("the notes of {name}, {}", caller.groups().join(", "))
}

async fn add(caller: Caller) -> String {
    format!("added for {}", caller.client_id())
}

async fn delete(caller: Caller) -> Result<&'static str, Refusal> {
    caller.require_group("admins")?;
    Ok("the notes are gone")
}

/// Serves the API to whoever has a token of `issuer` for it.
pub(crate) async fn serve(
    listener: TcpListener,
    issuer: &str,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let door = ProtectedResource::builder()
        .resource(format!(
            "http://localhost:{}/notes",
            listener.local_addr()?.port()
        ))
        .authorization_server(TrustedIssuer::new(issuer).preset(Preset::COGNITO))
        .require_scope("mcp/read")
        .scopes("mcp/write")
        .on_refusal(|refusal, request| {
            tracing::info!(
                path = request.uri.path(),
                reason = refusal.reason(),
                "refused"
            );
            refusal
        })
        .build()?;
    let writing = post(add)
        .delete(delete)
        .route_layer(RequireScope::<()>::new("mcp/write"));
    let app = Router::new()
        .route("/notes", get(list).merge(writing))
        .layer(door.layer())
        .merge(door.routes());
    Ok(axum::serve(listener, app).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let issuer = std::env::args().nth(1).ok_or("give the issuer")?;
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    serve(listener, &issuer).await
}
