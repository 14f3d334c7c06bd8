//! What a builder makes of what it is told, and what it refuses.

use http::header;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;
use crate::well_known::Rendered;

fn builder() -> Builder {
    ProtectedResource::builder()
        .resource("https://notes.example/a/mcp")
        .authorization_server(TrustedIssuer::new("https://login.example").jwks(*br#"{"keys":[]}"#))
}

fn json(document: Option<&Rendered>) -> Value {
    serde_json::from_slice(&document.unwrap().body).unwrap()
}

#[test]
fn the_documents_stand_at_three_paths_and_the_slash_is_mirrored() {
    let door = builder()
        .require_scope("notes/read")
        .scopes("notes/write offline_access")
        .name("Notes")
        .documentation("https://notes.example/docs")
        .policy_uri("https://notes.example/privacy")
        .terms_of_service("https://notes.example/terms")
        .build()
        .unwrap();
    let well_known = "/.well-known/oauth-protected-resource";
    let plain = json(door.documents().get(&format!("{well_known}/a/mcp")));
    assert_eq!(
        plain,
        json!({
            "resource": "https://notes.example/a/mcp",
            "authorization_servers": ["https://login.example"],
            "scopes_supported": ["notes/read", "notes/write"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Notes",
            "resource_documentation": "https://notes.example/docs",
            "resource_policy_uri": "https://notes.example/privacy",
            "resource_tos_uri": "https://notes.example/terms",
        })
    );
    assert_eq!(json(door.documents().get(well_known)), plain);
    let slashed = json(door.documents().get(&format!("{well_known}/a/mcp/")));
    assert_eq!(slashed["resource"], "https://notes.example/a/mcp/");
    assert!(
        door.documents()
            .get("/.well-known/oauth-authorization-server")
            .is_none()
    );
}

#[test]
fn a_resource_without_a_path_has_one_document() {
    for resource in ["https://notes.example", "https://notes.example/"] {
        let door = ProtectedResource::builder()
            .resource(resource)
            .authorization_server("https://login.example")
            .build()
            .unwrap();
        let paths: Vec<&str> = door.documents().paths().collect();
        assert_eq!(paths, ["/.well-known/oauth-protected-resource"]);
        let document = json(door.documents().get(paths[0]));
        assert_eq!(
            document,
            json!({
                "resource": resource, "authorization_servers": ["https://login.example"],
                "bearer_methods_supported": ["header"],
            })
        );
    }
}

#[test]
fn what_would_let_everybody_or_nobody_in_is_not_built() {
    let bare = ProtectedResource::builder;
    let resource = || bare().resource("https://notes.example/mcp");
    let clients = |ids: &[&str]| TrustedIssuer::new("https://a.example").client_ids(ids.to_vec());
    let expect = |builder: Builder, text: &str| {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    expect(bare(), "no resource");
    expect(
        bare().resource("http://notes.example/mcp"),
        "must use https",
    );
    expect(bare().resource("https://notes.example/{a}"), "path");
    expect(resource(), "no authorization server");
    expect(resource().advertise("https://a.example"), "nobody's tokens");
    expect(resource().authorization_server("login"), "absolute URL");
    expect(
        resource()
            .authorization_server("https://a.example")
            .trust("https://a.example"),
        "twice",
    );
    expect(resource().authorization_server(clients(&[])), "empty");
    expect(
        resource().authorization_server(clients(&["a", ""])),
        "empty",
    );
    let nameless = TrustedIssuer::new("https://a.example").audience("");
    expect(resource().authorization_server(nameless), "empty");
    let broken = TrustedIssuer::new("https://a.example").jwks("<html>");
    expect(resource().authorization_server(broken), "key set");
    expect(builder().require_scope("a\"b"), "not a scope");
    expect(builder().scopes("a\u{e4}"), "not a scope");
}

#[tokio::test]
async fn documents_are_for_everybody_and_only_for_reading() {
    use tower::ServiceExt as _;
    let door = builder().build().unwrap();
    let app: axum::Router = axum::Router::new()
        .route("/a/mcp", axum::routing::get(|| async { "in" }))
        .route("/a/mcp/", axum::routing::get(|| async { "in" }))
        .layer(door.layer())
        .merge(door.routes());
    let ask = |method: &str, path: &str| {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.body(axum::body::Body::empty()).unwrap();
        let app = app.clone();
        async move { app.oneshot(request).await.unwrap() }
    };
    let path = "/.well-known/oauth-protected-resource/a/mcp";
    let answer = ask("GET", path).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{\"resource\":\"https://notes.example/a/mcp\""));
    assert_eq!(ask("OPTIONS", path).await.status(), 204);
    assert_eq!(ask("POST", path).await.status(), 405);
    for (at, metadata) in [
        ("/a/mcp", format!("{path}\"")),
        ("/a/mcp/", format!("{path}/\"")),
    ] {
        let refused = ask("GET", at).await;
        assert_eq!(refused.status(), 401);
        let challenge = refused.headers()[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap();
        assert!(challenge.contains(&metadata), "{at}: {challenge}");
    }
    // Whatever else a client guesses is a 404, not a reason to give up or to sign in.
    for guess in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration/a/mcp",
        "/a/mcp/.well-known/oauth-protected-resource",
    ] {
        let answer = ask("GET", guess).await;
        assert_eq!(answer.status(), 404, "{guess}");
        assert!(!answer.headers().contains_key(header::WWW_AUTHENTICATE));
    }
    // No method tells a stranger what is there.
    for method in ["DELETE", "PUT", "HEAD"] {
        assert_eq!(ask(method, "/a/mcp").await.status(), 401, "{method}");
    }
    let without_root: axum::Router = door.routes_without_root();
    let root = http::Request::get("/.well-known/oauth-protected-resource");
    let root = root.body(axum::body::Body::empty()).unwrap();
    assert_eq!(without_root.oneshot(root).await.unwrap().status(), 404);
}
