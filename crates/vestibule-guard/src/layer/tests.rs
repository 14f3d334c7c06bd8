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
            "good" => {
                let mut verified = Verified::new("ada", "desktop", UnixTime(9), 7);
                verified.scope = ScopeSet::parse("mcp/read");
                verified.groups = vec!["staff".to_owned()];
                Ok(verified)
            }
            "expired" => Err(TokenRefusal::Expired),
            "foreign" => Err(TokenRefusal::WrongAudience),
            "away" => Err(TokenRefusal::Unavailable),
            _ => Err(TokenRefusal::Malformed),
        }
    }
}

fn resource() -> ProtectedResource {
    ProtectedResource::new(
        ResourceUri::parse("https://h/mcp").unwrap(),
        METADATA,
        ScopeSet::parse("mcp/read mcp/write"),
    )
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

async fn caller() -> Caller<u8> {
    let headers = headers(&["Bearer good"]);
    guard().authenticate(&headers, None).await.unwrap()
}

#[tokio::test]
async fn a_caller_can_do_what_its_scopes_and_groups_say_and_nothing_else() {
    let caller = caller().await;
    caller.require("mcp/read").unwrap();
    caller.require_group("staff").unwrap();
    for scopes in [
        "mcp/write",
        "mcp/read mcp/write",
        "",
        " ",
        "mcp/r\u{e4}d",
        "mcp",
    ] {
        let refusal = caller.require(scopes).unwrap_err();
        assert_eq!(refusal.reason(), "insufficient_scope", "{scopes:?}");
        assert_eq!(refusal.status(), 403);
    }
    let refusal = caller.require_group("admins").unwrap_err();
    assert_eq!(
        (refusal.status().as_u16(), refusal.challenge()),
        (403, None)
    );
    let response: Response<Full<Bytes>> = refusal.into_response();
    assert!(!response.headers().contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn without_a_required_scope_nobody_comes_in() {
    let mut resource = resource();
    resource.required_scopes = ScopeSet::parse("mcp/read mcp/admin");
    let guard = Guard::new(resource, Scripted);
    let refused = guard.authenticate(&headers(&["Bearer good"]), None).await;
    assert_eq!(refused.unwrap_err().reason(), "insufficient_scope");
}

/// A service that counts nothing and answers 200.
async fn ask<V: VerifyToken>(layer: &GuardLayer<V>, request: Request<()>) -> Response<()> {
    let service = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    layer
        .layer(service)
        .oneshot(request)
        .await
        .unwrap()
        .map(drop)
}

#[tokio::test]
async fn a_page_that_rebinds_a_name_is_kept_out_even_with_a_token() {
    let layer = GuardLayer::new(guard()).origins(Origins::listed(["https://app.example"]));
    let request = |origin: &str| {
        let request = Request::post("/mcp").header(header::ORIGIN, origin);
        request
            .header("authorization", "Bearer good")
            .body(())
            .unwrap()
    };
    let response = ask(&layer, request("https://evil.example")).await;
    assert_eq!(response.status(), 403);
    let cors = header::ACCESS_CONTROL_ALLOW_ORIGIN;
    assert!(!response.headers().contains_key(&cors));
    let response = ask(&layer, request("https://app.example")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[&cors], "https://app.example");
    // A page must be able to read the challenge, too.
    let bare = Request::post("/mcp").header(header::ORIGIN, "https://app.example");
    let response = ask(&layer, bare.body(()).unwrap()).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()[&cors], "https://app.example");
    let exposed = &response.headers()[header::ACCESS_CONTROL_EXPOSE_HEADERS];
    assert!(exposed.to_str().unwrap().contains("WWW-Authenticate"));
    // A preflight has no token.
    let preflight = Request::options("/mcp")
        .header(header::ORIGIN, "https://app.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST");
    assert_eq!(ask(&layer, preflight.body(()).unwrap()).await.status(), 204);
}

#[tokio::test]
async fn a_document_that_is_not_there_is_a_404_and_nothing_for_strangers_to_reach() {
    let layer = GuardLayer::new(guard());
    for path in ["/.well-known/openid-configuration", "/mcp/.well-known/x"] {
        let request = Request::get(path).body(()).unwrap();
        let response = ask(&layer, request).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
        let request = Request::get(path).header("authorization", "Bearer good");
        let response = ask(&layer, request.body(()).unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_hook_sees_every_refusal_and_may_give_it_a_reference() {
    let layer = GuardLayer::new(guard()).on_refusal(|refusal, parts| {
        let seen = format!("{} {}", parts.uri.path(), refusal.reason());
        refusal.referenced(seen)
    });
    let service = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let request = Request::get("/mcp").body(()).unwrap();
    let response = layer.layer(service).oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["reference"], "/mcp no_credentials");
}

#[tokio::test]
async fn a_scope_layer_without_a_guard_in_front_lets_nobody_in() {
    let service = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let status = |request: Request<()>, scope: &'static str| {
        let layer = crate::RequireScope::<u8>::new(scope);
        let service = layer.layer(service);
        async move { service.oneshot(request).await.unwrap().status().as_u16() }
    };
    assert_eq!(status(Request::new(()), "mcp/read").await, 500);
    for (scope, expected) in [("mcp/read", 200), ("mcp/write", 403)] {
        let mut request = Request::new(());
        request.extensions_mut().insert(caller().await);
        assert_eq!(status(request, scope).await, expected);
    }
}
