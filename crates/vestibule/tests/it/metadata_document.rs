//! Client id metadata documents from the outside: a sign-in with one, and what goes wrong when the document does.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;
use vestibule::keys::KeyRing;
use vestibule_oauth::client::ASSERTION_TYPE;
use vestibule_oauth::jose::{SigningAlg, SigningKey};
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::Clock as _;
use vestibule_oauth::url::Origin;

use crate::support::{Answer, Client, ClientSite, ORIGIN, TestHouse, Tokens, Trouble, whole};

const URL: &str = "https://client.example/oauth/client.json";
/// The document lists no port; the client listens on one of its own.
const REDIRECT: &str = "http://127.0.0.1:53211/callback";

fn document() -> Value {
    json!({
        "client_id": URL,
        "client_name": "Trusty",
        "redirect_uris": ["http://127.0.0.1/callback", "https://client.example/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
    })
}

fn client() -> Client {
    Client {
        id: URL.to_owned(),
        redirect_uri: REDIRECT.to_owned(),
        verifier: CodeVerifier::generate(&SystemRandom).expose().to_owned(),
    }
}

async fn street() -> (ClientSite, TestHouse) {
    let site = ClientSite::start().await;
    let house = TestHouse::with(|settings| site.configure(settings)).await;
    (site, house)
}

async fn authorize(house: &TestHouse, client: &Client) -> Answer {
    let challenge = TestHouse::challenge(client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(client, &challenge));
    house.browser().get(&url).await
}

#[tokio::test]
async fn a_client_signs_in_with_its_document_and_says_where_it_is_from() {
    let (site, house) = street().await;
    site.serves(&document());
    let page = authorize(&house, &client()).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    assert!(
        page.text().contains("<code>client.example</code>"),
        "{}",
        page.text()
    );
    assert!(
        page.text().contains("Any program on your device"),
        "{}",
        page.text()
    );

    let client = client();
    let code = house.code(&client).await;
    let answer = house
        .post_form("/token", &TestHouse::redemption(&client, &code))
        .await;
    let tokens = Tokens::of(&answer);
    assert_eq!(
        house.refresh(&client, &tokens.refresh).await.status,
        StatusCode::OK
    );
    assert_eq!(site.requests(), 1, "the document is cached");
}

#[tokio::test]
async fn the_metadata_says_that_documents_are_read_unless_they_are_not() {
    let house = TestHouse::new().await;
    let path = "/.well-known/oauth-authorization-server";
    let metadata = house.get(path).await.json();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    let methods = json!([
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt"
    ]);
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], methods);
    assert!(metadata["token_endpoint_auth_signing_alg_values_supported"].is_array());
    let house = TestHouse::with(|settings| {
        settings.clients.metadata_documents = false;
        settings.clients.confidential = false;
    })
    .await;
    let metadata = house.get(path).await.json();
    assert_eq!(metadata.get("client_id_metadata_document_supported"), None);
    assert_eq!(
        metadata["token_endpoint_auth_methods_supported"],
        json!(["none"])
    );
    assert_eq!(
        metadata.get("token_endpoint_auth_signing_alg_values_supported"),
        None
    );
}

#[tokio::test]
async fn a_document_that_names_another_client_is_a_page_and_never_a_redirect() {
    let (site, house) = street().await;
    let mut other = document();
    other["client_id"] = json!("https://victim.example/client.json");
    site.serves(&other);
    let page = authorize(&house, &client()).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text().contains("Reference"), "{}", page.text());
    assert_eq!(page.header("location"), "");
}

#[tokio::test]
async fn a_redirect_uri_that_the_document_does_not_list_is_refused() {
    let (site, house) = street().await;
    site.serves(&document());
    for uri in [
        "https://evil.example/cb",
        "http://localhost:53211/callback",
        "https://client.example:8443/cb",
    ] {
        let client = Client {
            redirect_uri: uri.to_owned(),
            ..client()
        };
        let page = authorize(&house, &client).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{uri}");
        assert_eq!(page.header("location"), "", "{uri}");
    }
}

#[tokio::test]
async fn an_origin_that_is_away_does_not_make_a_client_unknown() {
    let (site, house) = street().await;
    site.fails("403 Forbidden");
    let client = client();
    let page = authorize(&house, &client).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = house.refresh(&client, "vrt_x").await;
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        answer.text()
    );
    assert_eq!(answer.error(), "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "30");
    assert_eq!(site.requests(), 1, "the origin is left alone for a while");
    // Gone for good is another matter.
    site.fails("404 Not Found");
    house.clock.advance(30);
    let answer = house.refresh(&client, "vrt_x").await;
    assert_eq!(
        (answer.status, answer.error()),
        (StatusCode::UNAUTHORIZED, "invalid_client".to_owned())
    );
}

#[tokio::test]
async fn a_sign_in_outlives_a_while_in_which_the_origin_blocks_us() {
    let (site, house) = street().await;
    site.serves(&document());
    let client = client();
    let code = house.code(&client).await;
    let answer = house
        .post_form("/token", &TestHouse::redemption(&client, &code))
        .await;
    let tokens = Tokens::of(&answer);
    site.fails("403 Forbidden");
    house.clock.advance(2 * 3600);
    let answer = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn a_client_with_a_key_must_sign_and_every_signature_counts_once() {
    let (site, mut house) = street().await;
    let ring = KeyRing::generate(&[SigningAlg::Es256], house.clock.now(), &SystemRandom).unwrap();
    let key = SigningKey::from_pem(SigningAlg::Es256, &ring.signing[0].pem).unwrap();
    let mut document = document();
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document["jwks"] = json!({ "keys": [key.public_jwk()] });
    site.serves(&document);
    let clock = house.clock.clone();
    let assertion = |token_id: &str, audience: &str| {
        let claims = json!({
            "iss": URL, "sub": URL, "aud": audience, "jti": token_id,
            "exp": clock.now().0 + 60,
        });
        key.sign("JWT", claims.as_object().unwrap()).unwrap()
    };
    let client = client();
    let code = house.code(&client).await;
    let refused = house
        .post_form("/token", &TestHouse::redemption(&client, &code))
        .await;
    assert_eq!(
        (refused.status, refused.error()),
        (StatusCode::UNAUTHORIZED, "invalid_client".to_owned())
    );

    let foreign = assertion("1", "https://other.example");
    let good = assertion("1", ORIGIN);
    let mut form = TestHouse::redemption(&client, &code);
    form.extend([
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &foreign),
    ]);
    assert_eq!(
        house.post_form("/token", &form).await.error(),
        "invalid_client"
    );
    form.pop();
    form.push(("client_assertion", &good));
    let tokens = Tokens::of(&house.post_form("/token", &form).await);

    let endpoint = assertion("2", &format!("{ORIGIN}/token"));
    let mut refresh = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &good),
    ];
    let replayed = house.post_form("/token", &refresh).await;
    assert_eq!(replayed.error(), "invalid_client", "{}", replayed.text());
    house.reload(|_, _| {});
    let replayed = house.post_form("/token", &refresh).await;
    assert_eq!(
        replayed.error(),
        "invalid_client",
        "a reload forgets nothing"
    );
    refresh.pop();
    refresh.push(("client_assertion", &endpoint));
    let refreshed = house.post_form("/token", &refresh).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    // Nobody revokes for the client without its key.
    let revoke = [("token", tokens.refresh.as_str()), ("client_id", URL)];
    assert_eq!(
        house.post_form("/revoke", &revoke).await.error(),
        "invalid_client"
    );
}

#[tokio::test]
async fn an_assertion_replayed_at_another_replica_is_refused_when_they_share_a_store() {
    let site = ClientSite::start().await;
    let (mut house, store) =
        TestHouse::with_faulty_store(|settings| site.configure(settings)).await;
    let now = house.clock.now();
    let ring = KeyRing::generate(&[SigningAlg::Es256], now, &SystemRandom).unwrap();
    let key = ring.signing[0].key().unwrap();
    let mut document = document();
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document["jwks"] = json!({ "keys": [key.public_jwk()] });
    site.serves(&document);
    let form = |token_id: &str| {
        let claims = json!({
            "iss": URL, "sub": URL, "aud": ORIGIN, "jti": token_id, "exp": now.0 + 60,
        });
        let assertion = key.sign("JWT", claims.as_object().unwrap()).unwrap();
        [
            ("token", "vrt_of-nobody".to_owned()),
            ("client_assertion_type", ASSERTION_TYPE.to_owned()),
            ("client_assertion", assertion),
        ]
    };
    let revoke = async |house: &TestHouse, form: &[(&str, String)]| {
        let form: Vec<_> = form
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        house.post_form("/revoke", &form).await
    };
    let (first, second) = (form("1"), form("2"));
    assert_eq!(revoke(&house, &first).await.status, StatusCode::OK);
    house.router = house.replica(2);
    let replayed = revoke(&house, &first).await;
    replayed.assert_refused(401, "invalid_client", "at another replica");
    // Nobody knows whether it was used: it is not believed, and may come back.
    store.down(Trouble::Refused);
    let away = revoke(&house, &second).await;
    away.assert_refused(503, "temporarily_unavailable", "the store is away");
    assert!(!away.header("retry-after").is_empty());
    store.mend();
    assert_eq!(revoke(&house, &second).await.status, StatusCode::OK);
}

/// Authorizes at a house with this public URL, with the document URL as client id.
async fn authorize_at(public_url: &str, client_id: &str, redirect_uri: &str) -> StatusCode {
    let house = TestHouse::with(|settings| {
        settings.public_url = Origin::parse(public_url).unwrap();
    })
    .await;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("response_type", "code"),
        ])
        .extend_pairs([
            ("code_challenge_method", "S256"),
            ("code_challenge", &"A".repeat(43)),
        ])
        .finish();
    let host = public_url.split_once("://").unwrap().1;
    let request = Request::get(format!("/authorize?{query}")).header("host", host);
    let request = request.body(Body::empty()).unwrap();
    whole(house.router.clone().oneshot(request).await.unwrap())
        .await
        .status
}

#[tokio::test]
async fn a_document_on_this_computer_is_read_in_development_only() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/client.json", listener.local_addr().unwrap());
    let redirect = "http://127.0.0.1:1/cb";
    let body =
        json!({ "client_id": url, "client_name": "Mine", "redirect_uris": [redirect] }).to_string();
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let text = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    let production = authorize_at("https://mcp.example.test", &url, redirect).await;
    assert_eq!(production, StatusCode::BAD_REQUEST);
    assert_eq!(
        seen.load(std::sync::atomic::Ordering::SeqCst),
        0,
        "nothing was fetched"
    );
    let development = authorize_at("http://localhost:8080", &url, redirect).await;
    assert_eq!(development, StatusCode::OK);
}

#[tokio::test]
async fn a_known_command_line_client_gets_in_while_its_document_is_away() {
    // A proxy that is gone: nothing can be fetched, and nothing goes around it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let house = TestHouse::with(|settings| {
        let proxy = vestibule_guard::fetch::EgressProxy::new(gone.parse().unwrap(), None);
        settings.clients.egress_proxy = Some(proxy);
    })
    .await;
    let known = Client {
        id: "https://claude.ai/oauth/claude-code-client-metadata".to_owned(),
        redirect_uri: "http://localhost:53211/callback".to_owned(),
        ..client()
    };
    assert_eq!(authorize(&house, &known).await.status, StatusCode::OK);
    let elsewhere = Client {
        redirect_uri: "https://claude.ai/api/mcp/auth_callback".to_owned(),
        ..known
    };
    assert_eq!(
        authorize(&house, &elsewhere).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        authorize(&house, &client()).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}
