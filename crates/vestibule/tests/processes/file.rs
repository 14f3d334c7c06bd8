//! The store in a file, in trouble: no room left on the disk, a file that may only be read, that is something else, or that
//! another process has.
//!
//! A full disk is a limit on the size of files (`RLIMIT_FSIZE`), which the system enforces on every write behind it: EFBIG
//! comes the way of ENOSPC, and needs no file system of its own.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use http::{Method, StatusCode};

use crate::client::{assert_busy, refresh_token, send};
use crate::places::file;
use crate::street::{LONG, Plan, Street, program};

/// Behind this nothing can be written: the log is shorter, and every page of the store's data lies behind it.
const FULL: &str = "65536";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_logs_nobody_out_and_is_over_when_there_is_room() {
    let store = file().await;
    let mut street = Street::open(Plan::new(&store, Some(0))).await;
    let (client, token) = street.sign_in().await;
    let answer = client.refresh(0, &token).await.unwrap();
    let token = refresh_token(&answer);
    let (other, code) = (street.register().await, client.code().await);
    limit_files(&street, FULL);

    // Neither a refresh nor a sign-in that is under way; again and again.
    for _ in 0..3 {
        assert_busy(&client.refresh(0, &token).await.unwrap());
        assert_busy(&client.try_to_redeem(&code).await);
    }
    until_store_is(&street, "unavailable").await;
    // Everything that needs no store.
    client.assert_open(&answer).await;
    other.code().await;
    assert!(
        street.replicas[0].log().contains("no room is left"),
        "{}",
        street.replicas[0].log()
    );

    limit_files(&street, "unlimited");
    // By itself, although nobody asks.
    until_store_is(&street, "ok").await;
    let answer = client.refresh_until_good(0, &token).await;
    client.assert_open(&answer).await;
    let token = refresh_token(&answer);
    let redeemed = client.redeem(&code).await;
    assert!(street.presented().iter().all(|times| *times == 1));
    // What nobody got was not said to be given.
    for (event, times) in [("grant.issued", 2), ("grant.refreshed", 2)] {
        let said = street.replicas[0].said(event);
        assert_eq!(said.len(), times, "{said:?}");
        for name in ["family", "token_id", "client_name", "resource", "scope"] {
            assert!(said.iter().all(|line| line[name].is_string()), "{said:?}");
        }
    }
    street.replicas[0].stop();
    street.replicas[0].start().await;
    for token in [token, redeemed] {
        refresh_token(&client.refresh(0, &token).await.unwrap());
    }
    assert!(!street.replicas[0].log().contains("panicked"));
}

/// The provider's tokens work once, and what it gave cannot be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_when_the_provider_has_answered_loses_nothing() {
    let store = file().await;
    let street = Street::open(Plan {
        timeout: 2,
        ..Plan::new(&store, Some(0))
    })
    .await;
    let (client, token) = street.sign_in().await;
    let asked = street.begin_refresh(&client, &token).await;
    limit_files(&street, FULL);
    assert_busy(&asked.await.unwrap().unwrap());
    assert_eq!(street.presented(), [1]);
    limit_files(&street, "unlimited");
    let answer = client.refresh_until_good(0, &token).await;
    assert_eq!(street.presented(), [1], "it went on from what was given");
    client.assert_open(&answer).await;
    refresh_token(&client.refresh(0, &refresh_token(&answer)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_file_is_told_and_the_first_goes_on() {
    let store = file().await;
    let street = Street::open(Plan::new(&store, Some(0))).await;
    let (client, token) = street.sign_in().await;
    refused(&serve_again(&street), &["in use by another process"]);
    refresh_token(&client.refresh(0, &token).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_may_not_be_written_or_is_something_else_is_said_and_left_alone() {
    let store = file().await;
    let path = PathBuf::from(store.strip_prefix("redb:").unwrap());
    let mut street = Street::open(Plan::new(&store, Some(0))).await;
    let (client, token) = street.sign_in().await;
    street.replicas[0].stop();
    let whole = std::fs::read(&path).unwrap();

    chmod(&path, 0o400);
    refused(
        &serve_again(&street),
        &["may not be read and written by this user"],
    );
    let directory = path.parent().unwrap();
    chmod(&path, 0o600);
    chmod(directory, 0o500);
    std::fs::rename(&path, street.directory.join("away")).unwrap();
    refused(
        &serve_again(&street),
        &["may not be read and written by this user"],
    );
    chmod(directory, 0o700);

    let text = b"SQLite format 3\0 and so on, for other programs\n".repeat(200);
    std::fs::write(&path, &text).unwrap();
    refused(
        &serve_again(&street),
        &["no store of Vestibule's", "move the file away"],
    );
    assert_eq!(std::fs::read(&path).unwrap(), text);

    // Put back, it is what it was.
    std::fs::rename(street.directory.join("away"), &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    street.replicas[0].start().await;
    refresh_token(&client.refresh(0, &token).await.unwrap());
}

/// Of the server that runs.
fn limit_files(street: &Street, bytes: &str) {
    let status = Command::new("prlimit")
        .arg(format!("--pid={}", street.replicas[0].pid()))
        .arg(format!("--fsize={bytes}:unlimited"))
        .status();
    assert!(status.unwrap().success());
}

/// What `/readyz` says of the store. The server stays ready: who has an access token can work.
async fn until_store_is(street: &Street, word: &str) {
    let started = std::time::Instant::now();
    loop {
        let url = format!("{}/readyz", street.replicas[0].base());
        let answer = send(Method::GET, &url, &[], String::new()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        if answer.json()["store"] == word {
            return;
        }
        assert!(started.elapsed() < LONG, "{}", answer.text());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// The same configuration, at another port, until it has ended. Root may write where nobody may, unless it gives that up.
fn serve_again(street: &Street) -> Output {
    let config = street.directory.join("replica-0.toml");
    let config = std::fs::read_to_string(config).unwrap();
    let port = street.replicas[0].base().rsplit(':').next().unwrap();
    let config = config.replace(&format!("[\"127.0.0.1:{port}\"]"), "[\"127.0.0.1:0\"]");
    std::fs::write(street.directory.join("again.toml"), config).unwrap();
    let is_root =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set=-dac_override,-dac_read_search,-fowner",
            "--",
        ]);
        command.arg(program());
        command
    } else {
        Command::new(program())
    };
    command
        .current_dir(&street.directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .args(["serve", "--config", "again.toml"])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Exit code 2, as for everything that an operator has to change.
fn refused(output: &Output, told: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in [&["vestibule.redb"], told].concat() {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

fn chmod(path: &std::path::Path, mode: u32) {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, permissions).unwrap();
}
