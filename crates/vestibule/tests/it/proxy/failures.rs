//! Upstreams that are away, silent, broken or hostile; and many users at once.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::rig::{
    Front, SSE_HEAD, ask, canned, connect, get, gone, nobody, read_message, status, upstream,
    within,
};

fn json_rpc_error(body: &str) -> (i64, String) {
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["jsonrpc"], "2.0");
    assert!(body["id"].is_null());
    let message = body["error"]["message"].as_str().unwrap();
    (body["error"]["code"].as_i64().unwrap(), message.to_owned())
}

#[tokio::test]
async fn an_upstream_that_is_away_is_a_502_with_a_reference() {
    let front = Front::to(nobody().await).start().await;
    let (head, body) = ask(front, &get("/mcp")).await;
    assert_eq!(status(&head), 502);
    assert!(head.contains("content-type: application/json"), "{head}");
    let (code, message) = json_rpc_error(&body);
    assert_eq!(code, -32603);
    assert!(
        message.contains("cannot be reached") && message.contains("(reference "),
        "{message}"
    );
    assert!(
        !body.contains("127.0.0.1"),
        "inner addresses stay inside: {body}"
    );
}

#[tokio::test]
async fn what_is_not_passed_on_is_refused_with_a_reference() {
    let front = Front {
        max_body_bytes: 8,
        ..Front::to(nobody().await)
    }
    .start()
    .await;
    let plain = get("/mcp");
    let long = "Content-Length: 9\r\n\r\nnine byte";
    for (request, expected) in [
        (get("/mcp/../other"), 404),
        (plain.replace("GET ", "TRACE "), 405),
        (plain.replace("\r\n\r\n", &format!("\r\n{long}")), 413),
        (
            plain.replace("\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n"),
            403,
        ),
    ] {
        let (head, body) = ask(front, &request).await;
        assert_eq!(status(&head), expected, "{request}{head}");
        let (code, message) = json_rpc_error(&body);
        assert_eq!(code, -32600);
        assert!(message.contains("(reference "), "{request}{message}");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_a_504_and_its_connection_is_closed() {
    let (left, mut departures) = mpsc::unbounded_channel();
    let upstream = upstream(move |mut stream| {
        let left = left.clone();
        async move {
            gone(&mut stream).await;
            left.send(()).unwrap();
        }
    })
    .await;
    let header_timeout = Duration::from_millis(200);
    let front = Front {
        header_timeout,
        ..Front::to(upstream)
    }
    .start()
    .await;
    let (head, body) = ask(front, &get("/mcp")).await;
    assert_eq!(status(&head), 504);
    assert_eq!(json_rpc_error(&body).0, -32603);
    within(departures.recv()).await.unwrap();
}

#[tokio::test]
async fn garbage_and_early_ends_are_a_502() {
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    for answer in [
        "\0\0\0garbage\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        &huge,
    ] {
        let (upstream, _requests) = canned(answer).await;
        let front = Front::to(upstream).start().await;
        let (head, body) = ask(front, &get("/mcp")).await;
        assert_eq!(status(&head), 502, "{}", &answer[..20]);
        assert_eq!(json_rpc_error(&body).0, -32603);
    }
}

#[tokio::test]
async fn an_upstream_that_closes_its_half_without_an_answer_is_a_502() {
    for said in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let upstream = upstream(move |mut stream| async move {
            read_message(&mut stream).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            gone(&mut stream).await;
        })
        .await;
        let front = Front::to(upstream).start().await;
        let (head, body) = ask(front, &get("/mcp")).await;
        assert_eq!(status(&head), 502, "{said}");
        assert_eq!(json_rpc_error(&body).0, -32603);
    }
}

#[tokio::test]
async fn half_an_answer_head_is_a_504_and_no_hang() {
    let upstream = upstream(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConte").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let header_timeout = Duration::from_millis(400);
    let front = Front {
        header_timeout,
        ..Front::to(upstream)
    };
    let (head, body) = ask(front.start().await, &get("/mcp")).await;
    assert_eq!(status(&head), 504, "{head}");
    assert_eq!(json_rpc_error(&body).0, -32603);
}

#[tokio::test]
async fn an_upload_that_nobody_reads_comes_to_an_end() {
    const LENGTH: usize = 32 * 1024 * 1024;
    let upstream = upstream(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let front = Front {
        header_timeout: Duration::from_millis(400),
        max_body_bytes: LENGTH,
        ..Front::to(upstream)
    }
    .start()
    .await;
    let (mut reader, mut writer) = connect(front).await.into_split();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ada\r\nContent-Length: {LENGTH}\r\n\r\n"
    );
    writer.write_all(head.as_bytes()).await.unwrap();
    let sending = tokio::spawn(async move { writer.write_all(&vec![b'x'; LENGTH]).await });
    // A reset may overtake the answer, since the client is still sending.
    if let Some(answer) = within(read_message(&mut reader)).await {
        assert_eq!(status(&answer), 504, "{answer}");
    }
    sending.abort();
}

#[tokio::test]
async fn an_event_stream_that_breaks_off_does_not_end_in_good_order() {
    let upstream = upstream(|mut stream| async move {
        read_message(&mut stream).await.unwrap();
        stream.write_all(SSE_HEAD).await.unwrap();
        stream
            .write_all(b"9\r\ndata: 1\n\n\r\n20\r\ndata: ")
            .await
            .unwrap();
    })
    .await;
    let mut client = connect(Front::to(upstream).start().await).await;
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = within(tokio::io::AsyncReadExt::read_to_string(
        &mut client,
        &mut text,
    ))
    .await;
    assert!(text.contains("data: 1\n\n"), "{text} {read:?}");
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn a_call_that_may_have_been_delivered_is_not_repeated() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let upstream = upstream(move |mut stream| {
        let seen = seen.clone();
        async move {
            // The first request of a connection is answered, the second one read and dropped.
            while let Some(request) = read_message(&mut stream).await {
                seen.send(request.clone()).unwrap();
                if request.starts_with("POST") {
                    return;
                }
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let front = Front::to(upstream).start().await;
    assert_eq!(status(&ask(front, &get("/mcp")).await.0), 200);
    let post = get("/mcp")
        .replace("GET", "POST")
        .replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(status(&ask(front, &post).await.0), 502);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut posts = 0;
    while let Ok(request) = requests.try_recv() {
        posts += usize::from(request.starts_with("POST"));
    }
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let upstream = upstream(|mut stream| async move {
        read_message(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await
            .unwrap();
    })
    .await;
    let front = Front::to(upstream).start().await;
    let mut client = connect(front).await;
    client.write_all(get("/mcp").as_bytes()).await.unwrap();
    // Never a short body that looks complete.
    assert!(within(read_message(&mut client)).await.is_none());
}

#[tokio::test]
async fn a_grant_without_a_token_sends_the_user_to_sign_in_and_an_outage_does_not() {
    let (upstream, mut requests) = canned("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let front = Front::to(upstream).start().await;
    for (user, code) in [("nobody", 401), ("unlucky", 503)] {
        let (head, _) = ask(front, &get("/mcp").replace("ada", user)).await;
        assert_eq!(status(&head), code);
        assert_eq!(head.contains("www-authenticate"), code == 401, "{head}");
        assert_eq!(head.contains("retry-after"), code == 503, "{head}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t28_concurrent_users_through_one_pool_see_only_their_own_answers() {
    // Echoes credential and body after a random-looking pause, so that answers overtake each other.
    let upstream = upstream(|stream| async move {
        let service =
            hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
                let user = request.headers()["authorization"]
                    .to_str()
                    .unwrap()
                    .to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let pause = u64::from(body.iter().copied().fold(0_u8, u8::wrapping_add) % 7);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let text = format!("{user} {}", String::from_utf8_lossy(&body));
                Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(text))))
            });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    })
    .await;
    let front = Front::to(upstream).start().await;
    let users = (0..40).map(|user| async move {
        let mut client = connect(front).await;
        for number in 0..25 {
            let body = format!("{{\"user\":{user},\"id\":{number}}}");
            let length = body.len();
            let request = format!(
                "POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer user{user}\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            client.write_all(request.as_bytes()).await.unwrap();
            let answer = within(read_message(&mut client)).await.unwrap();
            let expected = format!("\r\n\r\nBearer provider.user{user} {body}");
            assert!(answer.ends_with(&expected), "{answer}");
        }
    });
    let users: Vec<_> = users.map(tokio::spawn).collect();
    for user in users {
        user.await.unwrap();
    }
}
