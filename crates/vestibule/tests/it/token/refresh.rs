//! The refresh grant (RFC 6749 §6, design §5): nobody is logged out by us, and nobody gets more than was approved.

use vestibule_oauth::scope::ScopeSet;
use vestibule_standin::cognito::{CognitoOptions, Endpoint, Fault};

use crate::support::{CALLBACK, Client, MCP, TestHouse, Tokens};

async fn rotating(grace: u64) -> TestHouse {
    let options = CognitoOptions {
        rotation: Some(grace),
        ..CognitoOptions::default()
    };
    TestHouse::build(options, |_| {}).await
}

/// How often each of the provider's refresh tokens was presented.
fn presented(house: &TestHouse) -> Vec<u64> {
    let all = house.cognito.control().all_refreshes();
    all.into_values().collect()
}

#[tokio::test]
async fn an_expired_access_token_is_replaced_without_a_sign_in() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let before = house.whoami(&tokens.access).await;
    house.clock.advance(tokens.expires_in);
    house.assert_shut(&tokens.access, "expired").await;
    let answer = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let fresh = Tokens::of(&answer);
    assert_eq!(
        (fresh.expires_in, fresh.scope.as_str()),
        (3600, "mcp:read mcp:write")
    );
    assert_ne!(fresh.access, tokens.access);
    let after = house.whoami(&fresh.access).await;
    assert_eq!(after["subject"], before["subject"]);
    assert_eq!(after["groups"], before["groups"]);
}

/// A client that lost an answer repeats the refresh with what it has (design §5.5).
#[tokio::test]
async fn without_rotation_the_old_provider_token_is_kept_and_every_refresh_token_goes_on_working() {
    let house = TestHouse::new().await;
    let (client, first) = house.sign_in().await;
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    let third = Tokens::of(&house.refresh(&client, &second.refresh).await);
    house.clock.advance(60);
    let again = Tokens::of(&house.refresh(&client, &first.refresh).await);
    for tokens in [&second, &third, &again] {
        house.whoami(&tokens.access).await;
    }
    assert_eq!(
        presented(&house),
        [3],
        "one token of the provider, presented three times"
    );
}

#[tokio::test]
async fn with_rotation_the_new_provider_token_is_taken() {
    let house = rotating(60).await;
    let (client, first) = house.sign_in().await;
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    let third = Tokens::of(&house.refresh(&client, &second.refresh).await);
    house.whoami(&third.access).await;
    assert_eq!(
        presented(&house),
        [1, 1],
        "two tokens of the provider, each presented once"
    );
}

#[tokio::test]
async fn a_replaced_refresh_token_works_within_the_grace_of_the_provider_and_dies_alone() {
    let house = rotating(60).await;
    let (client, first) = house.sign_in().await;
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    house.clock.advance(59);
    let sibling = Tokens::of(&house.refresh(&client, &first.refresh).await);
    house.whoami(&sibling.access).await;
    house.clock.advance(1);
    let late = house.refresh(&client, &first.refresh).await;
    late.assert_refused(400, "invalid_grant", "after the grace");
    // The successors are not logged out by the latecomer.
    for tokens in [second, sibling] {
        let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        house.whoami(&fresh.access).await;
    }
}

#[tokio::test]
async fn parallel_refreshes_all_succeed() {
    for house in [TestHouse::new().await, rotating(60).await] {
        let (client, tokens) = house.sign_in().await;
        let calls = (0..8).map(|_| house.refresh(&client, &tokens.refresh));
        for answer in futures_util::future::join_all(calls).await {
            let fresh = Tokens::of(&answer);
            Tokens::of(&house.refresh(&client, &fresh.refresh).await);
        }
    }
}

#[tokio::test]
async fn a_stolen_refresh_token_is_worth_nothing_to_another_client() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let thief = house.register(CALLBACK).await;
    let desk = Client {
        id: "desk".to_owned(),
        ..thief.clone()
    };
    for other in [&thief, &desk] {
        let answer = house.refresh(other, &tokens.refresh).await;
        answer.assert_refused(400, "invalid_grant", &other.id);
    }
    let unknown = Client {
        id: "nobody".to_owned(),
        ..thief
    };
    let answer = house.refresh(&unknown, &tokens.refresh).await;
    answer.assert_refused(401, "invalid_client", "unknown client");
    assert_eq!(presented(&house), [0_u64; 0], "the provider was asked");
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
}

#[tokio::test]
async fn what_is_not_a_refresh_token_of_ours_does_not_refresh() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let code = house.code(&client).await;
    let calls = house.cognito.control().calls(Endpoint::Token);
    let mut changed = tokens.refresh.clone();
    let tail = changed.split_off(changed.len() - 6);
    changed += if tail == "AAAAAA" { "BBBBBB" } else { "AAAAAA" };
    let renamed = format!("vrt_{}", tokens.access.split_once('_').unwrap().1);
    for (why, text) in [
        ("changed", changed.as_str()),
        ("truncated", &tokens.refresh[..40]),
        ("the prefix", "vrt_"),
        ("an access token", &tokens.access),
        (
            "an access token that calls itself a refresh token",
            &renamed,
        ),
        ("a code", &code),
        ("the client_id", &client.id),
        ("a word", "hello"),
    ] {
        let answer = house.refresh(&client, text).await;
        answer.assert_refused(400, "invalid_grant", why);
    }
    assert_eq!(house.cognito.control().calls(Endpoint::Token), calls);
}

#[tokio::test]
async fn narrowing_narrows_the_access_token_and_not_the_grant() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let answer = house
        .refresh_with(&client, &tokens.refresh, &[("scope", "mcp:read")])
        .await;
    let narrow = Tokens::of(&answer);
    assert_eq!(narrow.scope, "mcp:read");
    let seen = house.whoami(&narrow.access).await;
    assert_eq!(seen["claims"]["scope"], "mcp:read");
    let full = Tokens::of(&house.refresh(&client, &narrow.refresh).await);
    assert_eq!(full.scope, "mcp:read mcp:write");
}

#[tokio::test]
async fn a_refresh_never_gives_more_than_was_approved() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let mut request = TestHouse::authorization(&client, &challenge);
    request.retain(|(name, _)| *name != "scope");
    request.push(("scope", "mcp:read"));
    let mut browser = house.browser();
    let page = browser.get(&TestHouse::authorize_url(&request)).await;
    let ticket = page.input("ticket");
    let consent = format!("{}/consent", crate::support::ORIGIN);
    let decided = [("ticket", ticket.as_str()), ("decision", "approve")];
    let approved = browser.post(&consent, &decided).await;
    let back = browser
        .sign_in_at_provider(approved.location(), "ada", "lovelace")
        .await;
    let code = browser
        .get(back.location())
        .await
        .location_param("code")
        .unwrap();
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    assert_eq!(tokens.scope, "mcp:read");

    for wider in [
        "mcp:write",
        "mcp:read mcp:write",
        "mcp:write offline_access",
    ] {
        let answer = house
            .refresh_with(&client, &tokens.refresh, &[("scope", wider)])
            .await;
        answer.assert_refused(400, "invalid_scope", wider);
    }
    assert_eq!(presented(&house), [0_u64; 0], "the provider was asked");
    // Law 9: what this server never offered is passed over, and nobody is logged out for it.
    for tolerated in [
        "mcp:read",
        "mcp:read claudeai",
        "claudeai",
        "offline_access",
        "",
        "  ",
    ] {
        let answer = house
            .refresh_with(&client, &tokens.refresh, &[("scope", tolerated)])
            .await;
        assert_eq!(Tokens::of(&answer).scope, "mcp:read", "{tolerated}");
    }
}

/// An operator who adds scopes later widens no grant of before.
#[tokio::test]
async fn a_grant_of_before_does_not_grow_with_the_settings() {
    let mut house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    house.settings.resources[0].scopes = ScopeSet::parse("mcp:read mcp:write mcp:admin");
    house.router = house.replica(2);
    let answer = house
        .refresh_with(&client, &tokens.refresh, &[("scope", "mcp:admin")])
        .await;
    answer.assert_refused(400, "invalid_scope", "a new scope");
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(fresh.scope, "mcp:read mcp:write");
}

#[tokio::test]
async fn the_resource_may_be_repeated_and_not_replaced() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    for resource in [MCP, "https://mcp.example.test/mcp/"] {
        let extra = [("resource", resource), ("scope", "mcp:read offline_access")];
        let answer = house.refresh_with(&client, &tokens.refresh, &extra).await;
        house.whoami(&Tokens::of(&answer).access).await;
    }
    let extra = [("resource", "https://mcp.example.test/other")];
    let answer = house.refresh_with(&client, &tokens.refresh, &extra).await;
    answer.assert_refused(400, "invalid_target", "another resource");
}

#[tokio::test]
async fn a_provider_that_is_away_logs_nobody_out() {
    let house = TestHouse::with(|settings| {
        settings.provider.timeout = std::time::Duration::from_millis(300);
    })
    .await;
    let (client, tokens) = house.sign_in().await;
    let control = house.cognito.control();
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::HtmlForbidden,
        Fault::Timeout,
        Fault::ErrorJson(503, "invalid_grant".to_owned()),
    ] {
        // Later than the answers that this replica remembers.
        house.clock.advance(60);
        control.set_fault(Endpoint::Token, Some(fault.clone()), Some(1));
        let answer = house.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(503, "temporarily_unavailable", &format!("{fault:?}"));
        assert_eq!(answer.header("retry-after"), "5", "{fault:?}");
        let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        house.whoami(&fresh.access).await;
    }
    for fault in ["invalid_client", "unauthorized_client", "invalid_request"] {
        let error = Fault::ErrorJson(400, fault.to_owned());
        house.clock.advance(60);
        control.set_fault(Endpoint::Token, Some(error), Some(1));
        let answer = house.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(500, "server_error", fault);
        Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    }
}

/// The rotated token must not be lost because the keys are away that would check the new ID token (design §5.1).
#[tokio::test]
async fn a_rotated_token_is_kept_although_the_keys_of_the_provider_are_away() {
    let house = rotating(0).await;
    let (client, first) = house.sign_in().await;
    let control = house.cognito.control();
    control.rotate_keys();
    control.set_fault(Endpoint::Jwks, Some(Fault::Status(503)), None);
    house.clock.advance(60);
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    let seen = house.whoami(&second.access).await;
    assert_eq!(seen["claims"]["email"], "ada@example.com");
    assert!(
        control.calls(Endpoint::Jwks) >= 2,
        "the new keys were asked for"
    );
    control.clear_faults();
    house.clock.advance(60);
    let third = Tokens::of(&house.refresh(&client, &second.refresh).await);
    house.whoami(&third.access).await;
}

#[tokio::test]
async fn a_refresh_token_ends_when_its_time_is_over() {
    let house = TestHouse::with(|settings| {
        settings.tokens.refresh_ttl = std::time::Duration::from_secs(7200);
    })
    .await;
    let (client, tokens) = house.sign_in().await;
    house.clock.advance(7199);
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.clock.advance(1);
    let calls = house.cognito.control().calls(Endpoint::Token);
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "expired");
    assert_eq!(house.cognito.control().calls(Endpoint::Token), calls);
    // Sliding: the successor has its own time.
    Tokens::of(&house.refresh(&client, &fresh.refresh).await);
}

#[tokio::test]
async fn a_user_whom_the_provider_signed_out_cannot_refresh() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    house.cognito.control().revoke_all();
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "revoked at the provider");
    assert!(!answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn t11_a_refresh_token_or_a_code_as_bearer_is_refused() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let code = house.code(&client).await;
    let renamed = format!("vat_{}", tokens.refresh.split_once('_').unwrap().1);
    for (why, token) in [
        ("refresh token", tokens.refresh.as_str()),
        ("refresh token that calls itself an access token", &renamed),
        ("code", &code),
        ("client_id", &client.id),
    ] {
        house.assert_shut(token, why).await;
    }
    house.whoami(&tokens.access).await;
}
