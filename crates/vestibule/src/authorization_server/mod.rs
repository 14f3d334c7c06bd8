//! The authorization server: one file per endpoint, named as in the RFCs.

pub mod authorize;
pub mod callback;
mod client_auth;
pub mod connections;
pub mod consent;
pub(crate) mod cookies;
pub mod discovery;
mod leave;
pub mod logout;
pub mod register;
mod remembered;
mod respond;
pub mod revoke;
mod tell;
pub mod token;

pub(crate) use respond::{Outside, refuse};
pub use respond::{json, not_found};
