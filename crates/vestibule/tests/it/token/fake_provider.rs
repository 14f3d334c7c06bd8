//! A provider whose token answers a test writes word for word: discovery, keys, and `POST /token`.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use vestibule::keys::KeyRing;
use vestibule::provider::profile;
use vestibule::settings::{ClaimMapping, ProviderSettings};
use vestibule_oauth::jose::{SigningAlg, SigningKey};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url::Issuer;

use crate::support::{Answer, CALLBACK, Client, ORIGIN, TestHouse};

pub(super) const CLIENT_ID: &str = "app";
pub(super) const SUBJECT: &str = "user-1";

/// The provider.
pub(super) struct FakeProvider {
    pub(super) issuer: String,
    pub(super) key: SigningKey,
    answer: Arc<Mutex<Value>>,
}

/// A house in front of it, with a sign-in that has come back from it.
pub(super) struct Waiting {
    pub(super) provider: FakeProvider,
    pub(super) house: TestHouse,
    pub(super) client: Client,
    pub(super) code: String,
    pub(super) nonce: String,
}

pub(super) fn signing_key(alg: SigningAlg) -> SigningKey {
    let ring = KeyRing::generate(&[alg], UnixTime(1), &SystemRandom).unwrap();
    SigningKey::from_pem(alg, &ring.signing[0].pem).unwrap()
}

impl FakeProvider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = signing_key(SigningAlg::Es256);
        let answer = Arc::new(Mutex::new(json!({})));
        let discovery = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        let jwks = json!({ "keys": [key.public_jwk()] });
        let told = Arc::clone(&answer);
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || discovery.to_string()),
            )
            .route("/jwks", get(async move || jwks.to_string()))
            .route(
                "/token",
                post(async move || told.lock().unwrap().to_string()),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            issuer,
            key,
            answer,
        }
    }

    /// What the token endpoint says from now on.
    pub(super) fn answers(&self, id_token: Option<&str>) {
        let mut answer = json!({
            "access_token": "opaque-access",
            "refresh_token": "opaque-refresh",
            "token_type": "Bearer",
            "expires_in": 3600,
        });
        if let Some(id_token) = id_token {
            answer["id_token"] = json!(id_token);
        }
        *self.answer.lock().unwrap() = answer;
    }
}

impl Waiting {
    pub(super) async fn new() -> Self {
        let provider = FakeProvider::start().await;
        let issuer = Issuer::parse(&provider.issuer).unwrap();
        let house = TestHouse::with(|settings| {
            settings.provider = ProviderSettings {
                scopes: ScopeSet::parse("openid"),
                preset: &profile::GENERIC,
                ..ProviderSettings::new(issuer, CLIENT_ID)
            };
            settings.tokens.claims = ClaimMapping::defaults(&profile::GENERIC);
        })
        .await;
        let client = house.register(CALLBACK).await;
        let mut browser = house.browser();
        let approved = house.approve(&mut browser, &client).await;
        let param = |name| approved.location_param(name).unwrap();
        let (state, nonce) = (param("state"), param("nonce"));
        let callback = format!("{ORIGIN}/callback?code=provider-code&state={state}");
        let answer = browser.get(&callback).await;
        let code = answer.location_param("code").unwrap();
        Self {
            provider,
            house,
            client,
            code,
            nonce,
        }
    }

    /// The claims of a good ID token.
    pub(super) fn claims(&self) -> Map<String, Value> {
        let now = self.now();
        let claims = json!({
            "iss": self.provider.issuer,
            "aud": CLIENT_ID,
            "sub": SUBJECT,
            "iat": now,
            "exp": now + 600,
            "nonce": self.nonce,
            "groups": ["staff"],
        });
        claims.as_object().unwrap().clone()
    }

    pub(super) fn now(&self) -> u64 {
        use vestibule_oauth::time::Clock as _;
        self.house.clock.now().0
    }

    /// Redeems with an ID token of these claims.
    pub(super) async fn redeem(&self, claims: &Map<String, Value>) -> Answer {
        let token = self.provider.key.sign("JWT", claims).unwrap();
        self.redeem_with(Some(&token)).await
    }

    pub(super) async fn redeem_with(&self, id_token: Option<&str>) -> Answer {
        self.provider.answers(id_token);
        self.house.redeem(&self.client, &self.code).await
    }
}
