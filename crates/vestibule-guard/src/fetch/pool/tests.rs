//! Raw servers on loopback that say what becomes of their connections.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::connect::Trust;
use super::super::{AddressPolicy, Protocol};
use super::*;

const SOON: Duration = Duration::from_secs(5);

fn connections() -> Connections {
    let trust = Trust::nobody().unwrap();
    let policy = AddressPolicy::LoopbackOnly;
    Connections::new(Connector::new(policy, None, &trust, Protocol::Http1, SOON))
}

fn to(address: SocketAddr, body: &'static str) -> Box<Request<OutgoingBody>> {
    let body = OutgoingBody::full(Full::from(body));
    let request = Request::post(format!("http://{address}/")).body(body);
    Box::new(request.unwrap())
}

async fn whole(response: Response<Answer>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// What happens at a server: connections are numbered.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Opened(usize),
    Asked(usize),
    Closed(usize),
}

/// A server that gives the answers one after the other on each connection; after the last one it `closes` it, or waits
/// for the client to do so.
async fn server(
    answers: &'static [&'static str],
    closes: bool,
) -> (SocketAddr, mpsc::UnboundedReceiver<Event>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            tell.send(Event::Opened(number)).unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                for answer in answers {
                    let mut head = Vec::new();
                    // Every request here has a body of two bytes.
                    while !head.ends_with(b"\r\n\r\n{}") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return drop(tell.send(Event::Closed(number))),
                        }
                    }
                    tell.send(Event::Asked(number)).unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                if !closes {
                    let _ = stream.read_u8().await;
                }
                drop(stream);
                let _ = tell.send(Event::Closed(number));
            });
        }
    });
    (address, told)
}

async fn next(events: &mut mpsc::UnboundedReceiver<Event>) -> Event {
    timeout(SOON, events.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn exchanges_share_a_connection_however_their_answers_end() {
    let (address, mut events) = server(
        &[
            "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ],
        false,
    )
    .await;
    let connections = connections();
    assert_eq!(free_after(&connections, address, 5).await, 1);
    assert_eq!(next(&mut events).await, Event::Opened(0));
    for _ in 0..5 {
        assert_eq!(next(&mut events).await, Event::Asked(0));
    }
}

/// Asks `times` and gives how many connections are free in the end.
async fn free_after(connections: &Connections, address: SocketAddr, times: usize) -> usize {
    for _ in 0..times {
        let response = connections.send(to(address, "{}")).await.ok().unwrap();
        assert!(response.status().is_success());
        whole(response).await;
    }
    connections.kept.lock().lines.values().map(Vec::len).sum()
}

#[tokio::test]
async fn a_connection_that_was_closed_in_the_meantime_costs_nobody_a_request() {
    let answers = &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"];
    let (address, mut events) = server(answers, true).await;
    let connections = connections();
    for number in 0..3 {
        let response = connections.send(to(address, "{}")).await.ok().unwrap();
        assert_eq!(whole(response).await, "ok");
        for event in [
            Event::Opened(number),
            Event::Asked(number),
            Event::Closed(number),
        ] {
            assert_eq!(next(&mut events).await, event);
        }
    }
}

#[tokio::test]
async fn an_answer_that_says_it_is_the_last_one_leaves_no_connection() {
    let (address, mut events) = server(
        &["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"],
        false,
    )
    .await;
    let connections = connections();
    assert_eq!(free_after(&connections, address, 1).await, 0);
    assert_eq!(next(&mut events).await, Event::Opened(0));
    assert_eq!(next(&mut events).await, Event::Asked(0));
    assert_eq!(next(&mut events).await, Event::Closed(0));
}

#[tokio::test]
async fn who_stops_reading_closes_the_connection_at_once() {
    let (address, mut events) = server(
        &["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all of it"],
        false,
    )
    .await;
    let connections = connections();
    let response = connections.send(to(address, "{}")).await.ok().unwrap();
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "not all of it");
    drop(body);
    assert_eq!(next(&mut events).await, Event::Opened(0));
    assert_eq!(next(&mut events).await, Event::Asked(0));
    assert_eq!(next(&mut events).await, Event::Closed(0));
}

#[tokio::test]
async fn a_small_event_on_its_way_does_not_hold_the_buffer_that_it_was_read_into() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n";
    for (event, apart) in [
        ("data: 1\n\n".to_owned(), true),
        ("x".repeat(SMALL + 1), false),
    ] {
        let answer: &'static str = (HEAD.to_owned() + &event).leak();
        let (address, _events) = server(vec![answer].leak(), false).await;
        let response = connections().send(to(address, "{}")).await.ok().unwrap();
        let mut body = response.into_body();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, event);
        assert_eq!(frame.is_unique(), apart, "{} bytes", event.len());
    }
}

#[tokio::test]
async fn a_connection_that_nobody_needs_is_closed_before_the_server_does_it() {
    let (address, mut events) =
        server(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"; 2], false).await;
    let connections = connections();
    assert_eq!(free_after(&connections, address, 1).await, 1);
    for _ in 1..ROUNDS {
        assert!(connections.kept.sweep());
    }
    assert!(!connections.kept.sweep());
    assert_eq!(next(&mut events).await, Event::Opened(0));
    assert_eq!(next(&mut events).await, Event::Asked(0));
    assert_eq!(next(&mut events).await, Event::Closed(0));
}

/// HTTP/1.1 lets a server answer before it has read everything, and a client that has not sent everything may not read yet.
#[tokio::test]
async fn an_upload_goes_on_while_nobody_reads_the_answer() {
    const LENGTH: usize = 8 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut read = stream.read(&mut buffer).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        while read < LENGTH {
            read += stream.read(&mut buffer).await.unwrap();
        }
    });
    let (sender, chunks) = mpsc::channel::<Bytes>(1);
    let chunks = futures_util::stream::unfold(chunks, |mut chunks| async move {
        let chunk = chunks.recv().await?;
        Some((Ok::<_, BoxError>(Frame::data(chunk)), chunks))
    });
    let body = OutgoingBody::stream(StreamBody::new(chunks));
    let request = Request::post(format!("http://{address}/")).body(body);
    let request = Box::new(request.unwrap());
    sender.send(Bytes::from(vec![1; 1 << 10])).await.unwrap();
    let connections = connections();
    let response = timeout(SOON, connections.send(request)).await.unwrap();
    let response = response.ok().unwrap();
    for _ in 0..LENGTH >> 16 {
        let chunk = Bytes::from(vec![1; 1 << 16]);
        timeout(SOON, sender.send(chunk)).await.unwrap().unwrap();
    }
    timeout(SOON, server).await.unwrap().unwrap();
    drop(response);
    // The connection goes with the answer, and the upload with it.
    timeout(SOON, sender.closed()).await.unwrap();
}

/// What comes with the head goes out with the head.
#[tokio::test]
async fn what_is_here_already_waits_for_nobodys_turn() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe first of them";
    let (address, _events) = server(&[ANSWER], false).await;
    let response = connections().send(to(address, "{}")).await.ok().unwrap();
    let mut body = response.into_body();
    let first = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Some(Ok(frame))) = first else {
        panic!("held back");
    };
    assert_eq!(frame.into_data().unwrap(), "the first of them");
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn who_reads_an_answer_is_woken_by_what_comes_and_not_by_reading_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (say, mut said) = mpsc::unbounded_channel::<&str>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some(text) = said.recv().await {
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    say.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        .unwrap();
    let response = connections().send(to(address, "{}")).await.ok().unwrap();
    let mut body = response.into_body();
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    for text in ["one", "two"] {
        assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
        woken.0.store(0, Ordering::SeqCst);
        say.send(text).unwrap();
        let came = async {
            while woken.0.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, came).await.unwrap();
        // A turn to read it, and after those of the others one to pass it on.
        assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
        assert_eq!(woken.0.load(Ordering::SeqCst), 2, "by itself: {text}");
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else {
            panic!("woken for nothing");
        };
        assert_eq!(frame.into_data().unwrap(), text);
        assert_eq!(woken.0.load(Ordering::SeqCst), 2, "by what came: {text}");
    }
}
