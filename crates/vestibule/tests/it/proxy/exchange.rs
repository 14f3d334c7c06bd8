//! One request, one answer: headers, paths, credentials, challenges, CORS.

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue};
use tokio::io::AsyncWriteExt as _;
use vestibule::proxy::Credential;

use super::rig::{Front, METADATA, ask, canned, get, read_message, status, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn t18_the_clients_token_and_identity_headers_never_reach_the_upstream() {
    let (upstream, mut requests) = canned(OK).await;
    let address = upstream.to_string();
    let front = Front::to(upstream).start().await;
    let request = "POST /mcp?x=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer client-secret\r\nCookie: a=b\r\n\
        X-Forwarded-For: 1.2.3.4\r\nX-Amzn-Bedrock-AgentCore-Runtime-User-Id: eve\r\nOrigin: http://localhost:1\r\n\
        Connection: X-Hop\r\nX-Hop: y\r\nMcp-Session-Id: s\r\nMCP-Protocol-Version: 2026-07-28\r\n\
        Mcp-Param-Region: eu\r\nLast-Event-ID: 7\r\nAccept: application/json, text/event-stream\r\n\
        Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let (head, body) = ask(front, request).await;
    assert_eq!((status(&head), body.as_str()), (200, "ok"));
    let seen = requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(seen.starts_with("post /up?x=1 http/1.1\r\n"), "{seen}");
    for kept in [
        "mcp-session-id: s",
        "mcp-protocol-version: 2026-07-28",
        "mcp-param-region: eu",
        "last-event-id: 7",
        "accept: application/json, text/event-stream",
        "content-type: application/json",
        "content-length: 2",
        "authorization: bearer provider.client-secret",
        &format!("host: {address}"),
    ] {
        assert!(seen.contains(&format!("\r\n{kept}\r\n")), "{kept}: {seen}");
    }
    for dropped in [
        "cookie",
        "x-forwarded",
        "x-amzn",
        "origin",
        "x-hop",
        "bearer client-secret",
    ] {
        assert!(!seen.contains(dropped), "{dropped}: {seen}");
    }
    assert_eq!(seen.matches("\r\nauthorization:").count(), 1);
    assert!(seen.ends_with("\r\n\r\n{}"), "{seen}");
}

#[tokio::test]
async fn every_kind_of_credential_replaces_the_clients_own() {
    let mut secret = HeaderValue::from_static("k");
    secret.set_sensitive(true);
    let (name, value) = (HeaderName::from_static("x-api-key"), secret);
    for (credential, expected) in [
        (Credential::None, None),
        (
            Credential::ProviderToken,
            Some("authorization: bearer provider.ada"),
        ),
        (
            Credential::VestibuleToken {
                audience: "up".into(),
            },
            Some("authorization: bearer ours.up.ada"),
        ),
        (Credential::Header { name, value }, Some("x-api-key: k")),
    ] {
        let (upstream, mut requests) = canned(OK).await;
        let front = Front {
            credential: credential.clone(),
            ..Front::to(upstream)
        }
        .start()
        .await;
        let request = get("/mcp").replace("\r\n\r\n", "\r\nX-Api-Key: stolen\r\n\r\n");
        assert_eq!(status(&ask(front, &request).await.0), 200);
        let seen = requests.recv().await.unwrap().to_ascii_lowercase();
        assert!(!seen.contains("bearer ada"), "{credential:?}: {seen}");
        match expected {
            Some(header) => assert!(seen.contains(header), "{credential:?}: {seen}"),
            None => assert!(!seen.contains("authorization"), "{seen}"),
        }
        if matches!(credential, Credential::Header { .. }) {
            assert!(!seen.contains("stolen"), "{seen}");
        }
    }
}

#[tokio::test]
async fn an_upstream_cannot_speak_for_our_origin() {
    let (upstream, _requests) = canned(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nServer: x\r\n\
         Strict-Transport-Security: max-age=1\r\nAlt-Svc: h3=\":1\"\r\nWWW-Authenticate: Basic realm=x\r\n\
         Mcp-Session-Id: s\r\nConnection: X-Hop\r\nX-Hop: y\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let front = Front::to(upstream).start().await;
    let (head, _) = ask(front, &get("/mcp")).await;
    assert!(head.contains("\r\nmcp-session-id: s"), "{head}");
    for dropped in [
        "set-cookie",
        "access-control",
        "server",
        "strict-transport",
        "alt-svc",
        "www-auth",
        "x-hop",
    ] {
        assert!(!head.contains(dropped), "{dropped}: {head}");
    }
}

#[tokio::test]
async fn t21_paths_that_could_leave_the_prefix_never_reach_the_upstream() {
    let (upstream, mut requests) = canned(OK).await;
    let front = Front::to(upstream).start().await;
    for path in [
        "/mcp/../admin",
        "/mcp/%2e%2e/admin",
        "/mcp/%252e%252e/admin",
        "/mcp/a%2fb",
        "/mcp/a%5cb",
        "/mcp//evil.example",
        "/mcp/..;/admin",
        "/mcp/%00",
        "/mcp/.well-known/oauth-protected-resource",
        "/mcpx",
    ] {
        let (head, body) = ask(front, &get(path)).await;
        assert_eq!(status(&head), 404, "{path}");
        assert!(body.contains("\"jsonrpc\":\"2.0\""), "{path}: {body}");
    }
    assert!(requests.try_recv().is_err());
    for (path, expected) in [
        ("/mcp/", "GET /up "),
        ("/mcp/a%20b?c=%2e", "GET /up/a%20b?c=%2e "),
    ] {
        assert_eq!(status(&ask(front, &get(path)).await.0), 200);
        let seen = requests.recv().await.unwrap();
        assert!(seen.starts_with(expected), "{seen}");
    }
}

#[tokio::test]
async fn nobody_gets_through_without_a_token_whatever_the_method() {
    let (upstream, mut requests) = canned(OK).await;
    let front = Front::to(upstream).start().await;
    for method in ["GET", "POST", "DELETE", "PUT", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/mcp", "/mcp/", "/mcp/below", "/mcp/../x"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
            let (head, _) = ask(front, &request).await;
            assert_eq!(status(&head), 401, "{method} {path}");
            let challenge = format!(
                "\r\nwww-authenticate: bearer resource_metadata=\"{METADATA}\", scope=\"mcp/read\"\r\n"
            );
            assert!(head.contains(&challenge), "{head}");
        }
    }
    let request = "GET /mcp/.well-known/openid-configuration HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(
        status(&ask(front, request).await.0),
        404,
        "ours alone, signed in or not"
    );
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn trace_does_not_show_the_credential() {
    let (upstream, mut requests) = canned(OK).await;
    let front = Front::to(upstream).start().await;
    let request = get("/mcp").replace("GET", "TRACE");
    let (head, body) = ask(front, &request).await;
    assert_eq!(status(&head), 405);
    assert!(body.contains("\"jsonrpc\":\"2.0\""), "{body}");
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn challenges_of_the_upstream_become_ours() {
    const FOREIGN: &str = "Bearer error=\"insufficient_scope\", scope=\"mcp/write\", resource_metadata=\"https://inner/x\"";
    let answer = |status: &str, header: &str| {
        format!("HTTP/1.1 {status}\r\n{header}: {FOREIGN}\r\nContent-Length: 5\r\n\r\ninner")
    };
    for (name, header) in [
        ("401 Unauthorized", "WWW-Authenticate"),
        ("401 X", "x-amzn-Remapped-WWW-Authenticate"),
    ] {
        let (upstream, _requests) = canned(answer(name, header)).await;
        let front = Front::to(upstream).start().await;
        let (head, body) = ask(front, &get("/mcp")).await;
        assert_eq!(status(&head), 401);
        assert!(
            head.contains("www-authenticate: bearer error=\"invalid_token\""),
            "{head}"
        );
        assert!(
            head.contains(METADATA) && !head.contains("inner") && !body.contains("inner"),
            "{head}"
        );
    }
    for header in ["WWW-Authenticate", "x-amzn-Remapped-WWW-Authenticate"] {
        let (upstream, _requests) = canned(answer("403 Forbidden", header)).await;
        let front = Front::to(upstream).start().await;
        let (head, _) = ask(front, &get("/mcp")).await;
        assert_eq!(status(&head), 403);
        assert!(head.contains("error=\"insufficient_scope\""), "{head}");
        assert!(
            head.contains("scope=\"mcp/read mcp/write\""),
            "granted and needed: {head}"
        );
        assert!(!head.contains("inner"), "{head}");
    }
    let (upstream, _requests) = canned(
        "HTTP/1.1 403 Forbidden\r\nWWW-Authenticate: Bearer\r\nContent-Length: 5\r\n\r\nnever",
    )
    .await;
    let front = Front::to(upstream).start().await;
    let (head, body) = ask(front, &get("/mcp")).await;
    assert_eq!((status(&head), body.as_str()), (403, "never"));
    assert!(!head.contains("www-authenticate"), "{head}");
}

#[tokio::test]
async fn a_credential_that_is_not_the_users_does_not_send_users_to_sign_in() {
    let (upstream, _requests) = canned("HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n").await;
    let front = Front {
        credential: Credential::None,
        ..Front::to(upstream)
    }
    .start()
    .await;
    let (head, _) = ask(front, &get("/mcp")).await;
    assert_eq!(status(&head), 502);
}

#[tokio::test]
async fn statuses_and_bodies_of_the_upstream_are_untouched() {
    for code in [
        200, 202, 204, 400, 403, 404, 405, 406, 410, 415, 429, 500, 503,
    ] {
        let body = if code == 204 { "" } else { "as is" };
        let length = body.len();
        let answer = if code == 204 {
            "HTTP/1.1 204 X\r\n\r\n".to_owned()
        } else {
            format!("HTTP/1.1 {code} X\r\nContent-Length: {length}\r\nRetry-After: 3\r\n\r\n{body}")
        };
        let (upstream, _requests) = canned(answer).await;
        let front = Front::to(upstream).start().await;
        let (head, answer) = ask(front, &get("/mcp")).await;
        assert_eq!((status(&head), answer.as_str()), (code, body));
    }
}

#[tokio::test]
async fn redirects_inside_the_upstream_stay_inside_the_resource() {
    for (location, expected) in [
        ("/up/", Some("/mcp/")),
        ("http://{upstream}/up/x?y", Some("/mcp/x?y")),
        ("/elsewhere", None),
        ("http://{upstream}/elsewhere", None),
        ("http://{upstream}/upper", None),
        ("https://docs.example/", Some("https://docs.example/")),
    ] {
        let front = Front::to(redirecting(location).await).start().await;
        let (head, _) = ask(front, &get("/mcp")).await;
        assert_eq!(status(&head), 307);
        let found = head
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        assert_eq!(found, expected, "{location}");
    }
}

/// An upstream that redirects to `location`, where `{upstream}` stands for itself.
async fn redirecting(location: &'static str) -> SocketAddr {
    upstream(move |mut stream| async move {
        let own = stream.local_addr().unwrap().to_string();
        while read_message(&mut stream).await.is_some() {
            let location = location.replace("{upstream}", &own);
            let answer =
                format!("HTTP/1.1 307 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_foreign_page_is_turned_away_and_a_local_one_may_read() {
    let (upstream, mut requests) = canned(OK).await;
    let front = Front::to(upstream).start().await;
    let with_origin =
        |origin: &str| get("/mcp").replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
    let (head, body) = ask(front, &with_origin("https://evil.example")).await;
    assert_eq!(status(&head), 403);
    assert!(
        body.contains("\"jsonrpc\":\"2.0\"") && !head.contains("access-control"),
        "{head}"
    );
    assert!(requests.try_recv().is_err());
    let (head, _) = ask(front, &with_origin("http://localhost:6274")).await;
    assert_eq!(status(&head), 200);
    assert!(
        head.contains("\r\naccess-control-allow-origin: http://localhost:6274"),
        "{head}"
    );
    assert!(
        head.contains("access-control-expose-headers: www-authenticate, mcp-session-id"),
        "{head}"
    );
    let signed_out = "POST /mcp HTTP/1.1\r\nHost: h\r\nOrigin: http://localhost:6274\r\nContent-Length: 0\r\n\r\n";
    let (head, _) = ask(front, signed_out).await;
    assert_eq!(status(&head), 401);
    assert!(
        head.contains("access-control-allow-origin"),
        "a page must be able to read the challenge: {head}"
    );
    let preflight = "OPTIONS /mcp HTTP/1.1\r\nHost: h\r\nOrigin: http://localhost:6274\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n";
    assert_eq!(status(&ask(front, preflight).await.0), 204);
}
