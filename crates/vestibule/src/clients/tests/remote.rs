//! What a hostile, broken or busy origin can do to the cache: a scripted server on loopback.

use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vestibule_oauth::time::ManualClock;

use super::*;

/// A server whose next answers can be changed, and which counts.
struct Origin {
    url: DocumentUrl,
    answer: Arc<Mutex<String>>,
    heads: Arc<Mutex<Vec<String>>>,
    delay: Arc<AtomicUsize>,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/client.json", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(String::new()));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let delay = Arc::new(AtomicUsize::new(0));
        let (own, seen, wait) = (Arc::clone(&answer), Arc::clone(&heads), Arc::clone(&delay));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else {
                        break;
                    };
                    head.push(byte);
                }
                seen.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&head).into_owned());
                let wait = wait.load(Ordering::Relaxed) as u64;
                tokio::time::sleep(Duration::from_millis(wait)).await;
                let text = own.lock().unwrap().clone();
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self {
            url: DocumentUrl::parse(&url, true).unwrap(),
            answer,
            heads,
            delay,
        }
    }

    fn says(&self, status: &str, headers: &str, body: &str) {
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
            body.len()
        );
    }

    fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

fn remote(clock: &Arc<ManualClock>) -> Remote<String> {
    let read = |_: &str, body: &[u8]| {
        let text = String::from_utf8_lossy(body).into_owned();
        if text.starts_with("bad") {
            Err(text)
        } else {
            Ok(text)
        }
    };
    Remote::new(
        Arc::new(Way::new(true, None, None)),
        Arc::new(Throttle::default()),
        Arc::clone(clock) as Arc<dyn Clock>,
        (Arc::default(), DocumentKind::Metadata),
        100,
        Box::new(read),
    )
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(UnixTime(1_800_000_000)))
}

#[tokio::test]
async fn a_document_is_kept_as_long_as_it_says_within_bounds() {
    let (origin, clock) = (Origin::start().await, clock());
    let remote = remote(&clock);
    for (control, seconds) in [
        ("Cache-Control: max-age=120\r\n", 120),
        ("Cache-Control: max-age=0\r\n", MIN_FRESH),
        ("Cache-Control: no-store, max-age=900\r\n", MIN_FRESH),
        ("Cache-Control: max-age=99999999\r\n", MAX_FRESH),
        ("Cache-Control: max-age=300\r\nAge: 100\r\n", 200),
        ("", DEFAULT_FRESH),
    ] {
        origin.says("200 OK", &format!("{JSON}{control}"), "a");
        let before = origin.requests();
        assert_eq!(*remote.get(&origin.url).await.unwrap(), "a");
        assert_eq!(origin.requests(), before + 1, "{control}");
        clock.advance(seconds - 1);
        remote.get(&origin.url).await.unwrap();
        assert_eq!(origin.requests(), before + 1, "{control}");
        clock.advance(1);
    }
}

#[tokio::test]
async fn an_unchanged_document_is_not_sent_again() {
    let (origin, clock) = (Origin::start().await, clock());
    let remote = remote(&clock);
    origin.says("200 OK", &format!("{JSON}ETag: \"1\"\r\n"), "a");
    let first = remote.get(&origin.url).await.unwrap();
    origin.says("304 Not Modified", "", "");
    clock.advance(DEFAULT_FRESH);
    let second = remote.get(&origin.url).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    let heads = origin.heads.lock().unwrap();
    assert!(
        heads[1].to_lowercase().contains("if-none-match: \"1\""),
        "{}",
        heads[1]
    );
}

#[tokio::test]
async fn an_error_is_never_a_document() {
    let clock = clock();
    for (status, headers, body) in [
        ("302 Found", "Location: http://169.254.169.254/\r\n", ""),
        ("404 Not Found", JSON, "a"),
        ("201 Created", JSON, "a"),
        ("304 Not Modified", "", ""),
        ("200 OK", "Content-Type: text/html\r\n", "a"),
        ("200 OK", "Content-Type: text/json\r\n", "a"),
        ("200 OK", "", "a"),
        ("200 OK", JSON, "bad document"),
    ] {
        let origin = Origin::start().await;
        origin.says(status, headers, body);
        assert!(
            remote(&clock).get(&origin.url).await.is_err(),
            "{status} {headers}"
        );
        assert_eq!(origin.requests(), 1);
    }
    let origin = Origin::start().await;
    origin.says("200 OK", JSON, &"a".repeat(101));
    let error = remote(&clock).get(&origin.url).await.unwrap_err();
    assert_eq!(error, RemoteError::TooLarge(100));
}

#[tokio::test]
async fn a_failing_origin_is_left_alone_for_a_while() {
    let (origin, clock) = (Origin::start().await, clock());
    let remote = remote(&clock);
    origin.says("404 Not Found", "", "");
    for _ in 0..5 {
        assert_eq!(
            remote.get(&origin.url).await.unwrap_err(),
            RemoteError::Status(404)
        );
    }
    assert_eq!(origin.requests(), 1);
    origin.says("200 OK", JSON, "a");
    clock.advance(AFTER_FAILURE);
    assert!(remote.get(&origin.url).await.is_ok());
}

#[tokio::test]
async fn what_an_origin_last_said_holds_while_it_blocks_us_and_not_when_it_is_gone() {
    let (origin, clock) = (Origin::start().await, clock());
    let remote = remote(&clock);
    origin.says("200 OK", JSON, "a");
    remote.get(&origin.url).await.unwrap();
    for (status, headers) in [
        ("403 Forbidden", "Content-Type: text/html\r\n"),
        ("503 Service Unavailable", ""),
        ("429 Too Many Requests", ""),
        ("200 OK", "Content-Type: text/html\r\n"),
    ] {
        origin.says(status, headers, "x");
        clock.advance(DEFAULT_FRESH);
        assert_eq!(*remote.get(&origin.url).await.unwrap(), "a", "{status}");
    }
    clock.advance(MAX_STALE);
    assert!(
        remote.get(&origin.url).await.is_err(),
        "too old to be believed"
    );

    origin.says("200 OK", JSON, "b");
    clock.advance(AFTER_FAILURE);
    assert_eq!(*remote.get(&origin.url).await.unwrap(), "b");
    origin.says("410 Gone", "", "");
    clock.advance(DEFAULT_FRESH);
    assert_eq!(
        remote.get(&origin.url).await.unwrap_err(),
        RemoteError::Status(410)
    );
}

#[tokio::test]
async fn a_crowd_costs_the_origin_one_request() {
    let (origin, clock) = (Origin::start().await, clock());
    let remote = remote(&clock);
    origin.says("200 OK", JSON, "a");
    origin.delay.store(50, Ordering::Relaxed);
    let crowd = (0..20).map(|_| remote.get(&origin.url));
    for result in futures_util::future::join_all(crowd).await {
        assert_eq!(*result.unwrap(), "a");
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_stranger_cannot_use_us_to_flood_a_host() {
    let (origin, clock) = (Origin::start().await, clock());
    let remote = remote(&clock);
    origin.says("404 Not Found", "", "");
    let mut busy = 0;
    for n in 0..100 {
        let url = format!("{}?{n}", origin.url.as_str());
        let error = remote.get(&DocumentUrl::parse(&url, true).unwrap()).await;
        busy += usize::from(error.unwrap_err() == RemoteError::Busy);
    }
    assert_eq!(origin.requests() + busy, 100);
    assert!(origin.requests() <= 20, "{}", origin.requests());
}

#[tokio::test]
async fn a_flood_of_urls_does_not_push_out_what_was_read() {
    let (origin, clock) = (Origin::start().await, clock());
    let remote = remote(&clock);
    origin.says("200 OK", JSON, "a");
    remote.get(&origin.url).await.unwrap();
    for n in 0..2 * CAPACITY {
        remote.slot(&format!("https://evil.example/{n}"));
    }
    assert!(remote.slots.lock().unwrap().len() <= CAPACITY);
    remote.get(&origin.url).await.unwrap();
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_newer_document_is_looked_for_now_and_then_only() {
    let (origin, clock) = (Origin::start().await, clock());
    let remote = remote(&clock);
    origin.says("200 OK", JSON, "a");
    let known = remote.get(&origin.url).await.unwrap();
    origin.says("200 OK", JSON, "b");
    assert!(remote.newer(&origin.url, &known).await.is_none());
    clock.advance(AFTER_FAILURE);
    assert_eq!(*remote.newer(&origin.url, &known).await.unwrap(), "b");
    assert_eq!(*remote.newer(&origin.url, &known).await.unwrap(), "b");
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn in_production_nothing_on_this_computer_is_read() {
    let (origin, clock) = (Origin::start().await, clock());
    let mut remote = remote(&clock);
    remote.way = Arc::new(Way::new(false, None, Some(Trust::nobody().unwrap())));
    assert!(remote.get(&origin.url).await.is_err());
    assert_eq!(origin.requests(), 0);
}

/// Whoever names a document would otherwise learn what names resolve to inside, and which ports answer.
#[test]
fn a_stranger_learns_nothing_of_the_network_from_a_document_that_cannot_be_read() {
    for (error, inside) in [
        (
            RemoteError::Address("db.corp.example is refused: 10.1.2.3 is private".to_owned()),
            "10.1.2.3",
        ),
        (
            RemoteError::Unreachable("cannot connect to h: Connection refused".to_owned()),
            "Connection refused",
        ),
    ] {
        assert!(!error.to_string().contains(inside), "{error}");
        assert!(error.inside().contains(inside), "the log has it");
        let page = crate::clients::UnknownClient::Document(error).to_string();
        assert!(!page.contains(inside), "{page}");
    }
}
