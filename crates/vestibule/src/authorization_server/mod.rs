//! The authorization server: one file per endpoint, named as in the RFCs.

pub mod authorize;
pub mod callback;
pub mod consent;
mod cookies;
pub mod discovery;
pub mod logout;
pub mod register;
mod respond;
pub mod revoke;
mod tell;
pub mod token;

pub use respond::{json, not_found};
