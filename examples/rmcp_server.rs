//! A protected rmcp server. Everything about OAuth is in `serve`, and in the `caller` of the tools.
//!
//! ```text
//! cargo run -p vestibule-guard --example rmcp_server -- \
//!     https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE 3n4b5urk1ft4fl3mg5e62d9ado
//! ```

use std::error::Error;

use axum::Router;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use rmcp::{ErrorData, tool, tool_router};
use tokio::net::TcpListener;
use vestibule_guard::{Caller, Preset, ProtectedResource, TrustedIssuer};

struct Notes;

#[tool_router(server_handler)]
impl Notes {
    #[tool(description = "Tells who is signed in.")]
    async fn whoami(&self, caller: Caller) -> String {
        format!("{} with {}", caller.subject(), caller.scope())
    }

    #[tool(description = "Deletes all notes. For the group `admins`, with the scope `mcp/write`.")]
    async fn delete_notes(&self, caller: Caller) -> Result<String, ErrorData> {
        caller.require("mcp/write")?;
        caller.require_group("admins")?;
        Ok("the notes are gone".to_owned())
    }
}

/// Serves the tools to users of `issuer` who signed in through the app client `client_id`.
pub(crate) async fn serve(
    listener: TcpListener,
    issuer: &str,
    client_id: &str,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let cognito = TrustedIssuer::new(issuer)
        .preset(Preset::COGNITO)
        .client_ids([client_id]);
    let door = ProtectedResource::builder()
        .resource(format!(
            "http://localhost:{}/mcp",
            listener.local_addr()?.port()
        ))
        .authorization_server(cognito)
        .require_scope("mcp/read")
        .scopes("mcp/write")
        .build()?;
    let mcp = StreamableHttpService::new(
        || Ok(Notes),
        NeverSessionManager::default().into(),
        StreamableHttpServerConfig::default().with_legacy_session_mode(false),
    );
    let app = Router::new()
        .route_service("/mcp", mcp)
        .layer(door.layer())
        .merge(door.routes());
    Ok(axum::serve(listener, app).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(issuer), Some(client_id)) = (arguments.next(), arguments.next()) else {
        return Err("give the issuer and the id of an app client".into());
    };
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    serve(listener, &issuer, &client_id).await
}
