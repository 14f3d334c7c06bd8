//! Every way of not being authenticated, and that nobody gets past the layer.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, header};
use http_body_util::BodyExt as _;
use tower::{ServiceExt as _, service_fn};
use vestibule_oauth::time::UnixTime;

use super::*;
use crate::caller::Verified;

const METADATA: &str = "https://h/.well-known/oauth-protected-resource/mcp";

/// Knows one good token; every other names the refusal it wants.
struct Scripted;

impl VerifyToken for Scripted {
    type Extra = u8;

    async fn verify(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> Result<Verified<u8>, TokenRefusal> {
        assert_eq!(resource.as_str(), "https://h/mcp");
        match token {
            "good" => Ok(Verified {
                subject: "ada".into(),
                client_id: "desktop".into(),
                scope: ScopeSet::parse("mcp/read"),
                expires_at: UnixTime(9),
                token_id: "t".into(),
                claims: serde_json::Map::new(),
                extra: 7,
            }),
            "expired" => Err(TokenRefusal::Expired),
            "foreign" => Err(TokenRefusal::WrongAudience),
            "away" => Err(TokenRefusal::Unavailable),
            _ => Err(TokenRefusal::Malformed),
        }
    }
}

fn resource() -> ProtectedResource {
    ProtectedResource {
        uri: ResourceUri::parse("https://h/mcp").unwrap(),
        metadata_url: METADATA.into(),
        scopes_for_challenge: ScopeSet::parse("mcp/read mcp/write"),
    }
}

fn guard() -> Guard<Scripted> {
    Guard::new(resource(), Scripted)
}

fn headers(authorization: &[&str]) -> HeaderMap {
    authorization
        .iter()
        .map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap()))
        .collect()
}

async fn refusal(authorization: &[&str], query: Option<&str>) -> Response<Full<Bytes>> {
    let result = guard().authenticate(&headers(authorization), query).await;
    result.unwrap_err().into_response()
}

fn challenge<B>(response: &Response<B>) -> String {
    let mut all = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
    let challenge = all.next().unwrap().to_str().unwrap().to_owned();
    assert!(all.next().is_none(), "one header line");
    challenge
}

#[tokio::test]
async fn a_good_token_gives_a_caller() {
    let caller = guard()
        .authenticate(&headers(&["bearer good"]), None)
        .await
        .unwrap();
    assert_eq!(caller.subject(), "ada");
    assert_eq!(*caller.extra(), 7);
}

#[tokio::test]
async fn without_credentials_the_challenge_has_no_error() {
    let response = refusal(&[], None).await;
    assert_eq!(response.status(), 401);
    assert_eq!(
        challenge(&response),
        format!("Bearer resource_metadata=\"{METADATA}\", scope=\"mcp/read mcp/write\"")
    );
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(response.headers()["x-mcp-challenge"], challenge(&response));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"], "unauthorized");
}

#[tokio::test]
async fn bad_tokens_say_why_and_misplaced_ones_too() {
    for (authorization, query, error) in [
        (&["Bearer expired"][..], None, "invalid_token"),
        (&["Bearer foreign"], None, "invalid_token"),
        (&["Bearer rubbish"], None, "invalid_token"),
        (&["Bearer good", "Bearer good"], None, "invalid_request"),
        (&["Bearer good, Bearer good"], None, "invalid_request"),
        (
            &["Bearer good"],
            Some("access_token=good"),
            "invalid_request",
        ),
        (&[], Some("access_token=good"), "invalid_request"),
    ] {
        let response = refusal(authorization, query).await;
        assert_eq!(
            response.status(),
            401,
            "never a 400: clients take it for an old server"
        );
        let challenge = challenge(&response);
        assert!(
            challenge.starts_with(&format!("Bearer error=\"{error}\", ")),
            "{challenge}"
        );
        assert!(challenge.contains(METADATA), "{challenge}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_does_not_send_anybody_to_sign_in() {
    let response = refusal(&["Bearer away"], None).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
}

#[tokio::test]
async fn a_step_up_challenge_names_old_and_new_scopes() {
    let caller = guard()
        .authenticate(&headers(&["Bearer good"]), None)
        .await
        .unwrap();
    let refusal = resource().forbidden(&caller, &ScopeSet::parse("mcp/admin"));
    let response: Response<Full<Bytes>> = refusal.into_response();
    assert_eq!(response.status(), 403);
    let challenge = challenge(&response);
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.ends_with("scope=\"mcp/read mcp/admin\""),
        "{challenge}"
    );
}

#[tokio::test]
async fn nobody_reaches_the_service_without_a_token_whatever_the_method() {
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reached);
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        counter.fetch_add(1, Ordering::SeqCst);
        let caller = request.extensions().get::<Caller<u8>>().unwrap();
        let body = Full::new(Bytes::from(caller.subject().to_owned()));
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let guarded = GuardLayer::new(guard()).layer(service);
    for method in [
        Method::GET,
        Method::POST,
        Method::HEAD,
        Method::DELETE,
        Method::OPTIONS,
    ] {
        let request = Request::builder().method(method.clone()).uri("/mcp");
        let request = request.body(Full::default()).unwrap();
        let response = guarded.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 401, "{method}");
        challenge(&response);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    let request = Request::get("/mcp").header("authorization", "Bearer good");
    let response = guarded
        .oneshot(request.body(Full::default()).unwrap())
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "ada");
}
