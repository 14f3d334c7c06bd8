//! S2 to S6 and S9: what `/oauth2/authorize` refuses, and where the refusal goes.

use http::{Method, StatusCode};
use vestibule_standin::cognito::{
    ManagedLoginVersion, ResourceServer, ScopeErrorForm, UnregisteredResource,
};

use crate::harness::{Browser, CALLBACK, CHALLENGE, Street, jwt_part};

#[tokio::test]
async fn s2_authorize_is_get_only() {
    let street = Street::open().await;
    let url = street.authorize_url(&[]);
    let answer = Browser::default()
        .send(Method::POST, &url, &[], Some(String::new()))
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn s2_a_callback_that_differs_by_one_character_never_gets_an_answer() {
    let street = Street::open().await;
    let client_id = street.cognito.client_id().to_owned();
    for redirect_uri in [
        "https://evil.example/oauth/callback",
        "http://127.0.0.1:9/oauth/callback/",
        "http://127.0.0.1:10/oauth/callback",
        "http://localhost:9/oauth/callback",
        "http://127.0.0.1:9/oauth/callback?x=1",
        "HTTP://127.0.0.1:9/oauth/callback",
    ] {
        let answer = street
            .authorize(&[("redirect_uri", Some(redirect_uri))])
            .await;
        assert_eq!(
            answer.location(),
            format!(
                "{}/error?error=redirect_mismatch&client_id={client_id}",
                street.cognito.domain()
            )
        );
    }
    let page = street
        .get("/error?error=redirect_mismatch%3Cb%3E", &[])
        .await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.body.contains("redirect_mismatch&lt;b&gt;"));
}

#[tokio::test]
async fn s2_an_unknown_client_is_a_redirect_mismatch_too() {
    let street = Street::open().await;
    let answer = street.authorize(&[("client_id", Some("nobody"))]).await;
    assert!(
        answer
            .location()
            .ends_with("/error?error=redirect_mismatch&client_id=nobody")
    );
}

#[tokio::test]
async fn a_callback_allowed_at_run_time_works() {
    let street = Street::open().await;
    let late = "http://localhost:4711/cb";
    street.cognito.allow_callback(late);
    let answer = street.authorize(&[("redirect_uri", Some(late))]).await;
    assert!(answer.location().contains("/login?"));
}

#[tokio::test]
async fn s3_the_scope_error_has_the_observed_order_or_the_documented_form() {
    let street = Street::open().await;
    let answer = street.authorize(&[("scope", Some("openid nope"))]).await;
    assert_eq!(
        answer.location(),
        format!("{CALLBACK}?error_description=invalid_scope&state=s-1&error=invalid_request")
    );
    let street = Street::open_with(|o| o.scope_error = ScopeErrorForm::Documented).await;
    let answer = street.authorize(&[("scope", Some("openid nope"))]).await;
    assert_eq!(
        answer.location(),
        format!("{CALLBACK}?error=invalid_scope&state=s-1")
    );
}

#[tokio::test]
async fn s4_one_scope_too_many_fails_the_whole_request() {
    let street = Street::open().await;
    for scope in [
        "openid email mcp/read offline_access",
        "openid phone",
        "openid mcp/delete",
        "mcp:read",
    ] {
        let answer = street.authorize(&[("scope", Some(scope))]).await;
        assert_eq!(
            answer.param("error_description"),
            "invalid_scope",
            "{scope}"
        );
    }
}

#[tokio::test]
async fn s4_assumption_attribute_scopes_without_openid_fail() {
    let street = Street::open().await;
    let answer = street.authorize(&[("scope", Some("email mcp/read"))]).await;
    assert_eq!(answer.param("error_description"), "invalid_scope");
}

#[tokio::test]
async fn s4_no_scope_means_all_scopes_of_the_client() {
    let street = Street::open().await;
    for scope in [None, Some("")] {
        let tokens = street.tokens(&[("scope", scope)]).await;
        assert_eq!(
            jwt_part(&tokens["access_token"], 1)["scope"],
            "openid email profile mcp/read mcp/write"
        );
    }
}

#[tokio::test]
async fn s5_a_challenge_must_be_s256() {
    let street = Street::open().await;
    for (challenge, method) in [
        (Some(CHALLENGE), None),
        (Some(CHALLENGE), Some("plain")),
        (Some("short"), Some("S256")),
        (None, Some("S256")),
    ] {
        let answer = street
            .authorize(&[
                ("code_challenge", challenge),
                ("code_challenge_method", method),
            ])
            .await;
        assert_eq!(
            answer.location(),
            format!("{CALLBACK}?error=invalid_request&state=s-1")
        );
    }
}

#[tokio::test]
async fn response_types_other_than_code_are_refused_at_the_callback() {
    let street = Street::open().await;
    for (response_type, error) in [
        (None, "invalid_request"),
        (Some("id_token"), "invalid_request"),
        (Some("token"), "unauthorized_client"),
    ] {
        let answer = street.authorize(&[("response_type", response_type)]).await;
        assert_eq!(answer.param("error"), error);
    }
    let street = Street::open_with(|o| o.clients[0].code_grant_disabled = true).await;
    assert_eq!(
        street.authorize(&[]).await.param("error"),
        "unauthorized_client"
    );
}

#[tokio::test]
async fn assumption_a1_state_longer_than_1024_characters_is_a_400_page() {
    let street = Street::open().await;
    let longest = "x".repeat(1024);
    let answer = street.authorize(&[("state", Some(&longest))]).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    let answer = street
        .authorize(&[("state", Some(&format!("{longest}x")))])
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn s6_json_as_state_is_an_empty_400() {
    let street = Street::open().await;
    let answer = street.authorize(&[("state", Some(r#"{"a":1}"#))]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.body, "");
}

#[tokio::test]
async fn s6_state_comes_back_as_it_was_sent_and_iss_does_not() {
    let street = Street::open().await;
    let state = "a+b/c=d&e é %2F \"'<>";
    let answer = street.sign_in(&[("state", Some(state))]).await;
    assert_eq!(answer.param("state"), state);
    assert!(!answer.location().contains("iss="));
    let answer = street.sign_in(&[("state", None)]).await;
    assert!(!answer.location().contains("state="));
}

#[tokio::test]
async fn s9_a_resource_on_the_classic_pages_is_a_scope_error() {
    let street = Street::open_with(|options| {
        options.managed_login_version = ManagedLoginVersion::Classic;
    })
    .await;
    let answer = street
        .authorize(&[("resource", Some("https://mcp.example.com/mcp"))])
        .await;
    assert_eq!(
        answer.location(),
        format!("{CALLBACK}?error_description=invalid_scope&state=s-1&error=invalid_request")
    );
}

#[tokio::test]
async fn s9_a_resource_must_be_a_url_and_not_an_http_address() {
    let street = Street::open().await;
    for resource in [
        "mcp",
        "",
        "http://127.0.0.1:8080/mcp",
        "http://mcp.example.com/mcp",
    ] {
        let answer = street.authorize(&[("resource", Some(resource))]).await;
        assert_eq!(answer.param("error"), "invalid_request", "{resource}");
    }
    let two = format!(
        "{}&resource=https://a.example&resource=https://b.example",
        street.authorize_url(&[])
    );
    let answer = Browser::default().get(&two).await;
    assert_eq!(answer.param("error"), "invalid_request");
}

#[tokio::test]
async fn s9_a_bound_resource_is_the_aud_verbatim_and_stays_on_refresh() {
    let resource = "https://mcp.example.com/mcp/";
    let street = Street::open_with(|options| {
        options.unregistered_resource = UnregisteredResource::InvalidGrant;
        options.resource_servers.push(ResourceServer {
            identifier: resource.to_owned(),
            scopes: vec!["read".to_owned()],
        });
    })
    .await;
    let tokens = street.tokens(&[("resource", Some(resource))]).await;
    assert_eq!(jwt_part(&tokens["access_token"], 1)["aud"], resource);
    let again = street
        .refresh(tokens["refresh_token"].as_str().unwrap())
        .await
        .json();
    assert_eq!(jwt_part(&again["access_token"], 1)["aud"], resource);

    let unbound = street.tokens(&[]).await;
    assert!(jwt_part(&unbound["access_token"], 1).get("aud").is_none());
}

#[tokio::test]
async fn s9_assumption_unregistered_resource_is_accepted() {
    let street = Street::open().await;
    let resource = "https://mcp.example.com/mcp";
    let tokens = street.tokens(&[("resource", Some(resource))]).await;
    assert_eq!(jwt_part(&tokens["access_token"], 1)["aud"], resource);
}

#[tokio::test]
async fn s9_assumption_unregistered_resource_fails_the_exchange() {
    let street = Street::open_with(|options| {
        options.unregistered_resource = UnregisteredResource::InvalidGrant;
    })
    .await;
    let code = street
        .sign_in(&[("resource", Some("https://mcp.example.com/mcp"))])
        .await
        .param("code");
    street.redeem(&code).await.assert_error("invalid_grant");
}
