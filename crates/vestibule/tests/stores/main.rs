//! The stores that need a server, against the contract and what they promise beyond it. `tests/stores/run.sh` starts the
//! servers and says where they are; without it these tests are not run.

#![cfg(any(feature = "redis", feature = "postgres"))]
#![expect(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, but not the helpers beside them"
)]

#[path = "../contract/mod.rs"]
mod contract;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod tls;

use vestibule_oauth::secret::Secret;

/// Where a server is.
fn server(variable: &str) -> Secret {
    let url = std::env::var_os(variable).and_then(|url| url.into_string().ok());
    Secret::new(url.unwrap_or_else(|| panic!("no {variable}: run tests/stores/run.sh")))
}
