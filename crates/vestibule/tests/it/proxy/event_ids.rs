//! Event ids belong to the caller who received them (T27).

use std::sync::Arc;

use vestibule::keys::KeyRing;
use vestibule::proxy::Sessions;
use vestibule::seal::Sealer;
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url::Origin;

use super::rig::{Events, Front, Reader, SSE_HEAD, ask, get, status, within};

pub(super) fn sessions() -> Sessions {
    let ring = KeyRing::generate(&[SigningAlg::Es256], UnixTime(0), &SystemRandom).unwrap();
    let keys = ring.sealing.iter().map(|key| (key.id, &key.secret));
    let origin = Origin::parse("https://h").unwrap();
    Sessions::new(Arc::new(Sealer::new(origin, keys).unwrap()))
}

async fn front(upstream: &Events) -> std::net::SocketAddr {
    Front {
        sessions: Some(sessions()),
        ..Front::to(upstream.address)
    }
    .start()
    .await
}

fn resume(user: &str, id: &str) -> String {
    let request = get("/mcp").replace("ada", user);
    request.replace("\r\n\r\n", &format!("\r\nLast-Event-ID: {id}\r\n\r\n"))
}

fn first_id(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("id: "));
    line.unwrap().to_owned()
}

#[tokio::test]
async fn t27_the_events_of_another_user_are_not_sent_again() {
    let mut upstream = Events::start(SSE_HEAD, "id: stream-1_7\ndata: 1\n\n").await;
    let front = front(&upstream).await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    reader.until("\ndata: 1\n\n").await;
    let id = first_id(&reader.text);
    assert!(
        id.starts_with("stream-1_7~") && id.len() == "stream-1_7~".len() + 22,
        "{id}"
    );
    within(upstream.asked.recv()).await.unwrap();

    let changed = format!("{id}x");
    for (user, stolen) in [
        ("bob", id.as_str()),
        ("bob", "stream-1_7"),
        ("ada", "stream-1_7"),
        ("ada", &changed),
        ("ada", "stream-1_8~AAAAAAAAAAAAAAAAAAAAAA"),
        ("ada", "~"),
        ("ada", ""),
    ] {
        let (head, body) = ask(front, &resume(user, stolen)).await;
        assert_eq!(status(&head), 404, "{user} {stolen}");
        assert!(body.contains("event not found"), "{body}");
    }
    let doubled =
        resume("ada", &id).replace("\r\n\r\n", &format!("\r\nLast-Event-ID: {id}\r\n\r\n"));
    assert_eq!(status(&ask(front, &doubled).await.0), 404);
    assert!(upstream.asked.try_recv().is_err(), "reached the upstream");

    let again = Reader::open(front, &resume("ada", &id)).await;
    assert_eq!(status(&again.head), 200);
    let asked = within(upstream.asked.recv()).await.unwrap();
    assert!(
        asked
            .to_ascii_lowercase()
            .contains("last-event-id: stream-1_7\r\n"),
        "{asked}"
    );
}

#[tokio::test]
async fn t27_an_underscore_does_not_smuggle_an_event_id() {
    let mut upstream = Events::start(SSE_HEAD, "data: 1\n\n").await;
    let front = front(&upstream).await;
    let request = get("/mcp").replace("\r\n\r\n", "\r\nLast_Event_ID: stolen\r\n\r\n");
    Reader::open(front, &request).await;
    let asked = within(upstream.asked.recv()).await.unwrap();
    assert!(!asked.contains("stolen"), "{asked}");
}

#[tokio::test]
async fn an_id_that_comes_in_pieces_is_tagged_and_the_rest_flows() {
    let upstream = Events::start(SSE_HEAD, ": hello\n\ndata: 1\ni").await;
    let front = front(&upstream).await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    // All that is complete has come; the letter waits for its line.
    reader.until(": hello\n\ndata: 1\n").await;
    for (piece, wanted) in [("d: a", ""), ("b\r", "\r"), ("\n\r\n", "\n\r\n")] {
        upstream.send.send(piece).unwrap();
        reader.until(wanted).await;
    }
    let id = first_id(&reader.text);
    assert!(id.starts_with("ab~"), "{id}");
}

#[tokio::test]
async fn a_server_that_is_left_alone_sees_its_own_ids() {
    let mut upstream = Events::start(SSE_HEAD, "id: 7\ndata: 1\n\n").await;
    let front = Front::to(upstream.address).start().await;
    let mut reader = Reader::open(front, &resume("ada", "6")).await;
    reader.until("id: 7\ndata: 1\n\n").await;
    let asked = within(upstream.asked.recv()).await.unwrap();
    assert!(
        asked.to_ascii_lowercase().contains("last-event-id: 6\r\n"),
        "{asked}"
    );
}
