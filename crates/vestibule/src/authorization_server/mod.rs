//! The authorization server: one file per endpoint, named as in the RFCs.

pub mod authorize;
pub mod callback;
pub mod consent;
mod cookies;
pub mod discovery;
pub mod register;
mod respond;
mod tell;
pub mod revoke;
pub mod token;

pub use respond::{json, not_found};
