//! AWS against servers that answer like it: the contract of stores on DynamoDB, and secrets by reference. Each test runs
//! against the server that `AWS_ENDPOINT_URL` names, on the loopback; `tests/stores/aws.sh` starts them, one after the other.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "clippy exempts test functions, but not the helpers beside them"
)]

#[path = "../contract/mod.rs"]
mod contract;
mod dynamodb;
mod secrets;

use std::sync::Arc;

use vestibule::aws::{Aws, AwsEnvironment};
use vestibule::settings::ProcessEnvironment;
use vestibule_guard::fetch::Trust;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::SystemClock;

/// AWS as the script has set it up.
fn aws() -> Arc<Aws> {
    let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("run by tests/stores/aws.sh");
    assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
    Aws::new(
        AwsEnvironment::read(&ProcessEnvironment),
        &Trust::nobody().unwrap(),
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
    )
}
