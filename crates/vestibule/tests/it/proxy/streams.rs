//! Bodies that take their time: events, uploads, slow readers, clients that leave (design law 11).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::rig::{
    Front, SSE_HEAD, ask, connect, get, gone, read_head, read_message, status, upstream, within,
};

const CHUNKED_POST: &[u8] =
    b"POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ada\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn paced_events_arrive_paced() {
    let pace = Duration::from_millis(150);
    let upstream = upstream(move |mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(SSE_HEAD).await.unwrap();
        for number in 0..4 {
            tokio::time::sleep(pace).await;
            let event = format!("data: {number}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            stream.write_all(chunk.as_bytes()).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let front = Front::to(upstream).start().await;
    let mut client = connect(front).await;
    let start = Instant::now();
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    let head = within(read_head(&mut client))
        .await
        .unwrap()
        .to_ascii_lowercase();
    assert!(
        start.elapsed() < pace,
        "the head must not wait for the first event"
    );
    assert!(head.contains("x-accel-buffering: no"), "{head}");
    assert!(
        head.contains("cache-control: no-cache, no-transform"),
        "{head}"
    );
    let mut text = String::new();
    for number in 0..4_u32 {
        let wanted = format!("data: {number}\n\n");
        while !text.contains(&wanted) {
            let mut part = [0; 512];
            let length = within(client.read(&mut part)).await.unwrap();
            text.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
        let next = format!("data: {}", number + 1);
        assert!(
            !text.contains(&next),
            "event {} came together with {number}",
            number + 1
        );
        assert!(start.elapsed() >= pace * (number + 1));
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_takes_the_upstream_request_with_it() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let (left, mut departures) = mpsc::unbounded_channel();
    let upstream = upstream(move |mut stream| {
        let (arrived, left) = (arrived.clone(), left.clone());
        async move {
            read_message(&mut stream).await.unwrap();
            arrived.send(()).unwrap();
            gone(&mut stream).await;
            left.send(()).unwrap();
        }
    })
    .await;
    let front = Front::to(upstream).start().await;
    let mut client = connect(front).await;
    let post = get("/mcp")
        .replace("GET", "POST")
        .replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\n{}");
    client.write_all(post.as_bytes()).await.unwrap();
    within(arrivals.recv()).await.unwrap();
    assert!(departures.try_recv().is_err());
    let start = Instant::now();
    drop(client);
    within(departures.recv()).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_client_that_leaves_a_quiet_stream_takes_the_upstream_connection_with_it() {
    let (left, mut departures) = mpsc::unbounded_channel();
    let upstream = upstream(move |mut stream| {
        let left = left.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(SSE_HEAD).await.unwrap();
            stream.write_all(b"3\r\n: \n\r\n").await.unwrap();
            // Nothing is written any more: only the connection itself can tell that the client left.
            gone(&mut stream).await;
            left.send(()).unwrap();
        }
    })
    .await;
    let front = Front::to(upstream).start().await;
    let mut client = connect(front).await;
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    within(read_head(&mut client)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(departures.try_recv().is_err());
    let start = Instant::now();
    drop(client);
    within(departures.recv()).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_slow_reader_slows_the_upstream_down() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let upstream = upstream(move |mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            read_head(&mut stream).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let block = vec![b'x'; 64 * 1024];
            while counter.load(Ordering::SeqCst) < TOTAL {
                let length = stream.write(&block).await.unwrap();
                counter.fetch_add(length, Ordering::SeqCst);
            }
        }
    })
    .await;
    let front = Front::to(upstream).start().await;
    let mut client = connect(front).await;
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    within(read_head(&mut client)).await.unwrap();
    // Wait until nothing moves any more.
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = written.load(Ordering::SeqCst);
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    // What the kernel's four socket buffers hold, and little more: an unbounded queue would have taken all 64 MiB.
    assert!(before < 24 * 1024 * 1024, "{before} bytes in flight");
    let mut rest = vec![0; 256 * 1024];
    let mut received = 0;
    while received < TOTAL {
        let length = within(client.read(&mut rest)).await.unwrap();
        assert!(length > 0, "ended after {received} bytes");
        received += length;
    }
    assert_eq!(received, TOTAL);
}

#[tokio::test]
async fn a_slow_upstream_slows_the_upload_down() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let (go, went) = tokio::sync::watch::channel(false);
    let upstream = upstream(move |mut stream| {
        let mut went = went.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            went.wait_for(|go| *go).await.unwrap();
            let mut block = vec![0; 256 * 1024];
            let mut left = TOTAL;
            while left > 0 {
                left -= stream.read(&mut block).await.unwrap();
            }
            stream
                .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
        }
    })
    .await;
    let front = Front {
        max_body_bytes: TOTAL,
        ..Front::to(upstream)
    }
    .start()
    .await;
    let mut client = connect(front).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ada\r\nContent-Length: {TOTAL}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let block = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    let pause = Duration::from_millis(500);
    while let Ok(length) = tokio::time::timeout(pause, client.write(&block)).await {
        sent += length.unwrap();
        assert!(sent < 24 * 1024 * 1024, "{sent} bytes in flight");
    }
    go.send(true).unwrap();
    while sent < TOTAL {
        let next = block.len().min(TOTAL - sent);
        sent += within(client.write(&block[..next])).await.unwrap();
    }
    let head = within(read_head(&mut client)).await.unwrap();
    assert_eq!(status(&head), 202);
}

#[tokio::test]
async fn an_upload_reaches_the_upstream_before_it_is_complete() {
    let (seen, mut sightings) = mpsc::unbounded_channel();
    let upstream = upstream(move |mut stream| {
        let seen = seen.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            let mut text = String::new();
            while !text.ends_with("0\r\n\r\n") {
                let mut part = [0; 512];
                let length = stream.read(&mut part).await.unwrap();
                text.push_str(std::str::from_utf8(&part[..length]).unwrap());
                seen.send(text.clone()).unwrap();
            }
            stream
                .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
        }
    })
    .await;
    let front = Front::to(upstream).start().await;
    let mut client = connect(front).await;
    client.write_all(CHUNKED_POST).await.unwrap();
    client.write_all(b"5\r\nfirst\r\n").await.unwrap();
    while !within(sightings.recv()).await.unwrap().contains("first") {}
    client.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
    let head = within(read_head(&mut client)).await.unwrap();
    assert_eq!(status(&head), 202);
}

#[tokio::test]
async fn a_long_upload_is_not_a_silent_upstream() {
    let upstream = upstream(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"0\r\n\r\n") {
            text.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
    })
    .await;
    let header_timeout = Duration::from_millis(600);
    let front = Front {
        header_timeout,
        ..Front::to(upstream)
    }
    .start()
    .await;
    let mut client = connect(front).await;
    client.write_all(CHUNKED_POST).await.unwrap();
    let start = Instant::now();
    while start.elapsed() < header_timeout * 2 {
        client.write_all(b"1\r\nx\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    let head = within(read_head(&mut client)).await.unwrap();
    assert_eq!(status(&head), 202);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let upstream = upstream(|mut stream| async move {
        // Takes everything and never answers.
        gone(&mut stream).await;
    })
    .await;
    let front = Front {
        max_body_bytes: 8,
        ..Front::to(upstream)
    }
    .start()
    .await;
    let announced = "POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ada\r\nContent-Length: 9\r\n\r\n123456789";
    let chunked = format!(
        "{}5\r\n12345\r\n4\r\n6789\r\n0\r\n\r\n",
        String::from_utf8_lossy(CHUNKED_POST)
    );
    for request in [announced, &chunked] {
        let (head, body) = ask(front, request).await;
        assert_eq!(status(&head), 413, "{head}");
        assert!(body.contains("\"jsonrpc\":\"2.0\""), "{body}");
    }
}
