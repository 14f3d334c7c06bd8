//! Clients that cannot be installed here, played from what their sources say: discovery, registration, authorization,
//! consent, token, refresh, revocation. One file for each client in `clients/data/`.

mod habits;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;
use vestibule::settings::PreRegistered;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::url::{PrivateUseSchemes, RedirectUri};

use self::habits::{Document, Habits, Probe, Registration, WrittenDown, files};
use crate::support::{Answer, Client, ClientSite, MCP, ORIGIN, TestHouse, Tokens};

/// One client with one identity before one house.
struct Player<'a> {
    habits: &'a Habits,
    house: &'a TestHouse,
}

/// Who it is at the token endpoint.
struct Identity {
    client_id: String,
    /// `none`, `client_secret_basic` or `client_secret_post`.
    method: String,
    secret: Option<String>,
}

#[tokio::test]
async fn clients_that_register_live_through_discovery_sign_in_refresh_and_revocation() {
    let mut count = 0;
    for habits in everybody() {
        for registration in &habits.registration {
            let house = TestHouse::new().await;
            Player::new(&habits, &house).registers(registration).await;
            count += 1;
        }
    }
    assert!(count >= 15, "{count}");
}

#[tokio::test]
async fn clients_with_a_metadata_document_live_through_sign_in_refresh_and_revocation() {
    let mut count = 0;
    for habits in everybody() {
        for document in &habits.document {
            let host = Url::parse(&document.url).unwrap();
            let site = ClientSite::named(host.host_str().unwrap()).await;
            let house = TestHouse::with(|settings| site.configure(settings)).await;
            let player = Player::new(&habits, &house);
            player.has_a_document(document, &site).await;
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

#[tokio::test]
async fn clients_with_an_id_of_their_own_live_when_it_is_written_down() {
    let mut count = 0;
    for habits in everybody() {
        for entry in &habits.written_down {
            let house = TestHouse::with(|settings| {
                let schemes = PrivateUseSchemes::default();
                let uri = RedirectUri::parse(&entry.redirect_uri, &schemes).unwrap();
                let client = PreRegistered::public(&entry.client_id, &habits.name, vec![uri]);
                settings.clients.preregistered.push(client);
            })
            .await;
            Player::new(&habits, &house).is_written_down(entry).await;
            count += 1;
        }
    }
    assert!(count >= 1, "{count}");
}

/// Every file, with a source and somewhere to come back to.
fn everybody() -> Vec<Habits> {
    let everybody: Vec<_> = files().iter().map(|file| Habits::read(file)).collect();
    for habits in &everybody {
        assert!(!habits.sources.is_empty(), "{}", habits.name);
        let registered = habits.registration.iter().map(|own| &own.comes_back_to);
        let documents = habits.document.iter().map(|own| &own.comes_back_to);
        let written = habits.written_down.iter().map(|own| &own.comes_back_to);
        let mut ways = registered.chain(documents).chain(written).peekable();
        assert!(ways.peek().is_some(), "{}: no identity", habits.name);
        assert!(ways.all(|uris| !uris.is_empty()), "{}", habits.name);
    }
    everybody
}

impl<'a> Player<'a> {
    fn new(habits: &'a Habits, house: &'a TestHouse) -> Self {
        Self { habits, house }
    }

    async fn registers(&self, registration: &Registration) {
        self.looks_around().await;
        for uri in &registration.comes_back_to {
            let mut identity = None;
            for _ in 0..registration.times {
                identity = Some(self.register(registration).await);
            }
            self.lives(&identity.unwrap(), uri).await;
        }
    }

    async fn has_a_document(&self, document: &Document, site: &ClientSite) {
        let mut body = document.body.clone();
        body["client_id"] = json!(document.url);
        site.serves(&body);
        let metadata = self.get("/.well-known/oauth-authorization-server").await;
        let supported = &metadata.json()["client_id_metadata_document_supported"];
        assert_eq!(*supported, true, "{}", self.habits.name);
        let identity = Identity::public(&document.url);
        for uri in &document.comes_back_to {
            self.lives(&identity, uri).await;
        }
    }

    async fn is_written_down(&self, entry: &WrittenDown) {
        let identity = Identity::public(&entry.client_id);
        for uri in &entry.comes_back_to {
            self.lives(&identity, uri).await;
        }
    }

    /// From the browser to the end of the session.
    async fn lives(&self, identity: &Identity, redirect_uri: &str) {
        let why = format!("{} at {redirect_uri}", self.habits.name);
        let verifier = CodeVerifier::generate(&SystemRandom).expose().to_owned();
        let client = Client {
            id: identity.client_id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            verifier,
        };
        let code = self.authorizes(&client).await;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", &client.verifier),
        ];
        if self.habits.resource {
            form.push(("resource", MCP));
        }
        let answer = self.post("/token", identity, true, &form).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{why}");
        let mut tokens = Tokens::of(&answer);
        assert_eq!(tokens.scope, self.habits.granted, "{why}");
        assert!(tokens.expires_in >= 120, "{why}");
        self.house.whoami(&tokens.access).await;

        for _ in 0..self.habits.refresh.times {
            tokens = Tokens::of(&self.refresh(identity, &tokens.refresh).await);
            assert_eq!(tokens.scope, self.habits.granted, "{why}");
            self.house.whoami(&tokens.access).await;
        }
        if self.habits.stranger.is_some() {
            self.comes_back_as_another(&tokens).await;
        }
        for hint in &self.habits.revokes {
            let token = if hint == "refresh_token" {
                &tokens.refresh
            } else {
                &tokens.access
            };
            let form = [
                ("token", token.as_str()),
                ("token_type_hint", hint.as_str()),
            ];
            let answer = self.post("/revoke", identity, true, &form).await;
            assert_eq!(answer.status, StatusCode::OK, "{why}: {}", answer.text());
        }
        if !self.habits.revokes.is_empty() {
            let answer = self.refresh(identity, &tokens.refresh).await;
            answer.assert_refused(400, "invalid_grant", &why);
            self.house.assert_shut(&tokens.access, &why).await;
        }
    }

    /// The probes, and that what they find can be used.
    async fn looks_around(&self) {
        for probe in &self.habits.probes {
            let answer = self.probe(probe).await;
            let why = format!("{}: {} {}", self.habits.name, probe.method, probe.path);
            assert_eq!(answer.status, probe.status, "{why}: {}", answer.text());
            if probe.status == 401 {
                let challenge = answer.header("www-authenticate");
                assert!(challenge.contains("resource_metadata="), "{why}");
                continue;
            }
            let media_type = answer.header("content-type");
            assert!(media_type.starts_with("application/json"), "{why}");
            let body = answer.json();
            if probe.status == 200 && probe.path.contains("protected-resource") {
                assert_eq!(body["resource"], MCP, "{why}");
                assert_eq!(body["authorization_servers"], json!([ORIGIN]), "{why}");
            } else if probe.status == 200 {
                assert_eq!(body["issuer"], ORIGIN, "{why}");
            }
        }
    }

    async fn probe(&self, probe: &Probe) -> Answer {
        let method = Method::from_bytes(probe.method.as_bytes()).unwrap();
        let mut headers = self.headers();
        headers.extend(
            probe
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        self.house.request(method, &probe.path, &headers, "").await
    }

    async fn register(&self, registration: &Registration) -> Identity {
        let why = &self.habits.name;
        let answer = self.post_json("/register", &registration.body).await;
        assert_eq!(
            answer.status,
            StatusCode::CREATED,
            "{why}: {}",
            answer.text()
        );
        let body = answer.json();
        assert_eq!(
            body["redirect_uris"], registration.body["redirect_uris"],
            "{why}"
        );
        assert!(body["client_id_issued_at"].is_u64(), "{why}");
        let registered = body["token_endpoint_auth_method"].as_str().unwrap();
        assert_eq!(
            registered,
            registration.body["token_endpoint_auth_method"]
                .as_str()
                .unwrap_or("none"),
            "{why}"
        );
        let secret = body.get("client_secret").map(|value| {
            assert!(body["client_secret_expires_at"].is_u64(), "{why}");
            value.as_str().unwrap().to_owned()
        });
        // Some cannot read a secret beside `none`.
        assert_eq!(secret.is_some(), registered != "none", "{why}");
        Identity {
            client_id: body["client_id"].as_str().unwrap().to_owned(),
            method: registration
                .authenticates
                .clone()
                .unwrap_or_else(|| registered.to_owned()),
            secret,
        }
    }

    /// Browser: consent, sign-in, and back with the code at this very address.
    async fn authorizes(&self, client: &Client) -> String {
        let challenge = TestHouse::challenge(client);
        let mut params = vec![
            ("response_type", "code"),
            ("client_id", &client.id),
            ("redirect_uri", &client.redirect_uri),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "st"),
        ];
        params.extend(self.habits.scope.as_deref().map(|scope| ("scope", scope)));
        params.extend(
            self.habits
                .prompt
                .as_deref()
                .map(|prompt| ("prompt", prompt)),
        );
        if self.habits.resource {
            params.push(("resource", MCP));
        }
        let mut browser = self.house.browser();
        let page = browser.get(&TestHouse::authorize_url(&params)).await;
        assert_eq!(
            page.status,
            StatusCode::OK,
            "{}: {}",
            self.habits.name,
            page.text()
        );
        let form = [("ticket", &*page.input("ticket")), ("decision", "approve")];
        let approved = browser.post(&format!("{ORIGIN}/consent"), &form).await;
        let back = browser
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        let answer = browser.get(back.location()).await;
        let location = if answer.status.is_redirection() {
            answer.location().to_owned()
        } else {
            // An application's own scheme is opened from a page.
            let html = answer.text();
            let link = html.split("content=\"0;url=").nth(1).unwrap();
            link.split('"').next().unwrap().replace("&#38;", "&")
        };
        let expected = format!("{}?", client.redirect_uri);
        assert!(
            location.starts_with(&expected),
            "{}: {location} is not {expected}",
            self.habits.name
        );
        let url = Url::parse(&location).unwrap();
        let value = |name: &str| {
            let mut values = url.query_pairs().filter(|(own, _)| own == name);
            let value = values
                .next()
                .unwrap_or_else(|| panic!("no {name}: {location}"));
            assert!(values.next().is_none(), "{name} twice: {location}");
            value.1.into_owned()
        };
        assert_eq!(value("state"), "st", "{}", self.habits.name);
        assert_eq!(value("iss"), ORIGIN, "{}", self.habits.name);
        value("code")
    }

    async fn refresh(&self, identity: &Identity, token: &str) -> Answer {
        let habits = &self.habits.refresh;
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        form.extend(habits.scope.as_deref().map(|scope| ("scope", scope)));
        if habits.resource && self.habits.resource {
            form.push(("resource", MCP));
        }
        self.post("/token", identity, habits.client_id_in_body, &form)
            .await
    }

    /// Refused without an internal error, and the first identity goes on.
    async fn comes_back_as_another(&self, tokens: &Tokens) {
        let why = &self.habits.name;
        let stranger = self.habits.stranger.as_ref().unwrap();
        let answer = self.post_json("/register", &stranger.registration).await;
        assert_eq!(
            answer.status,
            stranger.registration_status,
            "{why}: {}",
            answer.text()
        );
        let other = self.house.register("http://localhost:1/callback").await;
        let identity = Identity::public(&other.id);
        let refused = self.refresh(&identity, &tokens.refresh).await;
        refused.assert_refused(400, "invalid_grant", why);
        self.house.whoami(&tokens.access).await;
    }

    /// Posts a form, with the client in it or before it as this client has the habit.
    async fn post(
        &self,
        path: &str,
        identity: &Identity,
        id_in_body: bool,
        form: &[(&str, &str)],
    ) -> Answer {
        let mut form = form.to_vec();
        let mut headers = self.headers();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        let secret = identity.secret.as_deref().unwrap_or_default();
        let basic = STANDARD.encode(format!("{}:{secret}", identity.client_id));
        let basic = format!("Basic {basic}");
        if identity.method == "client_secret_basic" {
            headers.push(("authorization", &basic));
        }
        if id_in_body {
            form.push(("client_id", &identity.client_id));
        }
        if identity.method == "client_secret_post" {
            form.push(("client_secret", secret));
        }
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        self.house
            .request(Method::POST, path, &headers, &body)
            .await
    }

    async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let mut headers = self.headers();
        headers.push(("content-type", "application/json"));
        self.house
            .request(Method::POST, path, &headers, &body.to_string())
            .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.house
            .request(Method::GET, path, &self.headers(), "")
            .await
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let agent = self.habits.user_agent.as_deref();
        agent
            .map(|agent| ("user-agent", agent))
            .into_iter()
            .collect()
    }
}

impl Identity {
    fn public(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            method: "none".to_owned(),
            secret: None,
        }
    }
}
