//! From the authorization request to the callback: who may ask, who is answered, and how.

use http::{Method, StatusCode};
use vestibule_standin::cognito::{Endpoint, Fault};

use crate::support::{CALLBACK, Client, ORIGIN, TestHouse, Tokens};

/// obot: `response_type=token` was accepted.
#[tokio::test]
async fn the_implicit_grant_gives_nothing() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    for response_type in ["token", "code token", "id_token", "CODE"] {
        let mut params = TestHouse::authorization(&client, &challenge);
        params[0] = ("response_type", response_type);
        let answer = house
            .browser()
            .get(&TestHouse::authorize_url(&params))
            .await;
        let location = answer.location();
        assert!(location.starts_with(CALLBACK) && !location.contains('#'));
        assert!(!location.contains("access_token"), "{location}");
        assert_eq!(
            answer.location_param("error").as_deref(),
            Some("unsupported_response_type"),
            "{response_type}"
        );
    }
}

/// obot: the provider's refusal ended as JSON in the browser; the client waited for ever.
#[tokio::test]
async fn a_refusal_of_the_provider_is_told_to_the_client() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let approved = house.approve(&mut browser, &client).await;
    let state = approved.location_param("state").unwrap();
    let url = format!("{ORIGIN}/callback?error=access_denied&error_description=no&state={state}");
    let answer = browser.get(&url).await;
    assert!(answer.location().starts_with(CALLBACK));
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(answer.location_param("iss").as_deref(), Some(ORIGIN));
    assert_eq!(
        answer.location_param("state").as_deref(),
        Some("client state &=#+é")
    );
}

/// FastMCP: the text of an exception in the callback page.
#[tokio::test]
async fn what_went_wrong_inside_is_not_in_any_answer() {
    const MARKER: &str = "Traceback-psycopg2-10.1.2.3";
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    for error in ["server_error", "access_denied", MARKER] {
        let approved = house.approve(&mut browser, &client).await;
        let state = approved.location_param("state").unwrap();
        let url = format!(
            "{ORIGIN}/callback?error={error}&error_description=%3Cb%3E{MARKER}&error_uri=https://{MARKER}.example&state={state}"
        );
        let answer = browser.get(&url).await;
        let told = format!("{:?}{}", answer.headers, answer.text());
        assert!(!told.contains(MARKER), "{told}");
    }
    // Nor when there is no flow, and the answer is a page.
    let page = house
        .browser()
        .get(&format!("{ORIGIN}/callback?error={MARKER}&state={MARKER}"))
        .await;
    assert!(page.status.is_client_error() && !page.text().contains(MARKER));

    let code = house.code(&client).await;
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, Some(Fault::Status(500)), Some(1));
    let answer = house
        .post_form("/token", &TestHouse::redemption(&client, &code))
        .await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let text = answer.text();
    assert!(
        !text.contains("500") && !text.contains("127.0.0.1") && !text.contains("oauth2/token"),
        "{text}"
    );
}

/// obot: any page could read answers with the user's cookies.
#[tokio::test]
async fn no_answer_allows_every_origin_together_with_credentials() {
    let house = TestHouse::new().await;
    let origin = [("origin", "https://evil.example")];
    let preflight = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/jwks.json",
        "/register",
        "/token",
        "/revoke",
        "/authorize",
        "/consent",
        "/callback",
        "/mcp",
        "/healthz",
    ] {
        for (method, headers) in [
            (Method::GET, &origin[..]),
            (Method::POST, &origin[..]),
            (Method::OPTIONS, &preflight[..]),
        ] {
            let answer = house.request(method.clone(), path, headers, "").await;
            assert_eq!(
                answer.header("access-control-allow-credentials"),
                "",
                "{method} {path}"
            );
            if ["/authorize", "/consent", "/callback", "/mcp"].contains(&path) {
                let allowed = answer.header("access-control-allow-origin");
                assert!(
                    allowed.is_empty() || allowed == "null" && path == "/mcp",
                    "{method} {path}: {allowed}"
                );
            }
        }
    }
}

/// FastMCP: whoever knew the upstream's client id, which is in every redirect to it, was a client with any redirect URI.
#[tokio::test]
async fn the_client_id_at_the_provider_is_not_a_client_here() {
    let house = TestHouse::new().await;
    let client = Client {
        id: house.cognito.client_id().to_owned(),
        redirect_uri: "https://evil.example/cb".to_owned(),
        ..house.register(CALLBACK).await
    };
    let challenge = TestHouse::challenge(&client);
    let params = TestHouse::authorization(&client, &challenge);
    let page = house
        .browser()
        .get(&TestHouse::authorize_url(&params))
        .await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert_eq!(page.header("location"), "");
    assert!(!page.text().contains("evil.example"), "{}", page.text());
    let answer = house
        .post_form("/token", &TestHouse::redemption(&client, "x"))
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.error(), "invalid_client");
}

/// FastMCP: an allowed `https://claude.ai` was every path there, and `*` crossed `/`.
#[tokio::test]
async fn a_registered_redirect_uri_is_one_and_no_pattern() {
    let house = TestHouse::new().await;
    for (registered, presented) in [
        ("https://claude.ai/", "https://claude.ai/anything"),
        ("https://claude.ai/cb", "https://claude.ai/cb/"),
        ("https://claude.ai/cb", "https://claude.ai/cb?x=1"),
        ("https://claude.ai/cb", "https://claude.ai.evil.example/cb"),
        ("https://claude.ai/cb", "https://user@claude.ai/cb"),
        ("https://claude.ai/*", "https://claude.ai/a/b"),
        ("https://claude.ai/cb", "https://claude.ai:8443/cb"),
        ("http://localhost:1/cb", "http://localhost:2/cb/deeper"),
    ] {
        let body = serde_json::json!({ "redirect_uris": [registered] });
        let answer = house.post_json("/register", &body).await;
        let Some(id) = answer.json()["client_id"].as_str().map(str::to_owned) else {
            // A pattern need not even be registered.
            assert!(registered.contains('*'), "{registered}: {}", answer.text());
            continue;
        };
        let client = Client {
            id,
            redirect_uri: presented.to_owned(),
            verifier: "v".repeat(43),
        };
        let challenge = TestHouse::challenge(&client);
        let params = TestHouse::authorization(&client, &challenge);
        let page = house
            .browser()
            .get(&TestHouse::authorize_url(&params))
            .await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{presented}");
        assert_eq!(page.header("location"), "", "{presented}");
    }
}

/// FastMCP and workers-oauth-provider: the last one won, or the first.
#[tokio::test]
async fn repeated_parameters_are_not_chosen_from() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    for (name, value) in [
        ("client_id", "desk"),
        ("redirect_uri", "https://evil.example/cb"),
    ] {
        for position in [0, 8] {
            let mut params = TestHouse::authorization(&client, &challenge);
            params.insert(position, (name, value));
            let page = house
                .browser()
                .get(&TestHouse::authorize_url(&params))
                .await;
            assert_eq!(page.status, StatusCode::BAD_REQUEST, "{name}");
            assert_eq!(page.header("location"), "", "{name}");
        }
    }
    for (name, value) in [
        ("code_challenge", "x"),
        ("code_challenge_method", "plain"),
        ("scope", "mcp:read"),
        ("state", "other"),
        ("response_type", "token"),
    ] {
        let mut params = TestHouse::authorization(&client, &challenge);
        params.push((name, value));
        let answer = house
            .browser()
            .get(&TestHouse::authorize_url(&params))
            .await;
        let error = answer.location_param("error");
        assert_eq!(error.as_deref(), Some("invalid_request"), "{name}");
    }
    let code = house.code(&client).await;
    for name in [
        "code",
        "code_verifier",
        "client_id",
        "grant_type",
        "redirect_uri",
    ] {
        let mut form = TestHouse::redemption(&client, &code);
        form.push((name, "other"));
        let answer = house.post_form("/token", &form).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(answer.error(), "invalid_request", "{name}");
    }
}

/// FastMCP: both tabs wrote the same cookie, and one sign-in was lost.
#[tokio::test]
async fn two_tabs_that_approve_at_the_same_moment_both_sign_in() {
    let house = TestHouse::new().await;
    let clients = [
        house.register(CALLBACK).await,
        house.register(CALLBACK).await,
    ];
    let mut browser = house.browser();
    let mut tickets = Vec::new();
    for client in &clients {
        let challenge = TestHouse::challenge(client);
        let params = TestHouse::authorization(client, &challenge);
        let page = browser.get(&TestHouse::authorize_url(&params)).await;
        tickets.push(page.input("ticket"));
    }
    // Both forms leave with the cookies of before; the answers come back in the other order.
    let before = browser.jars.clone();
    let mut approvals = Vec::new();
    let mut after = Vec::new();
    for ticket in &tickets {
        browser.jars.clone_from(&before);
        let form = [("ticket", ticket.as_str()), ("decision", "approve")];
        let answer = browser.post(&format!("{ORIGIN}/consent"), &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        approvals.push(answer.location().to_owned());
        after.push(browser.jars.clone());
    }
    browser.jars = before;
    for jars in after.into_iter().rev() {
        for (host, jar) in jars {
            browser.jars.entry(host).or_default().extend(jar);
        }
    }
    let mut callbacks = Vec::new();
    for url in &approvals {
        let back = browser.sign_in_at_provider(url, "ada", "lovelace").await;
        callbacks.push(back.location().to_owned());
    }
    for (client, url) in clients.iter().zip(callbacks).rev() {
        let answer = browser.get(&url).await;
        let code = answer.location_param("code").unwrap();
        let form = TestHouse::redemption(client, &code);
        Tokens::of(&house.post_form("/token", &form).await);
    }
}
