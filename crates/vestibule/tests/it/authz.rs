//! `/authz`: what proxies are told about a request that they forward, and what attackers try to make them believe.

use std::net::SocketAddr;

use axum::body::Body;
use http::header::HOST;
use http::{Method, Request};
use vestibule::arrival::PeerAddr;
use vestibule::settings::{
    AuthzSettings, ClaimMapping, CredentialSettings, EndpointLimits, Rate, RequestFrom, Settings,
};
use vestibule::upstream_identity::IdentityToken;
use vestibule_oauth::secret::Secret;

use crate::support::{Answer, CHALLENGE, ORIGIN, TestHouse};

const PROXY: &str = "10.0.0.7";

/// A house that believes the proxies of one network.
async fn house(from: RequestFrom, change: impl FnOnce(&mut Settings)) -> TestHouse {
    TestHouse::with(|settings| {
        let proxies = vec!["10.0.0.0/24".parse().unwrap()];
        settings.authz = Some(AuthzSettings::new(proxies, from));
        change(settings);
    })
    .await
}

/// What a proxy asks; tests change one thing.
struct Question {
    peer: Option<&'static str>,
    from: RequestFrom,
    method: &'static str,
    target: String,
    proto: &'static str,
    host: &'static str,
    token: Option<String>,
    extra: Vec<(&'static str, String)>,
}

impl Question {
    fn new(from: RequestFrom, token: &str) -> Self {
        Self {
            peer: Some(PROXY),
            from,
            method: "POST",
            target: "/mcp".to_owned(),
            proto: "https",
            host: "mcp.example.test",
            token: Some(token.to_owned()),
            extra: Vec::new(),
        }
    }

    fn about(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.extra.push((name, value.to_owned()));
        self
    }

    async fn ask(self, house: &TestHouse) -> Answer {
        let (method, uri, headers) = match self.from {
            RequestFrom::XForwarded => (
                "GET",
                "/authz".to_owned(),
                vec![
                    ("x-forwarded-method", self.method),
                    ("x-forwarded-proto", self.proto),
                    ("x-forwarded-host", self.host),
                    ("x-forwarded-uri", self.target.as_str()),
                    ("host", "vestibule.internal"),
                ],
            ),
            RequestFrom::XOriginal => (
                "GET",
                "/authz".to_owned(),
                vec![
                    ("x-original-method", self.method),
                    ("x-original-proto", self.proto),
                    ("x-original-host", self.host),
                    ("x-original-uri", self.target.as_str()),
                    ("host", "vestibule.internal"),
                ],
            ),
            RequestFrom::Path => (
                self.method,
                format!("/authz{}", self.target),
                vec![("x-forwarded-proto", self.proto), ("host", self.host)],
            ),
        };
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(uri);
        if let Some(peer) = self.peer {
            let peer = SocketAddr::new(peer.parse().unwrap(), 5000);
            request = request.extension(PeerAddr(peer));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &self.extra {
            request = request.header(*name, value);
        }
        house.send(request.body(Body::empty()).unwrap()).await
    }
}

const ALL: [RequestFrom; 3] = [
    RequestFrom::XForwarded,
    RequestFrom::XOriginal,
    RequestFrom::Path,
];

/// Fails unless it is a plain no, with nothing in it that a proxy could pass on.
fn assert_denied(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 403, "{why}: {}", answer.text());
    assert!(answer.text().contains("reference"), "{why}");
    assert!(!answer.headers.contains_key("www-authenticate"), "{why}");
    assert!(!answer.headers.contains_key("authorization"), "{why}");
    let ours = |name: &http::HeaderName| name.as_str().starts_with("x-vestibule-");
    assert!(!answer.headers.keys().any(ours), "{why}");
}

#[tokio::test]
async fn a_proxy_learns_who_calls_and_gets_the_credential_of_the_upstream() {
    for from in ALL {
        let house = house(from, |_| {}).await;
        let (client, tokens) = house.sign_in().await;
        for target in ["/mcp", "/mcp/", "/mcp?a=b", "/mcp/below"] {
            let question = Question::new(from, &tokens.access).about(target);
            let answer = question.ask(&house).await;
            assert_eq!(answer.status, 200, "{from:?}: {}", answer.text());
            assert_eq!(answer.header("x-vestibule-client"), client.id);
            assert_eq!(answer.header("x-vestibule-scope"), tokens.scope);
            assert_eq!(answer.header("x-vestibule-groups"), "admins,staff");
            assert_eq!(answer.header("x-vestibule-claim-email"), "ada@example.com");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.text(), "");
            let credential = answer.header("authorization");
            assert_ne!(credential, format!("Bearer {}", tokens.access));
            assert!(credential.starts_with("Bearer ey"), "{credential}");
        }
        // It is the subject that the gateway tells the upstream.
        let answer = Question::new(from, &tokens.access).ask(&house).await;
        let subject = house.whoami(&tokens.access).await["subject"].clone();
        assert_eq!(subject, answer.header("x-vestibule-subject"));
    }
}

#[tokio::test]
async fn without_a_good_token_the_answer_is_the_one_of_the_gateway() {
    for from in ALL {
        let house = house(from, |_| {}).await;
        for method in ["GET", "POST", "DELETE", "OPTIONS", "HEAD"] {
            let mut question = Question::new(from, "").with("origin", "http://localhost:6274");
            question.token = None;
            question.method = method;
            let answer = question.ask(&house).await;
            assert_eq!(answer.status, 401, "{from:?} {method}");
            assert_eq!(answer.header("www-authenticate"), CHALLENGE);
            assert_eq!(answer.header("content-type"), "application/json");
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, "http://localhost:6274");
            let exposed = answer.header("access-control-expose-headers");
            assert!(exposed.contains("WWW-Authenticate"), "{exposed}");
        }
        let answer = Question::new(from, "nonsense").ask(&house).await;
        answer.assert_challenged("invalid_token", "nonsense");
        let answer = Question::new(from, "nonsense").about("/mcp?access_token=x");
        answer
            .ask(&house)
            .await
            .assert_challenged("invalid_request", "a token in the query");
    }
}

#[tokio::test]
async fn a_token_that_the_gateway_refuses_is_refused_here() {
    let from = RequestFrom::XForwarded;
    let house = house(from, |settings| {
        let other = settings.resources[0].clone();
        let other = vestibule::settings::ResourceSettings::new(
            &settings.public_url,
            "/other",
            other.upstream,
        );
        settings.resources.push(other.unwrap());
    })
    .await;
    let (client, tokens) = house.sign_in().await;
    // Of another resource.
    let answer = Question::new(from, &tokens.access)
        .about("/other")
        .ask(&house)
        .await;
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .header("www-authenticate")
            .contains("/oauth-protected-resource/other\"")
    );
    // Revoked.
    let form = [("token", tokens.access.as_str()), ("client_id", &client.id)];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    let answer = Question::new(from, &tokens.access).ask(&house).await;
    answer.assert_challenged("invalid_token", "revoked");
    // Expired.
    let (_, tokens) = house.sign_in().await;
    house.clock.advance(3601);
    let answer = Question::new(from, &tokens.access).ask(&house).await;
    answer.assert_challenged("invalid_token", "expired");
}

#[tokio::test]
async fn headers_from_an_untrusted_peer_are_not_believed() {
    for from in ALL {
        let house = house(from, |settings| {
            // Believed about addresses, not here.
            settings.server.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
        })
        .await;
        let (_, tokens) = house.sign_in().await;
        for peer in [
            Some("192.0.2.1"),
            Some("127.0.0.1"),
            Some("10.0.1.7"),
            Some("::ffff:10.0.1.7"),
            Some("::1"),
            None,
        ] {
            let mut question = Question::new(from, &tokens.access).with("x-forwarded-for", PROXY);
            question.peer = peer;
            assert_denied(&question.ask(&house).await, &format!("{from:?} {peer:?}"));
        }
        let mut question = Question::new(from, &tokens.access);
        question.peer = Some("::ffff:10.0.0.7");
        assert_eq!(question.ask(&house).await.status, 200, "{from:?}");
    }
}

#[tokio::test]
async fn nobody_is_believed_unless_the_operator_says_so() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    for from in ALL {
        let answer = Question::new(from, &tokens.access).ask(&house).await;
        assert_eq!(answer.status, 404, "{from:?}");
        assert_eq!(answer.error(), "not_found", "{from:?}");
    }
}

#[tokio::test]
async fn t21_no_path_trick_makes_a_request_look_like_one_to_the_resource() {
    for from in ALL {
        let house = house(from, |_| {}).await;
        let (_, tokens) = house.sign_in().await;
        for target in [
            "/",
            "//mcp",
            "/./mcp",
            "/x/../mcp",
            "/%6dcp",
            "/mcpx",
            "/MCP",
            "/mcp/..",
            "/mcp/../admin",
            "/mcp/%2e%2e/admin",
            "/mcp/%252e%252e/admin",
            "/mcp/..%2fadmin",
            "/mcp/a%2fb",
            "/mcp%2fadmin",
            "/mcp/a%5cb",
            "/mcp//admin",
            "/mcp//",
            "/mcp/..;/admin",
            "/mcp/%00",
            "/mcp/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/mcp",
            "/token",
            "/authz",
            "/healthz",
        ] {
            let question = Question::new(from, &tokens.access).about(target);
            let answer = question.ask(&house).await;
            // Nothing is behind `/authz/` itself: no route, no yes.
            if from == RequestFrom::Path && target == "/" {
                assert_eq!(answer.status, 404);
                continue;
            }
            assert_denied(&answer, &format!("{from:?} {target}"));
        }
        // In a query it is a query.
        for target in ["/mcp?x=/../admin", "/mcp?x=%2e%2e&y=//z"] {
            let question = Question::new(from, &tokens.access).about(target);
            assert_eq!(question.ask(&house).await.status, 200, "{from:?} {target}");
        }
    }
}

#[tokio::test]
async fn another_host_or_scheme_than_our_own_is_refused() {
    for from in ALL {
        let house = house(from, |_| {}).await;
        let (_, tokens) = house.sign_in().await;
        for (proto, host) in [
            ("https", "evil.example"),
            ("https", "mcp.example.test.evil.example"),
            ("https", "mcp.example.test:8443"),
            ("http", "mcp.example.test"),
            ("https,http", "mcp.example.test"),
        ] {
            let mut question = Question::new(from, &tokens.access);
            (question.proto, question.host) = (proto, host);
            assert_denied(
                &question.ask(&house).await,
                &format!("{from:?} {proto} {host}"),
            );
        }
    }
}

#[tokio::test]
async fn an_attacker_cannot_override_what_the_proxy_says() {
    for from in ALL {
        let house = house(from, |_| {}).await;
        let (_, tokens) = house.sign_in().await;
        for (name, value) in [
            ("x-http-method-override", "DELETE"),
            ("x-http-method", "DELETE"),
            ("x_method_override", "DELETE"),
            ("x-rewrite-url", "/admin"),
            ("x-original-url", "https://mcp.example.test/admin"),
            ("x-vestibule-subject", "root"),
            ("x-vestibule-groups", "admins"),
            ("x_vestibule_groups", "admins"),
            ("x-vestibule-claim-email", "root@example.com"),
        ] {
            let question = Question::new(from, &tokens.access).with(name, value);
            assert_denied(&question.ask(&house).await, &format!("{from:?} {name}"));
        }
        // Once more what the proxy itself says, as if a client had written it before.
        for name in ["x-forwarded-proto", "x-original-uri", "x-forwarded-uri"] {
            let question = Question::new(from, &tokens.access).with(name, "/open");
            let answer = question.ask(&house).await;
            let is_read = match from {
                RequestFrom::XForwarded => name != "x-original-uri",
                RequestFrom::XOriginal => name == "x-original-uri",
                RequestFrom::Path => name == "x-forwarded-proto",
            };
            if is_read {
                assert_denied(&answer, &format!("{from:?} {name}"));
            } else {
                assert_eq!(answer.status, 200, "{from:?} {name}");
            }
        }
        for method in ["TRACE", "CONNECT", "trace"] {
            let mut question = Question::new(from, &tokens.access);
            question.method = method;
            assert_denied(&question.ask(&house).await, &format!("{from:?} {method}"));
        }
    }
}

#[tokio::test]
async fn a_foreign_page_is_refused_as_at_the_gateway() {
    let from = RequestFrom::XForwarded;
    let house = house(from, |_| {}).await;
    let (_, tokens) = house.sign_in().await;
    let question = Question::new(from, &tokens.access).with("origin", "https://evil.example");
    let answer = question.ask(&house).await;
    assert_denied(&answer, "a foreign origin");
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    let question = Question::new(from, &tokens.access).with("origin", ORIGIN);
    let answer = question.ask(&house).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
}

/// A preflight has no token. A yes would let it through to the server behind, so there is none.
#[tokio::test]
async fn a_preflight_is_no_way_around_the_token() {
    let from = RequestFrom::Path;
    let house = house(from, |_| {}).await;
    let mut question = Question::new(from, "")
        .with("origin", "http://localhost:6274")
        .with("access-control-request-method", "POST");
    question.token = None;
    question.method = "OPTIONS";
    assert_eq!(question.ask(&house).await.status, 401);
}

#[tokio::test]
async fn each_kind_of_credential_replaces_the_clients_token() {
    let from = RequestFrom::XForwarded;
    let fixed = || CredentialSettings::Header {
        name: http::HeaderName::from_static("x-api-key"),
        value: Secret::new("upstream-key"),
    };
    for credential in [CredentialSettings::None, fixed()] {
        let is_fixed = matches!(credential, CredentialSettings::Header { .. });
        let house = house(from, |settings| {
            settings.resources[0].credential = credential;
        })
        .await;
        let (_, tokens) = house.sign_in().await;
        let answer = Question::new(from, &tokens.access).ask(&house).await;
        assert_eq!(answer.status, 200);
        // There, and empty: what a proxy copies takes the client's away.
        assert_eq!(answer.headers["authorization"], "");
        let key = answer
            .headers
            .get("x-api-key")
            .map(|key| key.to_str().unwrap());
        assert_eq!(key, is_fixed.then_some("upstream-key"));
    }
    let house = house(from, |settings| {
        settings.resources[0].credential = CredentialSettings::ProviderToken;
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let answer = Question::new(from, &tokens.access).ask(&house).await;
    assert!(answer.header("authorization").starts_with("Bearer ey"));
}

/// Whatever is mapped has its header even for who has no such claim: a proxy that copies it overwrites a forged one.
#[tokio::test]
async fn a_claim_that_a_user_does_not_have_is_told_as_empty() {
    let from = RequestFrom::XForwarded;
    let house = house(from, |settings| {
        settings.tokens.claims = vec![
            ClaimMapping {
                name: "department".to_owned(),
                from: "custom:department".to_owned(),
            },
            ClaimMapping {
                name: "groups".to_owned(),
                from: "nothing".to_owned(),
            },
        ];
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let answer = Question::new(from, &tokens.access).ask(&house).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-vestibule-claim-department"], "");
    assert_eq!(answer.headers["x-vestibule-groups"], "");
}

/// The same headers as at the gateway, each there even where there is nothing to tell, and none taken from the caller: a
/// proxy copies what stands here over what the client sent, but `x_user` would stay.
#[tokio::test]
async fn the_headers_of_the_operators_choice_are_told_and_never_taken_from_the_caller() {
    for from in ALL {
        let house = house(from, |settings| {
            let identity = &mut settings.resources[0].identity;
            identity.headers = ["sub", "groups", "nickname"]
                .map(|claim| (format!("x-my-{claim}").parse().unwrap(), claim.to_owned()))
                .into();
            identity.token = Some(IdentityToken::new("https://up.example"));
        })
        .await;
        let (_, tokens) = house.sign_in().await;
        let answer = Question::new(from, &tokens.access).ask(&house).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.header("x-my-sub"),
            answer.header("x-vestibule-subject")
        );
        assert_eq!(answer.header("x-my-groups"), "admins,staff");
        assert_eq!(answer.headers["x-my-nickname"], "");
        assert!(answer.header("x-vestibule-identity").starts_with("ey"));
        for name in [
            "x-my-sub",
            "X_My-Sub",
            "x_my_nickname",
            "x-vestibule_identity",
        ] {
            let question = Question::new(from, &tokens.access).with(name, "root");
            let answer = question.ask(&house).await;
            assert_denied(&answer, &format!("{from:?} {name}"));
            assert!(!answer.headers.contains_key("x-my-sub"));
        }
    }
}

#[tokio::test]
async fn questions_count_as_requests_of_the_user() {
    let from = RequestFrom::XForwarded;
    let house = house(from, |settings| {
        settings.limits.mcp = EndpointLimits {
            per_user: Rate::parse("2/1m").ok(),
            ..EndpointLimits::default()
        };
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    for _ in 0..2 {
        assert_eq!(
            Question::new(from, &tokens.access).ask(&house).await.status,
            200
        );
    }
    let answer = Question::new(from, &tokens.access).ask(&house).await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains_key("retry-after"));
}

/// Rules decide on bodies. A question has none, so the answer is no for whoever may call at the gateway.
#[tokio::test]
async fn rules_that_need_the_body_are_not_got_around() {
    let from = RequestFrom::XForwarded;
    let house = house(from, |settings| {
        settings.resources[0].deny_by_default = true;
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let answer = Question::new(from, &tokens.access).ask(&house).await;
    assert_denied(&answer, "rules");
    // Without a token the challenge comes first, here as well.
    let answer = Question::new(from, "nonsense").ask(&house).await;
    answer.assert_challenged("invalid_token", "nonsense");
}

#[tokio::test]
async fn the_path_is_the_operators_choice() {
    let house = house(RequestFrom::XForwarded, |settings| {
        settings.authz.as_mut().unwrap().path = "/internal/verify".to_owned();
    })
    .await;
    let request = |path: &str| {
        let peer = PeerAddr(SocketAddr::new(PROXY.parse().unwrap(), 5000));
        let request = Request::get(path).extension(peer).header(HOST, "x");
        request.body(Body::empty()).unwrap()
    };
    let answer = house.send(request("/internal/verify")).await;
    assert_denied(&answer, "nothing was described");
    assert_eq!(house.send(request("/authz")).await.status, 404);
}
