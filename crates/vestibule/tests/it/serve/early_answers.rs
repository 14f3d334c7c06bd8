//! An answer that is given before the request's body has come, as a proxy sees it that sends head and body apart.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{GENEROUS, House, between, closes_after, expect, is_open, send};

/// The head of a POST to where only GET is answered, so that no part of the body is read.
async fn begin_post(house: &House, headers: &str) -> TcpStream {
    let mut stream = house.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: h\r\n{headers}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_small_body_on_its_way_arrives_before_the_answer_that_did_not_want_it() {
    let house = House::open(GENEROUS);
    for (headers, body) in [
        ("content-length: 5", "12345"),
        ("transfer-encoding: chunked", "5\r\n12345\r\n0\r\n\r\n"),
    ] {
        let mut stream = begin_post(&house, headers).await;
        assert!(is_open(&mut stream, 150).await, "{headers}: no answer yet");
        stream.write_all(body.as_bytes()).await.unwrap();
        expect(&mut stream, "405 Method Not Allowed").await;
        send(&mut stream, "/").await;
        expect(&mut stream, "hello").await;
    }
}

#[tokio::test]
async fn a_large_body_and_one_that_was_not_sent_are_not_waited_for() {
    let house = House::open(GENEROUS);
    for headers in [
        "content-length: 65537",
        "content-length: 5\r\nexpect: 100-continue",
    ] {
        let start = Instant::now();
        let mut stream = begin_post(&house, headers).await;
        expect(&mut stream, "405 Method Not Allowed").await;
        between(start.elapsed(), 0, 900);
    }
}

#[tokio::test]
async fn a_small_body_that_never_comes_holds_an_answer_up_for_a_second() {
    let house = House::open(GENEROUS);
    let start = Instant::now();
    let mut stream = begin_post(&house, "content-length: 5").await;
    expect(&mut stream, "405 Method Not Allowed").await;
    closes_after(&mut stream).await;
    between(start.elapsed(), 990, 3000);
}

#[tokio::test]
async fn a_body_without_an_end_holds_an_answer_up_until_it_is_no_small_one() {
    let house = House::open(GENEROUS);
    let start = Instant::now();
    let mut stream = begin_post(&house, "transfer-encoding: chunked").await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for _ in 0..5 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    expect(&mut stream, "405 Method Not Allowed").await;
    between(start.elapsed(), 0, 900);
}
