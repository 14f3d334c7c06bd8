//! The door: a tower layer that makes an axum or rmcp server an OAuth-protected MCP resource (RFC 6750, RFC 9728).
//!
//! Requests without a good token get 401 and a challenge that tells any MCP client where to sign in. The others arrive
//! with a [`Caller`] in their extensions. In rmcp a tool finds it in the `http::request::Parts` of its context.
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt as _, service_fn};
//! use vestibule_guard::fetch::{AddressPolicy, Outbound, Trust};
//! use vestibule_guard::jwks_verifier::{Binding, JwtVerifier};
//! use vestibule_guard::keys::{DEFAULT_TTL_SECONDS, JwksSource};
//! use vestibule_guard::{Caller, Guard, GuardLayer, ProtectedResource};
//! use vestibule_oauth::{scope::ScopeSet, time::SystemClock, url::{Issuer, ResourceUri}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let outbound = Outbound::new(AddressPolicy::Configured, &Trust::platform(None)?);
//! let keys = JwksSource::new(
//!     "https://login.example/jwks.json", outbound, Arc::new(SystemClock), DEFAULT_TTL_SECONDS,
//! );
//! let issuer = Issuer::parse("https://login.example")?;
//! let verifier = JwtVerifier::new(issuer, keys, Arc::new(SystemClock), Binding::Resource);
//! let resource = ProtectedResource {
//!     uri: ResourceUri::parse("https://api.example/mcp")?,
//!     metadata_url: "https://api.example/.well-known/oauth-protected-resource/mcp".into(),
//!     scopes_for_challenge: ScopeSet::parse("mcp:tools"),
//! };
//! let server = service_fn(|request: Request<Full<Bytes>>| async move {
//!     let name = request.extensions().get::<Caller>().map(|caller| caller.subject().to_owned());
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name.unwrap_or_default()))))
//! });
//! let guarded = GuardLayer::new(Guard::new(resource, verifier)).layer(server);
//!
//! let response = guarded.oneshot(Request::get("/mcp").body(Full::default())?).await?;
//! assert_eq!(response.status(), 401);
//! assert_eq!(
//!     response.headers()["www-authenticate"],
//!     "Bearer resource_metadata=\"https://api.example/.well-known/oauth-protected-resource/mcp\", scope=\"mcp:tools\""
//! );
//! # Ok(())
//! # }
//! ```

mod bearer;
pub mod caller;
pub mod fetch;
pub mod jwks_verifier;
pub mod keys;
mod layer;
mod refusal;
pub mod well_known;

pub use self::bearer::MAX_TOKEN_LENGTH;
pub use self::caller::{Caller, TokenRefusal, Verified, VerifyToken};
pub use self::layer::{Guard, GuardLayer, Guarded, NO_CREDENTIALS, ProtectedResource};
pub use self::refusal::Refusal;

#[cfg(test)]
mod testing;
