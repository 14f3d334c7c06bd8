//! Integration tests of the house: one binary, one module per endpoint or story. Everything runs in one process: the
//! Cognito stand-in, the demo MCP server, and the house behind its router, with a clock that stands and seeded randomness.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy exempts test functions, but not the helpers beside them"
)]

#[path = "../contract/mod.rs"]
mod contract;
mod support;

mod admin;
mod audit;
mod authorize;
mod authz;
mod callback;
mod check;
mod cli;
mod clients;
mod confidential;
mod config;
mod conformance;
mod connections;
mod consent;
mod discovery;
mod docs;
mod gateway;
mod grants;
mod introspect;
mod keys;
mod limits;
mod metadata_document;
mod metrics;
mod pages;
mod peers;
mod policy;
mod provider;
mod proxy;
mod register;
mod reload;
mod replicas;
mod revoke;
mod rmcp_client;
mod serve;
mod stores;
mod token;
