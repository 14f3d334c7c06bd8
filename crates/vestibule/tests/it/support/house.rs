//! `TestHouse`: stand-in, demo server and house, and the steps of a sign-in one by one.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use vestibule::House;
use vestibule::keys::KeyRing;
use vestibule::provider::profile;
use vestibule::settings::{
    CredentialSettings, KeysSettings, PreRegistered, ProviderSettings, ResourceSettings, Settings,
};
use vestibule::store::{MemoryStore, Store};
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::time::{Clock, ManualClock, SystemClock};
use vestibule_oauth::url::{Endpoint, Issuer, Origin, PrivateUseSchemes, RedirectUri};
use vestibule_standin::cognito::{Cognito, CognitoOptions};
use vestibule_standin::demo::{Demo, DemoOptions};

use super::SeededRandom;
use super::browser::{Answer, Browser, whole};

/// Our public URL in tests. Nothing listens there: the router is called directly.
pub(crate) const ORIGIN: &str = "https://mcp.example.test";
/// The one resource.
pub(crate) const MCP: &str = "https://mcp.example.test/mcp";
pub(crate) const CALLBACK: &str = "http://localhost:4711/callback";

/// The whole street in one process.
pub(crate) struct TestHouse {
    pub(crate) house: Arc<House>,
    pub(crate) router: Router,
    pub(crate) cognito: Cognito,
    pub(crate) demo: Demo,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) settings: Settings,
    pub(crate) ring: KeyRing,
    /// Shared by all replicas.
    pub(crate) store: Option<Arc<dyn Store>>,
}

/// A registered client with the verifier of its request.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) redirect_uri: String,
    pub(crate) verifier: String,
}

/// What `/token` gave.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) expires_in: u64,
    pub(crate) scope: String,
}

impl TestHouse {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::build(CognitoOptions::default(), change).await
    }

    /// With another pool.
    pub(crate) async fn build(options: CognitoOptions, change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_store(options, |_| None, change).await
    }

    /// With a store in memory that all replicas share.
    pub(crate) async fn stored(
        options: CognitoOptions,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::with_store(
            options,
            |clock| Some(Arc::new(MemoryStore::new(clock))),
            change,
        )
        .await
    }

    /// With a store, made with the clock of the house.
    pub(crate) async fn with_store(
        options: CognitoOptions,
        store: impl FnOnce(Arc<dyn Clock>) -> Option<Arc<dyn Store>>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let cognito = Cognito::start(options, Arc::clone(&clock) as Arc<dyn Clock>)
            .await
            .unwrap();
        let demo = Demo::start(DemoOptions::default()).await.unwrap();
        let origin = Origin::parse(ORIGIN).unwrap();
        cognito.allow_callback(&origin.join("/callback"));
        let provider = ProviderSettings {
            client_secret: Some(ClientSecret::new(cognito.client_secret())),
            scopes: ScopeSet::parse("openid email profile"),
            preset: &profile::COGNITO,
            ..ProviderSettings::new(
                Issuer::parse(cognito.issuer()).unwrap(),
                cognito.client_id(),
            )
        };
        let upstream = Endpoint::parse(demo.url()).unwrap();
        let resource = ResourceSettings {
            scopes: ScopeSet::parse("mcp:read mcp:write"),
            default_scopes: ScopeSet::parse("mcp:read"),
            credential: CredentialSettings::VestibuleToken {
                audience: upstream.as_str().to_owned(),
            },
            name: Some("Demo".to_owned()),
            ..ResourceSettings::new(&origin, "/mcp", upstream).unwrap()
        };
        let mut settings = Settings::new(origin, provider, vec![resource], KeysSettings::Ephemeral);
        let uri = RedirectUri::parse("https://desk.example/cb", &PrivateUseSchemes::default());
        let desk = PreRegistered::public("desk", "The desk", vec![uri.unwrap()]);
        settings.clients.preregistered.push(desk);
        change(&mut settings);
        let ring = KeyRing::generate(&SigningAlg::ALL, clock.now(), &SystemRandom).unwrap();
        let store = store(Arc::clone(&clock) as Arc<dyn Clock>);
        let house = replica(&settings, &ring, store.clone(), &clock, 1);
        Self {
            router: house.router(),
            house,
            cognito,
            demo,
            clock,
            settings,
            ring,
            store,
        }
    }

    /// Another replica: its own process state, the same key file.
    pub(crate) fn replica(&self, seed: u64) -> Router {
        replica(
            &self.settings,
            &self.ring,
            self.store.clone(),
            &self.clock,
            seed,
        )
        .router()
    }

    /// From now on a house with other settings or keys answers: what a reload of the configuration does.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings, &mut KeyRing)) {
        change(&mut self.settings, &mut self.ring);
        let settings = self.settings.clone();
        self.house = self.house.succeeded_by(settings, &self.ring).unwrap();
        self.router = self.house.router();
    }

    /// A replica with other settings.
    pub(crate) fn replica_with(&self, settings: &Settings, seed: u64) -> Router {
        replica(settings, &self.ring, self.store.clone(), &self.clock, seed).router()
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(ORIGIN, vec![self.router.clone()])
    }

    /// Sends a request to the house without a browser.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        whole(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "mcp.example.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let content_type = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
        self.request(Method::POST, path, &content_type, &form).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.request(
            Method::POST,
            path,
            &[("content-type", "application/json")],
            &body.to_string(),
        )
        .await
    }

    /// Registers a public client with one redirect URI.
    pub(crate) async fn register(&self, redirect_uri: &str) -> Client {
        let answer = self
            .post_json(
                "/register",
                &json!({ "client_name": "Test", "redirect_uris": [redirect_uri] }),
            )
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        let id = answer.json()["client_id"].as_str().unwrap().to_owned();
        let verifier = CodeVerifier::generate(&SystemRandom).expose().to_owned();
        Client {
            id,
            redirect_uri: redirect_uri.to_owned(),
            verifier,
        }
    }

    /// The parameters of a good authorization request; tests replace or leave out what they are about.
    pub(crate) fn authorization<'a>(
        client: &'a Client,
        challenge: &'a str,
    ) -> Vec<(&'static str, &'a str)> {
        vec![
            ("response_type", "code"),
            ("client_id", &client.id),
            ("redirect_uri", &client.redirect_uri),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
            ("state", "client state &=#+é"),
            ("scope", "mcp:read mcp:write offline_access"),
            ("resource", MCP),
        ]
    }

    pub(crate) fn authorize_url(params: &[(&str, &str)]) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(params)
            .finish();
        format!("{ORIGIN}/authorize?{query}")
    }

    pub(crate) fn challenge(client: &Client) -> String {
        CodeVerifier::parse(&client.verifier)
            .unwrap()
            .challenge()
            .as_str()
            .to_owned()
    }

    /// Consent page → approve → the provider's authorize URL.
    pub(crate) async fn approve(&self, browser: &mut Browser, client: &Client) -> Answer {
        let challenge = Self::challenge(client);
        let page = browser
            .get(&Self::authorize_url(&Self::authorization(
                client, &challenge,
            )))
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        let ticket = page.input("ticket");
        let answer = browser
            .post(
                &format!("{ORIGIN}/consent"),
                &[("ticket", &ticket), ("decision", "approve")],
            )
            .await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        answer
    }

    /// The whole browser part: gives the answer of `/callback`.
    pub(crate) async fn browse(
        &self,
        browser: &mut Browser,
        client: &Client,
        username: &str,
        password: &str,
    ) -> Answer {
        let approved = self.approve(browser, client).await;
        let back = browser
            .sign_in_at_provider(approved.location(), username, password)
            .await;
        browser.get(back.location()).await
    }

    /// The form of a good code redemption.
    pub(crate) fn redemption<'a>(
        client: &'a Client,
        code: &'a str,
    ) -> Vec<(&'static str, &'a str)> {
        vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", &client.id),
            ("redirect_uri", &client.redirect_uri),
            ("code_verifier", &client.verifier),
            ("resource", MCP),
        ]
    }

    /// A client's code after a sign-in of Ada's.
    pub(crate) async fn code(&self, client: &Client) -> String {
        let answer = self
            .browse(&mut self.browser(), client, "ada", "lovelace")
            .await;
        answer
            .location_param("code")
            .unwrap_or_else(|| panic!("no code in {}", answer.location()))
    }

    /// Registers, signs Ada in and redeems the code.
    pub(crate) async fn sign_in(&self) -> (Client, Tokens) {
        let client = self.register(CALLBACK).await;
        let code = self.code(&client).await;
        let answer = self
            .post_form("/token", &Self::redemption(&client, &code))
            .await;
        (client, Tokens::of(&answer))
    }

    pub(crate) async fn refresh(&self, client: &Client, refresh_token: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", client.id.as_str()),
        ];
        self.post_form("/token", &form).await
    }

    /// A JSON-RPC call through the gateway.
    pub(crate) async fn call(&self, token: &str, body: &Value) -> Answer {
        self.call_at("/mcp", token, body).await
    }

    pub(crate) async fn call_at(&self, path: &str, token: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            (AUTHORIZATION.as_str(), bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        self.request(Method::POST, path, &headers, &body.to_string())
            .await
    }
}

impl Tokens {
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            expires_in: body["expires_in"].as_u64().unwrap(),
            scope: text("scope"),
        }
    }
}

fn replica(
    settings: &Settings,
    ring: &KeyRing,
    store: Option<Arc<dyn Store>>,
    clock: &Arc<ManualClock>,
    seed: u64,
) -> Arc<House> {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    House::build(
        settings.clone(),
        ring,
        store,
        clock,
        Arc::new(SeededRandom::new(seed)),
    )
    .unwrap()
}
