//! The guard as an embedder sees it: attacks on a door, and the examples behind a Cognito stand-in.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests; clippy allows it only in the tests themselves"
)]

mod attacks;
mod examples;
mod support;

#[expect(dead_code, reason = "`main` is for the binary")]
#[path = "../../../../examples/axum_rest.rs"]
mod axum_rest;
#[expect(dead_code, reason = "`main` is for the binary")]
#[path = "../../../../examples/rmcp_server.rs"]
mod rmcp_server;
