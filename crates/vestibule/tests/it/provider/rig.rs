//! What these tests share: a look into a JWT, a second pool, and a small OAuth server that is not OpenID Connect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vestibule::provider::profile;
use vestibule::settings::ProviderSettings;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::time::{Clock as _, ManualClock, SystemClock};
use vestibule_oauth::url::{Endpoint, Issuer};
use vestibule_standin::cognito::{Cognito, CognitoOptions};

use crate::support::{Answer, Browser, Client, ORIGIN, TestHouse};

/// The payload of a JWT that `/token` just gave.
pub(super) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Another pool with the same users, who have the same `sub` there as in the first.
pub(super) async fn second_pool() -> (Cognito, ProviderSettings) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let pool = Cognito::start(CognitoOptions::default(), clock)
        .await
        .unwrap();
    pool.allow_callback(&format!("{ORIGIN}/callback/guests"));
    let settings = ProviderSettings {
        id: "guests".to_owned(),
        label: "Guest account".to_owned(),
        client_secret: Some(ClientSecret::new(pool.client_secret())),
        preset: &profile::COGNITO,
        scopes: ScopeSet::parse("openid email profile"),
        ..ProviderSettings::new(Issuer::parse(pool.issuer()).unwrap(), pool.client_id())
    };
    (pool, settings)
}

/// The consent page of a good request with these extra parameters.
pub(super) async fn consent_page(
    browser: &mut Browser,
    client: &Client,
    scope: &str,
    extra: &[(&str, &str)],
) -> Answer {
    let challenge = TestHouse::challenge(client);
    let mut params = TestHouse::authorization(client, &challenge);
    params.retain(|(name, _)| *name != "scope");
    params.push(("scope", scope));
    params.extend_from_slice(extra);
    let page = browser.get(&TestHouse::authorize_url(&params)).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    page
}

/// Approves, at a provider if one is named.
pub(super) async fn approve(
    browser: &mut Browser,
    page: &Answer,
    provider: Option<&str>,
) -> Answer {
    let ticket = page.input("ticket");
    let mut fields = vec![("ticket", ticket.as_str()), ("decision", "approve")];
    fields.extend(provider.map(|id| ("provider", id)));
    browser.post(&format!("{ORIGIN}/consent"), &fields).await
}

/// The redemption of a sign-in with `scope`, at a pool.
pub(super) async fn sign_in_at(
    house: &TestHouse,
    client: &Client,
    provider: Option<&str>,
    (username, password): (&str, &str),
    scope: &str,
) -> Answer {
    let mut browser = house.browser();
    let page = consent_page(&mut browser, client, scope, &[]).await;
    let approved = approve(&mut browser, &page, provider).await;
    let back = browser
        .sign_in_at_provider(approved.location(), username, password)
        .await;
    let answer = browser.get(back.location()).await;
    let code = answer.location_param("code").expect("a code");
    house
        .post_form("/token", &TestHouse::redemption(client, &code))
        .await
}

/// What the OAuth server that is not OpenID Connect does next, and saw.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Answer of `/user`; 401 when there is none.
    pub(super) user: Option<Value>,
    /// Answer of `/token`.
    pub(super) token: Value,
    /// Status of `/user` when it is not to work.
    pub(super) broken: Option<u16>,
    /// The last authorization request.
    pub(super) asked: BTreeMap<String, String>,
    /// The last token request.
    pub(super) redeemed: BTreeMap<String, String>,
    /// `Authorization` of every call of `/user`.
    pub(super) calls: Vec<String>,
}

/// An OAuth server with an API that says who somebody is, as GitHub has it.
pub(super) struct OAuthOnly {
    pub(super) origin: String,
    pub(super) script: Arc<Mutex<Script>>,
}

impl OAuthOnly {
    pub(super) async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script {
            user: Some(json!({ "id": 583_231, "login": "octocat", "name": "Octo", "email": null })),
            token: json!({ "access_token": "gho_1", "token_type": "bearer", "scope": "read:user,gist" }),
            ..Script::default()
        }));
        let router = Router::new()
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/user", get(user))
            .with_state(Arc::clone(&script));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { origin, script }
    }

    pub(super) fn endpoint(&self, path: &str) -> Endpoint {
        Endpoint::parse(&format!("{}{path}", self.origin)).unwrap()
    }

    /// As the settings of a GitHub-like provider.
    pub(super) fn settings(&self) -> ProviderSettings {
        let mut settings = ProviderSettings::new(
            Issuer::parse("https://github.com/login/oauth").unwrap(),
            "app",
        );
        assert_eq!(settings.preset.name, "github");
        settings.issuer = Issuer::parse(&self.origin).unwrap();
        settings.client_secret = Some(ClientSecret::new("hush"));
        settings.endpoints.authorization = Some(self.endpoint("/authorize"));
        settings.endpoints.token = Some(self.endpoint("/token"));
        settings.endpoints.userinfo = Some(self.endpoint("/user"));
        settings
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }
}

type Shared = State<Arc<Mutex<Script>>>;

async fn authorize(State(script): Shared, RawQuery(query): RawQuery) -> Redirect {
    let query = pairs(query.unwrap_or_default().as_bytes());
    let location = format!(
        "{}?code=gh-code&state={}",
        query["redirect_uri"], query["state"]
    );
    script.lock().unwrap().asked = query;
    Redirect::to(&location)
}

async fn token(State(script): Shared, form: Bytes) -> Response {
    let mut script = script.lock().unwrap();
    script.redeemed = pairs(&form);
    json_answer(&script.token)
}

async fn user(State(script): Shared, headers: HeaderMap) -> Response {
    let mut script = script.lock().unwrap();
    let bearer = headers["authorization"].to_str().unwrap().to_owned();
    script.calls.push(bearer);
    if let Some(status) = script.broken {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    match &script.user {
        Some(user) => json_answer(user),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

fn json_answer(body: &Value) -> Response {
    ([("content-type", "application/json")], body.to_string()).into_response()
}

fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}
