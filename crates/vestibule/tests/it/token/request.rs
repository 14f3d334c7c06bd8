//! The form and the client of a token request (RFC 6749 §2.3.1, §3.2, §5.2): who asks, and how it may be said.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;
use vestibule_standin::cognito::Endpoint;

use crate::support::{Answer, CALLBACK, Client, TestHouse, Tokens};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

fn basic(id: &str, secret: &str) -> String {
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(id), encode(secret));
    format!("Basic {}", STANDARD.encode(pair))
}

fn without_client(client: &Client, code: &str) -> String {
    let fields = TestHouse::redemption(client, code);
    let fields: Vec<_> = fields
        .into_iter()
        .filter(|(name, _)| *name != "client_id")
        .collect();
    form(&fields)
}

async fn send(house: &TestHouse, headers: &[(&str, &str)], body: &str) -> Answer {
    house.request(Method::POST, "/token", headers, body).await
}

#[tokio::test]
async fn an_unknown_client_hears_invalid_client_even_with_a_good_code() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let mut cut = client.clone();
    cut.id.truncate(client.id.len() - 8);
    for id in [
        "nobody",
        cut.id.as_str(),
        house.cognito.client_id(),
        // A URL without a path cannot name a metadata document, so nothing is fetched.
        "https://client.example/",
    ] {
        let unknown = Client {
            id: id.to_owned(),
            ..client.clone()
        };
        let answer = house.redeem(&unknown, &code).await;
        answer.assert_refused(401, "invalid_client", id);
        // No Basic was tried, so no Basic is asked for.
        assert!(!answer.headers.contains_key("www-authenticate"), "{id}");
    }
    for (name, value) in [
        ("client_id", "vcl_\u{1}"),
        ("client_assertion_type", "urn:example:nonsense"),
    ] {
        let good = TestHouse::redemption(&client, &code);
        let mut form: Vec<_> = good.into_iter().filter(|(own, _)| *own != name).collect();
        form.push((name, value));
        let answer = house.post_form("/token", &form).await;
        answer.assert_refused(401, "invalid_client", name);
        assert!(!answer.headers.contains_key("www-authenticate"), "{name}");
    }
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
    Tokens::of(&house.redeem(&client, &code).await);
}

/// RFC 6749 §5.2: who tried `Authorization` hears a 401 with the scheme that was tried.
#[tokio::test]
async fn unreadable_client_authentication_is_401_with_a_basic_challenge() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let whole = form(&TestHouse::redemption(&client, &code));
    let foreign = basic("desk", "x");
    let unknown = basic("nobody", "x");
    let (no_colon, not_text) = (STANDARD.encode("abc"), STANDARD.encode([0xff, b':', 0xfe]));
    for (why, authorization) in [
        ("not base64", "Basic !!!".to_owned()),
        ("no colon", format!("Basic {no_colon}")),
        ("not UTF-8", format!("Basic {not_text}")),
        ("no credentials", "Basic".to_owned()),
        ("another scheme", "Bearer abc".to_owned()),
        ("another client than the form's", foreign),
        ("an unknown client", unknown),
    ] {
        let headers = [FORM, ("authorization", authorization.as_str())];
        let answer = send(&house, &headers, &whole).await;
        answer.assert_refused(401, "invalid_client", why);
        assert_eq!(
            answer.header("www-authenticate"),
            "Basic realm=\"vestibule\"",
            "{why}"
        );
    }
    // The first header is fine; a proxy before us may have judged the second.
    let mine = basic(&client.id, "");
    let two = [
        FORM,
        ("authorization", mine.as_str()),
        ("authorization", "Bearer abc"),
    ];
    let answer = send(&house, &two, &whole).await;
    answer.assert_refused(401, "invalid_client", "two headers");
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
    Tokens::of(&send(&house, &two[..2], &whole).await);
}

/// SDKs that once heard of `client_secret_basic` send made-up or empty secrets (facts/clients.md §0.5).
#[tokio::test]
async fn a_public_client_may_use_any_form_of_authentication_and_any_secret() {
    let house = TestHouse::new().await;
    for secret in ["", "made up"] {
        for in_body in [true, false] {
            let client = house.register(CALLBACK).await;
            let code = house.code(&client).await;
            let authorization = basic(&client.id, secret);
            let body = if in_body {
                form(&TestHouse::redemption(&client, &code))
            } else {
                without_client(&client, &code)
            };
            let headers = [FORM, ("authorization", authorization.as_str())];
            Tokens::of(&send(&house, &headers, &body).await);
        }
        let client = house.register(CALLBACK).await;
        let code = house.code(&client).await;
        let mut fields = TestHouse::redemption(&client, &code);
        fields.push(("client_secret", secret));
        Tokens::of(&house.post_form("/token", &fields).await);
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_read_names_what_is_wrong() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let good = TestHouse::redemption(&client, &code);
    let without = |name: &str| {
        let fields: Vec<_> = good
            .iter()
            .copied()
            .filter(|(own, _)| *own != name)
            .collect();
        form(&fields)
    };
    let plus = |name: &str, value: &str| format!("{}&{}", form(&good), form(&[(name, value)]));
    let replaced =
        |name: &str, value: &str| format!("{}&{}", without(name), form(&[(name, value)]));
    let mut table = String::new();
    for (why, status, error, body) in [
        (
            "no grant_type",
            400,
            "invalid_request",
            without("grant_type"),
        ),
        ("no code", 400, "invalid_request", without("code")),
        ("empty code", 400, "invalid_request", replaced("code", "")),
        (
            "t2 no code_verifier",
            400,
            "invalid_request",
            without("code_verifier"),
        ),
        (
            "t2 empty code_verifier",
            400,
            "invalid_request",
            replaced("code_verifier", ""),
        ),
        (
            "short code_verifier",
            400,
            "invalid_request",
            replaced("code_verifier", "abc"),
        ),
        ("no client_id", 401, "invalid_client", without("client_id")),
        ("two codes", 400, "invalid_request", plus("code", &code)),
        (
            "two client_ids",
            400,
            "invalid_request",
            plus("client_id", &client.id),
        ),
        (
            "two grant_types",
            400,
            "invalid_request",
            plus("grant_type", "authorization_code"),
        ),
        (
            "two redirect_uris",
            400,
            "invalid_request",
            plus("redirect_uri", CALLBACK),
        ),
        (
            "unknown parameter twice",
            400,
            "invalid_request",
            format!("{}&a=1&a=2", form(&good)),
        ),
        (
            "not UTF-8",
            400,
            "invalid_request",
            format!("{}&a=%ff", form(&good)),
        ),
        (
            "client_credentials",
            400,
            "unsupported_grant_type",
            replaced("grant_type", "client_credentials"),
        ),
        (
            "password",
            400,
            "unsupported_grant_type",
            replaced("grant_type", "password"),
        ),
        (
            "refresh_token without one",
            400,
            "invalid_request",
            form(&[("grant_type", "refresh_token"), ("client_id", &client.id)]),
        ),
        ("empty body", 401, "invalid_client", String::new()),
    ] {
        let answer = send(&house, &[FORM], &body).await;
        answer.assert_refused(status, error, why);
        let description = answer.json()["error_description"].clone();
        let description = description.as_str().unwrap();
        writeln!(table, "{why}: {status} {error}: {description}").unwrap();
    }
    insta::assert_snapshot!("refusals", table);
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
    Tokens::of(&house.redeem(&client, &code).await);
}

#[tokio::test]
async fn only_a_form_is_read() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let good = TestHouse::redemption(&client, &code);
    let as_json: serde_json::Map<_, _> = good
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let as_json = json!(as_json).to_string();
    let whole = form(&good);
    for (why, headers, body) in [
        ("JSON", vec![("content-type", "application/json")], &as_json),
        (
            "a form that says it is JSON",
            vec![("content-type", "application/json")],
            &whole,
        ),
        ("no content type", vec![], &whole),
        (
            "multipart",
            vec![("content-type", "multipart/form-data; boundary=x")],
            &whole,
        ),
    ] {
        let answer = send(&house, &headers, body).await;
        answer.assert_refused(415, "invalid_request", why);
    }
    let huge = format!("{whole}&padding={}", "x".repeat(70_000));
    let answer = send(&house, &[FORM], &huge).await;
    answer.assert_refused(413, "invalid_request", "a huge body");
    let charset = [(
        "content-type",
        "application/x-www-form-urlencoded; charset=UTF-8",
    )];
    Tokens::of(&send(&house, &charset, &whole).await);
}

/// OAuth 2.1 §3.2: POST only; a query is not a form.
#[tokio::test]
async fn nothing_is_issued_to_a_get_or_from_a_query() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let path = format!("/token?{}", form(&TestHouse::redemption(&client, &code)));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = house.request(method.clone(), &path, &[FORM], "").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "POST");
        assert_eq!(answer.error(), "invalid_request");
    }
    let answer = send_to(&house, &path).await;
    answer.assert_refused(401, "invalid_client", "everything in the query");
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
}

async fn send_to(house: &TestHouse, path: &str) -> Answer {
    house.request(Method::POST, path, &[FORM], "").await
}
