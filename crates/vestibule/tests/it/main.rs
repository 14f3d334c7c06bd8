//! The one integration test binary of the house: a module for each subject.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy exempts test functions, but not the helpers beside them"
)]

mod serve;
