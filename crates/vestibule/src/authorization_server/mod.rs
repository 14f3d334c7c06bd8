//! The authorization server: one file per endpoint, named as in the RFCs.

pub mod authorize;
pub mod callback;
mod client_auth;
pub mod connections;
pub mod consent;
pub(crate) mod cookies;
pub mod discovery;
pub mod introspect;
mod leave;
pub mod logout;
pub mod register;
mod remembered;
mod respond;
pub mod revoke;
mod same_site;
mod tell;
pub mod token;

pub(crate) use respond::{BodyError, Outside, body, refuse};
pub use respond::{json, not_found};
