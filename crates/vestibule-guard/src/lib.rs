//! The door: a tower layer that makes an axum or rmcp server an OAuth-protected MCP resource (RFC 6750, RFC 9728).
//!
//! Requests without a good token get 401 and a challenge that tells any MCP client where to sign in. The others arrive
//! with a [`Caller`] in their extensions. It works with every authorization server that issues JWTs or answers
//! introspection requests; Vestibule is one of them, and protects its own resources with this crate.
//!
//! ```
//! # #[cfg(feature = "axum")] mod example {
//! use axum::{Router, routing::get};
//! use vestibule_guard::{Caller, ProtectedResource};
//!
//! async fn hello(caller: Caller) -> String {
//!     format!("hello {}", caller.subject())
//! }
//!
//! fn app() -> Result<Router, vestibule_guard::BuildError> {
//!     let door = ProtectedResource::builder()
//!         .resource("https://notes.example/mcp")
//!         .authorization_server("https://login.example")
//!         .require_scope("notes/read")
//!         .build()?;
//!     Ok(Router::new().route("/mcp", get(hello)).layer(door.layer()).merge(door.routes()))
//! }
//! # }
//! ```
//!
//! The layer fits every HTTP service, with no feature at all:
//!
//! ```
//! use std::convert::Infallible;
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt as _, service_fn};
//! use vestibule_guard::{Caller, ProtectedResource};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let door = ProtectedResource::builder()
//!     .resource("https://notes.example/mcp")
//!     .authorization_server("https://login.example")
//!     .require_scope("notes/read")
//!     .build()?;
//! let server = service_fn(|request: Request<Full<Bytes>>| async move {
//!     let name = request.extensions().get::<Caller>().map(|caller| caller.subject().to_owned());
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name.unwrap_or_default()))))
//! });
//! let guarded = door.layer().layer(server);
//!
//! let response = guarded.oneshot(Request::get("/mcp").body(Full::default())?).await?;
//! assert_eq!(response.status(), 401);
//! assert_eq!(
//!     response.headers()["www-authenticate"],
//!     "Bearer resource_metadata=\"https://notes.example/.well-known/oauth-protected-resource/mcp\", scope=\"notes/read\""
//! );
//! # Ok(())
//! # }
//! ```
//!
//! | You want | Look at |
//! |---|---|
//! | the usual way in | [`ProtectedResource::builder`], [`Builder`], [`Door`] |
//! | tokens of several issuers, keys, audiences | [`TrustedIssuer`], [`Preset`], [`Verifiers`] |
//! | opaque tokens | [`Introspection`] |
//! | tokens of your own kind | [`VerifyToken`], [`Guard::new`], [`GuardLayer::new`] |
//! | scopes and groups | [`Caller::require`], [`Caller::require_group`], [`RequireScope`] |
//! | a proxy or a private certificate authority on the way out | [`fetch::Outbound`], [`Builder::outbound`] |
//!
//! Features: `axum` makes [`Caller`] an extractor and [`Refusal`] a response and adds `Door::routes`; `rmcp` makes
//! [`Caller`] a parameter of tools. Neither is on by default.

mod bearer;
mod builder;
mod cache;
pub mod caller;
mod claims;
pub mod cors;
mod discovery;
pub mod driver;
pub mod fetch;
#[cfg(feature = "axum")]
mod for_axum;
#[cfg(feature = "rmcp")]
mod for_rmcp;
mod introspection;
pub mod jwks_verifier;
pub mod keys;
mod layer;
mod presets;
mod recent;
mod refusal;
mod require;
mod trusted;
mod verifiers;
pub mod well_known;

pub use vestibule_oauth::scope::ScopeSet;
pub use vestibule_oauth::secret::Secret;
pub use vestibule_oauth::time::{Clock, SystemClock, UnixTime};
pub use vestibule_oauth::url::{Issuer, ResourceUri, UrlError};

pub use self::bearer::{MAX_TOKEN_LENGTH, Presented};
pub use self::builder::{BuildError, Builder, Door};
pub use self::cache::{CacheLimits, Cached};
pub use self::caller::{Caller, TokenRefusal, Verified, VerifyToken};
pub use self::cors::Origins;
pub use self::discovery::IssuerKeys;
pub use self::introspection::{Introspection, IntrospectionAuth, IntrospectionVerifier};
pub use self::jwks_verifier::{Binding, JwtVerifier};
pub use self::layer::{Guard, GuardLayer, Guarded, NO_CREDENTIALS, ProtectedResource};
pub use self::presets::Preset;
pub use self::recent::Recent;
pub use self::refusal::Refusal;
pub use self::require::{RequireScope, ScopeRequired};
pub use self::trusted::TrustedIssuer;
pub use self::verifiers::Verifiers;

/// The code in the README is compiled.
#[cfg(all(doctest, feature = "axum", feature = "rmcp"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod testing;
