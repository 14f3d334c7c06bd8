//! How long event streams live, and what is said in them when nobody else says anything.

use std::time::{Duration, Instant};

use vestibule::settings::StreamRules;

use super::rig::{Events, Front, Reader, SSE_HEAD, get, status, within};

/// Long enough to see that nothing happens.
const PAUSE: Duration = Duration::from_millis(1500);

/// A front whose tokens live for a second by a clock that stands.
fn front(upstream: &Events) -> Front {
    Front {
        token_life: 1,
        ..Front::to(upstream.address)
    }
}

fn post(extra: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ada\r\n{extra}Content-Length: 2\r\n\r\n{{}}"
    )
}

#[tokio::test]
async fn a_listening_stream_ends_with_the_token_that_opened_it() {
    let mut upstream = Events::start(SSE_HEAD, "data: 1\n\n").await;
    let front = front(&upstream);
    let times = front.times.clone();
    let front = front.start().await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    reader.until("data: 1\n\n").await;
    // A client whose clock began later takes the token for a good one a little longer.
    times.pass(10);
    assert!(reader.is_quiet(PAUSE).await, "ended before its time");
    times.pass(1);
    assert_eq!(reader.rest().await, "data: 1\n\n");
    within(upstream.left.recv()).await.unwrap();
}

#[tokio::test]
async fn a_subscription_ends_like_any_stream_that_only_listens() {
    let upstream = Events::start(SSE_HEAD, "data: 1\n\n").await;
    let front = front(&upstream);
    let times = front.times.clone();
    let front = front.start().await;
    let request = post("Mcp-Method: subscriptions/listen\r\n");
    let mut reader = Reader::open(front, &request).await;
    reader.until("data: 1\n\n").await;
    times.pass(11);
    reader.rest().await;
}

#[tokio::test]
async fn an_event_is_completed_before_its_stream_ends_and_nothing_comes_behind_it() {
    let upstream = Events::start(SSE_HEAD, "data: 1\n\ndata: ").await;
    let front = front(&upstream);
    let times = front.times.clone();
    let front = front.start().await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    reader.until("data: ").await;
    times.pass(11);
    assert!(reader.is_quiet(PAUSE).await, "broke off in an event");
    upstream.send.send("2\n\ndata: 3\n\n").unwrap();
    assert_eq!(reader.rest().await, "data: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn an_upstream_that_never_completes_its_event_gets_five_seconds() {
    let mut upstream = Events::start(SSE_HEAD, "data: half").await;
    let front = front(&upstream);
    let times = front.times.clone();
    let front = front.start().await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    reader.until("half").await;
    let start = Instant::now();
    times.withdraw();
    reader.rest().await;
    assert!(start.elapsed() >= Duration::from_secs(5));
    within(upstream.left.recv()).await.unwrap();
}

/// A tool that runs for long must not lose its result because the token ended meanwhile.
#[tokio::test]
async fn the_answer_to_a_call_goes_on_when_its_token_has_expired() {
    let upstream = Events::start(SSE_HEAD, "data: progress\n\n").await;
    let front = front(&upstream);
    let times = front.times.clone();
    let front = front.start().await;
    let mut reader = Reader::open(front, &post("")).await;
    reader.until("progress\n\n").await;
    times.pass(3600);
    assert!(reader.is_quiet(PAUSE).await, "the call was cut");
    upstream.send.send("data: result\n\n").unwrap();
    reader.until("data: result\n\n").await;
    // The token was good for a second, and the grace is an hour.
    times.pass(1);
    reader.rest().await;
}

#[tokio::test]
async fn a_grant_that_is_withdrawn_takes_its_streams_and_answers_with_it() {
    let mut upstream = Events::start(SSE_HEAD, "data: 1\n\n").await;
    let front = Front::to(upstream.address);
    let times = front.times.clone();
    let front = front.start().await;
    let mut listening = Reader::open(front, &get("/mcp")).await;
    let mut answer = Reader::open(front, &post("")).await;
    listening.until("1\n\n").await;
    answer.until("1\n\n").await;
    // A ring for somebody else ends nothing.
    times.alarm.ring();
    assert!(listening.is_quiet(PAUSE).await);
    let start = Instant::now();
    times.withdraw();
    listening.rest().await;
    answer.rest().await;
    assert!(start.elapsed() < Duration::from_secs(2));
    for _ in 0..2 {
        within(upstream.left.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_grant_that_is_withdrawn_while_the_upstream_thinks_opens_no_stream() {
    let upstream = Events::start(SSE_HEAD, "data: 1\n\n").await;
    let front = Front::to(upstream.address);
    front.times.withdraw();
    let front = front.start().await;
    let reader = Reader::open(front, &get("/mcp")).await;
    assert_eq!(reader.rest().await, "");
}

#[tokio::test]
async fn streams_outlive_their_tokens_where_the_operator_says_so() {
    let upstream = Events::start(SSE_HEAD, "data: 1\n\n").await;
    let front = Front {
        streams: StreamRules {
            end_with_token: false,
            ..StreamRules::default()
        },
        ..front(&upstream)
    };
    let times = front.times.clone();
    let front = front.start().await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    reader.until("1\n\n").await;
    times.pass(10_000);
    times.withdraw();
    assert!(reader.is_quiet(PAUSE).await);
    upstream.send.send("data: 2\n\n").unwrap();
    reader.until("data: 2\n\n").await;
}

/// It is not a stream of messages: half of it would be worth nothing.
#[tokio::test]
async fn an_answer_in_json_is_never_cut() {
    let head =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let upstream = Events::start(head, "{\"jsonrpc\":").await;
    let front = front(&upstream);
    let times = front.times.clone();
    let front = front.start().await;
    let mut reader = Reader::open(front, &post("")).await;
    reader.until("\"jsonrpc\":").await;
    times.pass(10_000);
    times.withdraw();
    assert!(reader.is_quiet(PAUSE).await);
    upstream.send.send("\"2.0\"}").unwrap();
    reader.until("\"2.0\"}").await;
}

#[tokio::test]
async fn a_compressed_stream_ends_as_well_and_gets_no_comments() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    let upstream = Events::start(head, "zipped").await;
    let front = Front {
        streams: beating(),
        ..Front::to(upstream.address)
    };
    let times = front.times.clone();
    let front = front.start().await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    reader.until("zipped").await;
    assert!(reader.is_quiet(PAUSE).await);
    times.withdraw();
    assert_eq!(reader.rest().await, "zipped");
}

fn beating() -> StreamRules {
    StreamRules {
        heartbeat: Some(Duration::from_millis(300)),
        ..StreamRules::default()
    }
}

#[tokio::test]
async fn a_silent_stream_says_that_it_lives_but_not_within_an_event() {
    let upstream = Events::start(SSE_HEAD, "data: 1\n\n").await;
    let front = Front {
        streams: beating(),
        ..Front::to(upstream.address)
    }
    .start()
    .await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    assert_eq!(status(&reader.head), 200);
    let start = Instant::now();
    reader.until("data: 1\n\n:\n\n:\n\n").await;
    assert!(start.elapsed() >= Duration::from_millis(500));
    upstream.send.send("data: half").unwrap();
    reader.until("data: half").await;
    assert!(reader.is_quiet(PAUSE).await, "{}", reader.text);
    upstream.send.send(" and half\n\n").unwrap();
    reader.until("data: half and half\n\n:\n\n").await;
}

#[tokio::test]
async fn a_stream_that_flows_gets_no_comments() {
    let upstream = Events::start(SSE_HEAD, "data: 1\n\n").await;
    let front = Front {
        streams: StreamRules {
            heartbeat: Some(Duration::from_secs(1)),
            ..StreamRules::default()
        },
        ..Front::to(upstream.address)
    }
    .start()
    .await;
    let mut reader = Reader::open(front, &get("/mcp")).await;
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        upstream.send.send("data: 2\n\n").unwrap();
        reader.until("data: 2\n\n").await;
        assert!(!reader.text.contains(":\n\n:"), "{}", reader.text);
    }
    assert!(!reader.text.contains("\n:\n"), "{}", reader.text);
}
