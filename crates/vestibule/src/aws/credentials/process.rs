//! `credential_process`: a command of the operator's that prints credentials as JSON.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use zeroize::Zeroizing;

use super::{Found, NoCredentials, Written, failed};

/// The AWS CLI takes a second or two.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the command by the shell, as the SDKs do.
pub(super) async fn credentials(command: &str) -> Found {
    let run = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, run).await.map_err(|_| {
        NoCredentials::Unreachable(format!(
            "credential_process did not end within {} s",
            LIMIT.as_secs()
        ))
    })?;
    let output = output.map_err(|error| failed(format!("credential_process: {error}")))?;
    // Not a word of what it printed: it may hold the credentials.
    let printed = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(format!(
            "credential_process failed: {}",
            output.status
        )));
    }
    Written::read(&printed, "profile").map_err(|error| match error {
        NoCredentials::Failed(why) => failed(format!("credential_process: {why}")),
        other => other,
    })
}
