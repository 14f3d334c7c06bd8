//! Requests of a known client that are wrong: each kind of client hears of it in its own way, with `iss` and `state`
//! (RFC 6749 §4.1.2.1, OAuth 2.1 §7.12.2; T2).

use http::{Method, StatusCode};

use super::{APP, STATE, WEB, ask, desk, lacking, owned, with};
use crate::support::{CALLBACK, MCP, ORIGIN, TestHouse, without};

type Params<'a> = Vec<(&'static str, &'a str)>;
type Changed = Vec<(&'static str, String)>;

/// The user's own computer and the operator's own client hear of it at once; anybody else's website or application only
/// when the user follows a link.
async fn assert_told(house: &TestHouse, error: &str, change: impl Fn(Params<'_>) -> Changed) {
    for client in [house.register(CALLBACK).await, desk()] {
        let answer = ask(house, &client, &change).await;
        assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.body.is_empty() && answer.set_cookies().is_empty());
        answer.told(&client.redirect_uri, error, Some(STATE));
    }
    for uri in [WEB, APP] {
        let client = house.register(uri).await;
        let answer = ask(house, &client, &change).await;
        answer.assert_page(StatusCode::OK, "The sign-in cannot go on");
        assert!(answer.set_cookies().is_empty());
        assert!(!answer.text().contains("<form"));
        answer.told(uri, error, Some(STATE));
    }
    house.assert_provider_untouched();
}

/// A change that puts `values` in the place of whatever the request had under this name.
fn instead(name: &'static str, values: &[&str]) -> impl Fn(Params<'_>) -> Changed {
    move |good| {
        let mut params = owned(without(good, name));
        params.extend(values.iter().map(|value| (name, (*value).to_owned())));
        params
    }
}

#[tokio::test]
async fn a_response_type_other_than_code_is_told_to_every_kind_of_client() {
    let house = TestHouse::new().await;
    for wrong in ["token", "id_token", "code token", "Code", "none"] {
        assert_told(
            &house,
            "unsupported_response_type",
            instead("response_type", &[wrong]),
        )
        .await;
    }
    // RFC 6749 §4.1.2.1: a missing parameter makes a request invalid.
    assert_told(&house, "invalid_request", instead("response_type", &[])).await;
}

#[tokio::test]
async fn a_response_mode_other_than_query_is_told_to_every_kind_of_client() {
    let house = TestHouse::new().await;
    for wrong in ["fragment", "form_post", "query.jwt"] {
        assert_told(
            &house,
            "invalid_request",
            instead("response_mode", &[wrong]),
        )
        .await;
    }
    let client = house.register(CALLBACK).await;
    let page = with(&house, &client, "response_mode", "query").await;
    page.assert_page(StatusCode::OK, "Allow Test?");
}

#[tokio::test]
async fn request_objects_are_neither_read_nor_fetched() {
    let house = TestHouse::new().await;
    for (name, value) in [
        ("request", "eyJhbGciOiJub25lIn0.e30."),
        ("request_uri", "https://evil.example/request"),
        ("request_uri", "urn:ietf:params:oauth:request_uri:x"),
    ] {
        assert_told(&house, "invalid_request", instead(name, &[value])).await;
    }
}

#[tokio::test]
async fn t2_no_kind_of_client_gets_along_without_s256() {
    let house = TestHouse::new().await;
    let padded = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=";
    for (name, values) in [
        ("code_challenge", &[][..]),
        ("code_challenge", &[""]),
        ("code_challenge", &["short"]),
        ("code_challenge", &[padded]),
        ("code_challenge_method", &[]),
        ("code_challenge_method", &[""]),
        ("code_challenge_method", &["plain"]),
        ("code_challenge_method", &["s256"]),
        ("code_challenge_method", &["S512"]),
    ] {
        assert_told(&house, "invalid_request", instead(name, values)).await;
    }
    assert_told(&house, "invalid_request", |mut good| {
        good.retain(|(name, _)| !name.starts_with("code_challenge"));
        owned(good)
    })
    .await;
}

#[tokio::test]
async fn a_repeated_parameter_is_refused_even_when_nobody_reads_it() {
    let house = TestHouse::new().await;
    for (name, value) in [
        ("response_type", "code"),
        ("scope", "mcp:read"),
        ("code_challenge", "x"),
        ("code_challenge_method", "S256"),
        ("prompt", "none"),
        ("utm_source", "x"),
    ] {
        assert_told(&house, "invalid_request", instead(name, &[value, value])).await;
    }
}

#[tokio::test]
async fn a_state_given_twice_is_not_echoed() {
    let house = TestHouse::new().await;
    for uri in [CALLBACK, WEB] {
        let client = house.register(uri).await;
        let answer = ask(&house, &client, instead("state", &["one", "another"])).await;
        let told = answer.told(uri, "invalid_request", None);
        assert!(!told.as_str().contains("another"), "{told}");
    }
}

#[tokio::test]
async fn an_empty_state_is_none() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let page = with(&house, &client, "state", "").await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    for state in [&[][..], &[""]] {
        let answer = ask(&house, &client, |good| {
            let good = instead("state", state)(good);
            let good = good.iter().map(|(name, value)| (*name, value.as_str()));
            instead("response_type", &["token"])(good.collect())
        })
        .await;
        answer.told(CALLBACK, "unsupported_response_type", None);
    }
}

#[tokio::test]
async fn a_state_with_control_characters_is_refused_and_breaks_no_header() {
    // Six bytes each under seal: a long one would come back as more cookies than are read, or as too large a form.
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let long = "\u{1}".repeat(4096);
    for state in ["a\r\nSet-Cookie: b=c", "\u{0}", "\u{1f}", "\u{7f}", &long] {
        let answer = with(&house, &client, "state", state).await;
        assert_eq!(answer.status, StatusCode::FOUND);
        answer.told(CALLBACK, "invalid_request", Some(state));
        assert!(answer.set_cookies().is_empty());
    }
}

#[tokio::test]
async fn parameters_that_this_server_does_not_know_change_nothing() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let page = ask(&house, &client, |mut good| {
        good.extend([
            ("prompt", "none"),
            ("nonce", "n"),
            ("login_hint", "ada"),
            ("identity_provider", "Evil"),
            ("display", "popup"),
        ]);
        owned(good)
    })
    .await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    assert!(page.text().contains("Approve"));
    house.assert_provider_untouched();
}

#[tokio::test]
async fn a_redirect_uri_keeps_its_own_query_when_an_error_is_told() {
    let house = TestHouse::new().await;
    let uri = "http://127.0.0.1:1/cb?a=%41&b";
    let client = house.register(uri).await;
    let answer = with(&house, &client, "resource", "https://evil.example").await;
    answer.told(&format!("{uri}&error="), "invalid_target", Some(STATE));
}

#[tokio::test]
async fn other_methods_are_refused_in_json_without_a_cookie() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
    let path = url.strip_prefix(ORIGIN).unwrap();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let headers = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "GET"),
        ];
        let answer = house.request(method.clone(), path, &headers, "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), "GET,HEAD", "{method}");
        assert_eq!(answer.error(), "invalid_request", "{method}");
        assert!(answer.set_cookies().is_empty(), "{method}");
        for name in answer.headers.keys() {
            let cors = name.as_str().starts_with("access-control-");
            assert!(!cors, "{method}: {name}");
        }
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn the_right_resource_and_a_wrong_one_is_still_a_wrong_request() {
    let house = TestHouse::new().await;
    let both = ["https://evil.example/mcp", MCP];
    assert_told(&house, "invalid_target", instead("resource", &both)).await;
    let client = house.register(CALLBACK).await;
    let page = lacking(&house, &client, "resource").await;
    page.assert_page(StatusCode::OK, "Allow Test?");
}
