//! The code grant (RFC 6749 §4.1.3): what binds a code, and that nothing else redeems it.

use serde_json::json;
use vestibule_standin::cognito::Endpoint;

use crate::support::{CALLBACK, Client, MCP, ORIGIN, TestHouse, Tokens};

/// The form of a good redemption with one field replaced, added or (with `None`) left out.
fn but<'a>(
    form: &[(&'static str, &'a str)],
    name: &'static str,
    value: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    let mut form: Vec<_> = form
        .iter()
        .copied()
        .filter(|(own, _)| *own != name)
        .collect();
    form.extend(value.map(|value| (name, value)));
    form
}

/// Fails unless the provider was never asked and the code is still good: the refusal cost its owner nothing.
async fn assert_still_good(house: &TestHouse, client: &Client, code: &str) {
    let calls = house.cognito.control().calls(Endpoint::Token);
    assert_eq!(calls, 0, "the provider was asked");
    let tokens = Tokens::of(&house.redeem(client, code).await);
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn a_sign_in_gives_tokens_that_open_the_door() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let answer = house.redeem(&client, &code).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let body = answer.json();
    let mut names: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    names.sort();
    let expected = [
        "access_token",
        "expires_in",
        "refresh_token",
        "scope",
        "token_type",
    ];
    assert_eq!(names, expected);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "mcp:read mcp:write");
    assert_eq!(body["expires_in"], 3600);
    let tokens = Tokens::of(&answer);
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    assert_eq!(house.call("x", &hello).await.status, 401);
    assert_ne!(house.call(&tokens.access, &hello).await.status, 401);
    assert_eq!(
        house.whoami(&tokens.access).await["claims"]["email"],
        "ada@example.com"
    );
}

#[tokio::test]
async fn expires_in_is_the_truth() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    house.clock.advance(tokens.expires_in - 1);
    house.whoami(&tokens.access).await;
    house.clock.advance(1);
    house.assert_shut(&tokens.access, "one second later").await;
}

#[tokio::test]
async fn a_code_works_for_the_client_redirect_uri_and_verifier_it_was_made_for_only() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let thief = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let good = TestHouse::redemption(&client, &code);
    assert_ne!(client.id, thief.id);
    for (why, form) in [
        (
            "t: a stolen code at another client",
            but(&good, "client_id", Some(&thief.id)),
        ),
        (
            "a stolen code at a known client",
            but(&good, "client_id", Some("desk")),
        ),
        (
            "another's verifier",
            but(&good, "code_verifier", Some(&thief.verifier)),
        ),
        (
            "the challenge as verifier",
            but(&good, "code_verifier", Some(&TestHouse::challenge(&client))),
        ),
        (
            "another loopback port",
            but(
                &good,
                "redirect_uri",
                Some("http://localhost:4712/callback"),
            ),
        ),
        (
            "another loopback name",
            but(
                &good,
                "redirect_uri",
                Some("http://127.0.0.1:4711/callback"),
            ),
        ),
        (
            "another path",
            but(
                &good,
                "redirect_uri",
                Some("http://localhost:4711/callback/"),
            ),
        ),
        (
            "another host",
            but(&good, "redirect_uri", Some("https://evil.example/cb")),
        ),
    ] {
        let answer = house.post_form("/token", &form).await;
        answer.assert_refused(400, "invalid_grant", why);
    }
    assert_still_good(&house, &client, &code).await;
}

#[tokio::test]
async fn the_port_of_a_portless_loopback_registration_is_bound_to_the_request() {
    let house = TestHouse::new().await;
    let registered = house.register("http://127.0.0.1/cb").await;
    let on_port = |port: u16| Client {
        redirect_uri: format!("http://127.0.0.1:{port}/cb"),
        ..registered.clone()
    };
    let (client, other) = (on_port(50_001), on_port(50_002));
    let code = house.code(&client).await;
    for wrong in [&other, &registered] {
        let answer = house.redeem(wrong, &code).await;
        answer.assert_refused(400, "invalid_grant", &wrong.redirect_uri);
    }
    assert_still_good(&house, &client, &code).await;
}

#[tokio::test]
async fn an_oauth_2_1_client_may_leave_redirect_uri_and_resource_out() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let form = but(&TestHouse::redemption(&client, &code), "redirect_uri", None);
    let form = but(&form, "resource", None);
    let tokens = Tokens::of(&house.post_form("/token", &form).await);
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn another_resource_than_the_approved_one_is_invalid_target() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let good = TestHouse::redemption(&client, &code);
    for resource in [
        "https://mcp.example.test/other",
        "https://evil.example/mcp",
        "http://mcp.example.test/mcp",
        "https://mcp.example.test:8443/mcp",
        "https://mcp.example.test/mcp#a",
        "https://mcp.example.test/mcp?x=1",
        "https://mcp.example.test/a/../mcp",
        "mcp",
    ] {
        let answer = house
            .post_form("/token", &but(&good, "resource", Some(resource)))
            .await;
        answer.assert_refused(400, "invalid_target", resource);
    }
    let mut two = good.clone();
    two.push(("resource", "https://evil.example/mcp"));
    let answer = house.post_form("/token", &two).await;
    answer.assert_refused(400, "invalid_target", "the right one and a foreign one");
    assert_still_good(&house, &client, &code).await;
}

#[tokio::test]
async fn the_resource_may_be_spelled_as_clients_spell_it() {
    let house = TestHouse::new().await;
    for resource in [
        MCP,
        "https://mcp.example.test/mcp/",
        "HTTPS://MCP.EXAMPLE.TEST/mcp",
        "https://mcp.example.test:443/mcp",
        ORIGIN,
        "https://mcp.example.test/",
    ] {
        let client = house.register(CALLBACK).await;
        let code = house.code(&client).await;
        let mut form = but(
            &TestHouse::redemption(&client, &code),
            "resource",
            Some(resource),
        );
        form.push(("resource", MCP));
        let tokens = Tokens::of(&house.post_form("/token", &form).await);
        house.whoami(&tokens.access).await;
    }
}

#[tokio::test]
async fn an_expired_code_is_refused_without_asking_the_provider() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    house.clock.advance(300);
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(400, "invalid_grant", "expired");
    assert!(
        answer.json()["error_description"]
            .as_str()
            .unwrap()
            .contains("expired")
    );
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn a_code_works_once() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    let again = house.redeem(&client, &code).await;
    again.assert_refused(400, "invalid_grant", "replay");
    // The rule is the provider's: it was asked, and it refused.
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 2);
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn what_is_not_a_code_of_ours_is_not_redeemed() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let code = house.code(&client).await;
    house.cognito.control().reset_counters();
    let flipped = |index: usize| {
        let mut bytes = code.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let (middle, early) = (flipped(code.len() / 2), flipped(14));
    let truncated = &code[..code.len() - 4];
    let as_code = |text: &str| format!("vac_{}", text.split_once('_').unwrap().1);
    for (why, text) in [
        ("t: a changed code", middle.as_str()),
        ("a changed nonce of the seal", &early),
        ("a truncated code", truncated),
        ("the prefix alone", "vac_"),
        (
            "the provider's own kind of code",
            "8f14e45f-ceea-4f2a-9c3b-1d2e3f4a5b6c",
        ),
        ("a refresh token", &tokens.refresh),
        ("an access token", &tokens.access),
        ("the client_id", &client.id),
        (
            "a refresh token that calls itself a code",
            &as_code(&tokens.refresh),
        ),
        (
            "an access token that calls itself a code",
            &as_code(&tokens.access),
        ),
    ] {
        let answer = house.redeem(&client, text).await;
        answer.assert_refused(400, "invalid_grant", why);
    }
    assert_still_good(&house, &client, &code).await;
}

/// Code injection (RFC 9700 §4.5): the attacker brings their own provider code into the victim's flow. Our PKCE towards
/// the provider binds its code to the flow, so it redeems for nobody.
#[tokio::test]
async fn the_provider_code_of_another_sign_in_does_not_redeem() {
    let house = TestHouse::new().await;
    let (attacker, victim) = (
        house.register(CALLBACK).await,
        house.register(CALLBACK).await,
    );
    let mut theirs = house.browser();
    let approved = house.approve(&mut theirs, &attacker).await;
    let back = theirs
        .sign_in_at_provider(approved.location(), "bob", "builder")
        .await;
    let stolen = back.location_param("code").unwrap();

    let mut browser = house.browser();
    let approved = house.approve(&mut browser, &victim).await;
    let state = approved.location_param("state").unwrap();
    let injected = format!("{ORIGIN}/callback?code={stolen}&state={state}");
    let code = browser.get(&injected).await.location_param("code").unwrap();
    let answer = house.redeem(&victim, &code).await;
    answer.assert_refused(400, "invalid_grant", "injected code");
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 1);
}

/// The provider's code as such is worth nothing at our token endpoint, even to the client it is for.
#[tokio::test]
async fn the_bare_provider_code_does_not_redeem() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let approved = house.approve(&mut browser, &client).await;
    let back = browser
        .sign_in_at_provider(approved.location(), "ada", "lovelace")
        .await;
    let bare = back.location_param("code").unwrap();
    let answer = house.redeem(&client, &bare).await;
    answer.assert_refused(400, "invalid_grant", "bare provider code");
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
    let code = browser
        .get(back.location())
        .await
        .location_param("code")
        .unwrap();
    assert_still_good(&house, &client, &code).await;
}
