//! `vestibule dev --store URL`: a sign-in and refreshes as without, and the grant outlives the process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::client::{Client, refresh_token};
use crate::places::count;
use crate::street::{command, directory, signal};

pub(crate) async fn dev_keeps_its_grants_in_the_store(store: &str) {
    let directory = directory();
    let mut child = command(&directory)
        .args(["dev", "--port", "0", "--ephemeral", "--json"])
        .args(["--store", store])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let origin = origin(&mut child);
    let client = Client::register(&origin, vec![origin.clone()]).await;
    let first = client.redeem(&client.code().await).await;
    let answer = client.refresh(0, &first).await.unwrap();
    refresh_token(&answer);
    client.assert_open(&answer).await;
    let again = client.refresh(0, &first).await.unwrap();
    assert_eq!(again.body, answer.body);
    assert!(signal(child.id(), "TERM"));
    assert!(child.wait().unwrap().success());
    let (entries, endless) = count(store, 30 * 86_400 + 5).await;
    assert!(entries >= 2 && endless == 0, "{entries} {endless}");
    std::fs::remove_dir_all(directory).unwrap();
}

fn origin(child: &mut Child) -> String {
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("it has ended"));
    ready["issuer"].as_str().unwrap().to_owned()
}
