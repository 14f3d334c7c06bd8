//! The Rust SDK's own OAuth client over TCP: discovery to revocation, with real time and real streams.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use rmcp::model::{CallToolRequestParams, ProgressNotificationParam};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthError, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient, ServiceExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use vestibule::House;
use vestibule::keys::KeyRing;
use vestibule::provider::profile;
use vestibule::serve::ServeLimits;
use vestibule::settings::{
    CredentialSettings, KeysSettings, ProviderSettings, ResourceSettings, Settings, TokenFormat,
};
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::time::{Clock, SystemClock};
use vestibule_oauth::url::{Endpoint as EndpointUrl, Issuer, Origin};
use vestibule_standin::cognito::{Cognito, CognitoOptions, Endpoint};
use vestibule_standin::demo::{Demo, DemoOptions};

use crate::support::{Answer, Browser};

/// Where the client says that it listens. Nobody does: the test reads the redirect instead of following it.
pub(crate) const REDIRECT: &str = "http://127.0.0.1:49151/callback";

/// The whole street on loopback, with a clock that runs.
pub(crate) struct Street {
    cognito: Cognito,
    pub(crate) demo: Demo,
    origin: String,
    _shutdown: DropGuard,
}

impl Street {
    pub(crate) async fn open(host: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let cognito = Cognito::start(CognitoOptions::default(), Arc::clone(&clock))
            .await
            .unwrap();
        let demo = Demo::start(DemoOptions::default()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{host}:{}", listener.local_addr().unwrap().port());
        let public_url = Origin::parse(&origin).unwrap();
        cognito.allow_callback(&public_url.join("/callback"));
        let provider = ProviderSettings {
            client_secret: Some(ClientSecret::new(cognito.client_secret())),
            scopes: ScopeSet::parse("openid email"),
            preset: &profile::COGNITO,
            ..ProviderSettings::new(
                Issuer::parse(cognito.issuer()).unwrap(),
                cognito.client_id(),
            )
        };
        let upstream = EndpointUrl::parse(demo.url()).unwrap();
        let resource = ResourceSettings {
            scopes: ScopeSet::parse("mcp:read mcp:write"),
            credential: CredentialSettings::VestibuleToken {
                audience: upstream.as_str().to_owned(),
            },
            ..ResourceSettings::new(&public_url, "/mcp", upstream).unwrap()
        };
        let keys = KeysSettings::Ephemeral;
        let mut settings = Settings::new(public_url, provider, vec![resource], keys);
        change(&mut settings);
        let ring = KeyRing::generate(&[SigningAlg::Es256], clock.now(), &SystemRandom).unwrap();
        let limits = ServeLimits::from(&settings.server);
        let house = House::build(settings, &ring, None, clock, Arc::new(SystemRandom)).unwrap();
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        tokio::spawn(vestibule::serve::run(
            vec![listener],
            house.router(),
            limits,
            None,
            until,
        ));
        Self {
            cognito,
            demo,
            origin,
            _shutdown: shutdown.drop_guard(),
        }
    }

    pub(crate) fn mcp(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.origin, Vec::new())
    }

    /// What the user does at the URL that the client opened; gives the redirect to the client.
    pub(crate) async fn user_approves(&self, authorize_url: &str) -> String {
        let mut browser = self.browser();
        let page = browser.get(authorize_url).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let ticket = page.input("ticket");
        let consent = format!("{}/consent", self.origin);
        let decision = [("ticket", ticket.as_str()), ("decision", "approve")];
        let approved = browser.post(&consent, &decision).await;
        let back = browser
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        browser.get(back.location()).await.location().to_owned()
    }

    async fn knock(&self, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let mut browser = self.browser();
        browser
            .send(Method::POST, &self.mcp(), &headers, None)
            .await
    }

    fn refreshes(&self) -> u64 {
        let all = self.cognito.control().all_refreshes();
        all.values().sum()
    }
}

/// A client that writes down when progress arrives.
#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Vec<(Instant, f64)>>>);

impl ClientHandler for Watcher {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let now = Instant::now();
        self.0.lock().unwrap().push((now, params.progress));
    }
}

/// A client of the SDK that has signed in and connected.
struct Connected {
    auth: AuthClient<reqwest::Client>,
    service: RunningService<RoleClient, Watcher>,
    watcher: Watcher,
    client_id: String,
    refresh_token: String,
}

impl Connected {
    async fn sign_in(street: &Street, request: AuthorizationRequest) -> Self {
        let mut oauth = OAuthState::new(street.mcp(), None).await.unwrap();
        oauth.start_authorization(request).await.unwrap();
        let url = oauth.get_authorization_url().await.unwrap();
        let redirect = street.user_approves(&url).await;
        assert!(redirect.starts_with(REDIRECT), "{redirect}");
        oauth.handle_callback_url(&redirect).await.unwrap();
        let (client_id, granted) = oauth.get_credentials().await.unwrap();
        let granted = serde_json::to_value(granted).unwrap();
        assert_eq!(granted["scope"], "mcp:read mcp:write");
        let manager = oauth.into_authorization_manager().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let auth = AuthClient::new(http, manager);
        let config = StreamableHttpClientTransportConfig::with_uri(street.mcp());
        let transport = StreamableHttpClientTransport::with_client(auth.clone(), config);
        let watcher = Watcher::default();
        let service = watcher.clone().serve(transport).await.unwrap();
        Self {
            auth,
            service,
            watcher,
            client_id,
            refresh_token: granted["refresh_token"].as_str().unwrap().to_owned(),
        }
    }

    async fn call(&self, tool: &'static str, arguments: Value) -> Value {
        let arguments = arguments.as_object().unwrap().clone();
        let params = CallToolRequestParams::new(tool).with_arguments(arguments);
        let result = self.service.call_tool(params).await.unwrap();
        result.structured_content.unwrap()
    }
}

fn by_registration() -> AuthorizationRequest {
    AuthorizationRequest::new(REDIRECT).with_client_name("rmcp")
}

#[tokio::test]
async fn the_sdk_discovers_registers_signs_in_and_calls() {
    for (host, format) in [
        ("127.0.0.1", TokenFormat::Sealed),
        ("localhost", TokenFormat::Jwt),
    ] {
        let street =
            Street::open(host, |settings| settings.resources[0].token_format = format).await;
        let client = Connected::sign_in(&street, by_registration()).await;
        let seen = client.call("whoami", json!({})).await;
        assert_eq!(seen["claims"]["email"], "ada@example.com", "{host}");
        assert_eq!(seen["claims"]["aud"], street.demo.url());
        assert_eq!(seen["claims"]["client_id"], client.client_id);
        let sum = client.call("add", json!({ "a": 2, "b": 3 })).await;
        assert_eq!(sum["sum"], 5.0);
        client.service.cancel().await.unwrap();
    }
}

/// The way of a client that starts with what the server said to its first request.
#[tokio::test]
async fn the_sdk_starts_from_the_challenge_alone() {
    let street = Street::open("127.0.0.1", |_| {}).await;
    let answer = street
        .browser()
        .send(Method::POST, &street.mcp(), &[], None)
        .await;
    assert_eq!(answer.status, 401);
    let request = by_registration().with_challenge(answer.header("www-authenticate"));
    let client = Connected::sign_in(&street, request).await;
    let seen = client.call("whoami", json!({})).await;
    assert_eq!(seen["claims"]["email"], "ada@example.com");
}

/// Law 11: what the server says while it works arrives while it works.
#[tokio::test]
async fn progress_arrives_while_the_tool_runs() {
    let street = Street::open("127.0.0.1", |_| {}).await;
    let client = Connected::sign_in(&street, by_registration()).await;
    let arguments = json!({ "from": 4, "interval_ms": 200 });
    let began = Instant::now();
    assert_eq!(client.call("countdown", arguments).await["counted"], 4);
    let ended = Instant::now();
    let seen = client.watcher.0.lock().unwrap().clone();
    let steps: Vec<f64> = seen.iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, [1.0, 2.0, 3.0, 4.0]);
    // A gateway that collects would deliver all of them together at the end. Sleeps are never shorter than asked for,
    // so these bounds hold on a slow machine as well.
    let first = seen[0].0;
    assert!(ended - began >= Duration::from_millis(800));
    assert!(
        ended - first >= Duration::from_millis(400),
        "the first one came late"
    );
    assert!(
        seen[3].0 - first >= Duration::from_millis(400),
        "they came together"
    );
}

#[tokio::test]
async fn the_sdk_goes_on_after_its_token_expired_and_stops_when_it_is_revoked() {
    let street = Street::open("127.0.0.1", |settings| {
        // Shorter than settings allow, so that the test need not wait.
        settings.tokens.access_ttl = Duration::from_secs(2);
    })
    .await;
    let client = Connected::sign_in(&street, by_registration()).await;
    let token = client.auth.get_access_token().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let answer = street.knock(&token).await;
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .header("www-authenticate")
            .starts_with("Bearer error=\"invalid_token\"")
    );
    let before = street.refreshes();
    let seen = client.call("whoami", json!({})).await;
    assert_eq!(seen["claims"]["email"], "ada@example.com");
    assert!(
        street.refreshes() > before,
        "no refresh reached the provider"
    );

    let discovery = format!("{}/.well-known/oauth-authorization-server", street.origin);
    let mut browser = street.browser();
    let metadata = browser.get(&discovery).await.json();
    let endpoint = metadata["revocation_endpoint"].as_str().unwrap();
    let form = [
        ("token", client.refresh_token.as_str()),
        ("client_id", client.client_id.as_str()),
    ];
    assert_eq!(browser.post(endpoint, &form).await.status, 200);
    assert_eq!(street.cognito.control().calls(Endpoint::Revoke), 1);
    let calls = street.demo.calls();
    let refused = client.auth.get_access_token().await.unwrap_err();
    assert!(
        matches!(refused, AuthError::AuthorizationRequired),
        "{refused}"
    );
    let params = CallToolRequestParams::new("whoami");
    let call = tokio::time::timeout(Duration::from_secs(10), client.service.call_tool(params));
    assert!(call.await.expect("the client hangs").is_err());
    assert_eq!(street.demo.calls(), calls);
}

/// The stream on which the SDK listens ends with its token; it opens another one with a new token, and nobody is asked.
#[tokio::test]
async fn the_sdk_opens_its_stream_again_when_that_ended_with_its_token() {
    let street = Street::open("127.0.0.1", |settings| {
        settings.tokens.access_ttl = Duration::from_secs(2);
    })
    .await;
    let client = Connected::sign_in(&street, by_registration()).await;
    client.call("whoami", json!({})).await;
    let (before, refreshes) = (street.demo.requests(), street.refreshes());
    let again = async {
        while street.demo.requests() == before {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(40), again).await;
    waited.expect("no new stream reached the server");
    assert!(street.refreshes() > refreshes);
    let seen = client.call("whoami", json!({})).await;
    assert_eq!(seen["claims"]["email"], "ada@example.com");
}
