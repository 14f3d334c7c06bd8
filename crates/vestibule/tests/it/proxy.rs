//! The proxy against scripted upstreams on loopback: what goes through, what must not, and when (design laws 3, 10, 11).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail like tests"
)]

mod event_ids;
mod exchange;
mod failures;
mod handles;
mod http2;
mod living;
mod rig;
mod streams;
