//! Who is known, and who is believed.

use serde_json::json;
use vestibule_oauth::client::{ASSERTION_TYPE, ClientMetadata};
use vestibule_oauth::jose::{SigningAlg, SigningKey};
use vestibule_oauth::params::Params;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::ManualClock;
use vestibule_oauth::token::PresentedClient;
use vestibule_oauth::url::{Endpoint, Issuer, Origin, PrivateUseSchemes, RedirectUri};

use super::*;
use crate::keys::KeyRing;
use crate::settings::{KeysSettings, ProviderSettings, ResourceSettings};

const ORIGIN: &str = "https://mcp.example";
const NOW: UnixTime = UnixTime(1_800_000_000);
const URL: &str = "https://app.example/client.json";

struct Rig {
    registry: ClientRegistry,
    sealer: Sealer,
}

impl Rig {
    fn new(change: impl FnOnce(&mut ClientSettings)) -> Self {
        let origin = Origin::parse(ORIGIN).unwrap();
        let provider = ProviderSettings::new(Issuer::parse("https://id.example").unwrap(), "c");
        let upstream = Endpoint::parse("http://127.0.0.1:1/mcp").unwrap();
        let resource = ResourceSettings::new(&origin, "/mcp", upstream).unwrap();
        let mut settings = Settings::new(
            origin.clone(),
            provider,
            vec![resource],
            KeysSettings::Ephemeral,
        );
        change(&mut settings.clients);
        let ring = KeyRing::generate(&[], NOW, &SystemRandom).unwrap();
        let keys = ring.sealing.iter().map(|key| (key.id, &key.secret));
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        Self {
            registry: ClientRegistry::build(&settings, &clock).unwrap(),
            sealer: Sealer::new(origin, keys).unwrap(),
        }
    }

    fn register(&self, method: &str) -> Client {
        let metadata: ClientMetadata = serde_json::from_value(json!({
            "redirect_uris": ["http://localhost/cb"],
            "token_endpoint_auth_method": method,
        }))
        .unwrap();
        let registration = metadata.check(&PrivateUseSchemes::default(), true).unwrap();
        self.registry
            .register(&self.sealer, registration, &SystemRandom)
    }

    async fn authenticate(
        &self,
        basic: Option<(&str, &str)>,
        form: &[(&str, &str)],
    ) -> Result<Client, ClientAuthError> {
        use base64::Engine as _;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let header = basic.map(|(id, secret)| {
            let pair = format!("{id}:{secret}");
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            format!("Basic {encoded}")
        });
        let params = Params::parse(form.as_bytes()).unwrap();
        let presented = PresentedClient::parse(header.as_deref(), &params).unwrap();
        self.registry
            .authenticate(&self.sealer, None, &presented, NOW)
            .await
    }

    async fn assert(&self, assertion: &str) -> Result<Client, ClientAuthError> {
        let form = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
        ];
        self.authenticate(None, &form).await
    }
}

fn uris() -> Vec<RedirectUri> {
    vec![RedirectUri::parse("http://localhost/cb", &PrivateUseSchemes::default()).unwrap()]
}

fn key() -> SigningKey {
    let ring = KeyRing::generate(&[SigningAlg::Es256], NOW, &SystemRandom).unwrap();
    SigningKey::from_pem(SigningAlg::Es256, &ring.signing[0].pem).unwrap()
}

fn assertion(key: &SigningKey, client_id: &str, token_id: &str) -> String {
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": ORIGIN, "exp": NOW.0 + 60, "jti": token_id,
    });
    key.sign("JWT", claims.as_object().unwrap()).unwrap()
}

fn document(key: Option<&SigningKey>) -> Client {
    let mut document =
        json!({ "client_id": URL, "client_name": "App", "redirect_uris": ["http://localhost/cb"] });
    if let Some(key) = key {
        document["token_endpoint_auth_method"] = json!("private_key_jwt");
        document["jwks"] = json!({ "keys": [key.public_jwk()] });
    }
    let text = document.to_string();
    MetadataDocument::read(URL, text.as_bytes(), &PrivateUseSchemes::default()).unwrap()
}

#[tokio::test]
async fn a_confidential_client_proves_itself_in_every_way_that_clients_use() {
    let rig = Rig::new(|_| {});
    let client = rig.register("client_secret_post");
    let id = client.id.as_str();
    let secret = rig.registry.secret_of(&rig.sealer, &client).unwrap();
    let secret = secret.expose();
    assert!(secret.starts_with("vcs_"));
    for (basic, form) in [
        (Some((id, secret)), vec![]),
        (Some((id, secret)), vec![("client_id", id)]),
        (Some((id, "")), vec![("client_secret", secret)]),
        (None, vec![("client_id", id), ("client_secret", secret)]),
    ] {
        assert_eq!(rig.authenticate(basic, &form).await.unwrap().id, client.id);
    }
}

#[tokio::test]
async fn a_confidential_client_without_its_own_secret_is_not_believed() {
    let rig = Rig::new(|_| {});
    let (client, other) = (
        rig.register("client_secret_basic"),
        rig.register("client_secret_basic"),
    );
    let id = client.id.as_str();
    let foreign = rig.registry.secret_of(&rig.sealer, &other).unwrap();
    let missing = rig.authenticate(None, &[("client_id", id)]).await;
    assert!(matches!(missing, Err(ClientAuthError::SecretMissing)));
    for wrong in ["x", foreign.expose()] {
        let refused = rig.authenticate(Some((id, wrong)), &[]).await;
        assert!(
            matches!(refused, Err(ClientAuthError::SecretWrong)),
            "{wrong}"
        );
    }
    // A secret cannot be replaced by an assertion of somebody's own making.
    assert!(rig.assert(&assertion(&key(), id, "1")).await.is_err());
}

#[tokio::test]
async fn a_public_client_has_no_secret_and_a_made_up_one_is_not_looked_at() {
    let rig = Rig::new(|_| {});
    let client = rig.register("none");
    assert_eq!(rig.registry.secret_of(&rig.sealer, &client), None);
    let id = client.id.as_str();
    assert!(rig.authenticate(Some((id, "made-up")), &[]).await.is_ok());
    // An assertion claims a proof that it cannot give.
    let refused = rig.assert(&assertion(&key(), id, "1")).await;
    assert!(matches!(refused, Err(ClientAuthError::NoKeys)));
}

#[tokio::test]
async fn a_configured_client_has_the_secret_it_was_given() {
    let rig = Rig::new(|clients| {
        clients.preregistered.push(PreRegistered {
            credential: ClientCredential::Secret(ClientSecret::new("a long enough secret")),
            ..PreRegistered::public("desk", "Desk", uris())
        });
    });
    assert!(
        rig.authenticate(Some(("desk", "a long enough secret")), &[])
            .await
            .is_ok()
    );
    assert!(
        rig.authenticate(Some(("desk", "a long enough secreT")), &[])
            .await
            .is_err()
    );
    assert!(
        rig.authenticate(None, &[("client_id", "desk")])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_assertion_counts_once() {
    let key = key();
    let rig = Rig::new(|clients| clients.pinned.push(document(Some(&key))));
    let first = assertion(&key, URL, "1");
    assert_eq!(rig.assert(&first).await.unwrap().id.as_str(), URL);
    assert!(matches!(
        rig.assert(&first).await,
        Err(ClientAuthError::Replayed)
    ));
    let same_id = assertion(&key, URL, "1");
    assert!(matches!(
        rig.assert(&same_id).await,
        Err(ClientAuthError::Replayed)
    ));
    assert!(rig.assert(&assertion(&key, URL, "2")).await.is_ok());
}

#[tokio::test]
async fn a_client_that_declared_a_key_cannot_be_played_without_it() {
    let own = key();
    let rig = Rig::new(|clients| clients.pinned.push(document(Some(&own))));
    let without = rig.authenticate(None, &[("client_id", URL)]).await;
    assert!(matches!(without, Err(ClientAuthError::AssertionMissing)));
    let secret = rig.authenticate(Some((URL, "x")), &[]).await;
    assert!(secret.is_err());
    assert!(rig.assert(&assertion(&key(), URL, "1")).await.is_err());
    // A failed assertion does not use up its id.
    assert!(rig.assert(&assertion(&own, URL, "1")).await.is_ok());
}

#[tokio::test]
async fn a_configured_client_signs_with_its_configured_key() {
    let key = key();
    let keys = ClientKeys::from_jwks(&json!({ "keys": [key.public_jwk()] })).unwrap();
    let rig = Rig::new(|clients| {
        clients.preregistered.push(PreRegistered {
            credential: ClientCredential::Keys(keys),
            ..PreRegistered::public("robot", "Robot", uris())
        });
    });
    assert!(rig.assert(&assertion(&key, "robot", "1")).await.is_ok());
    assert!(
        rig.authenticate(None, &[("client_id", "robot")])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn keys_behind_a_url_are_held_to_the_rules_for_documents() {
    let key = key();
    for uri in [
        "http://127.0.0.1:1/jwks",
        "https://169.254.169.254/jwks",
        "https://other.example/jwks",
    ] {
        let rig = Rig::new(|clients| {
            let mut client = document(Some(&key));
            client.keys = ClientKeys::Uri(uri.to_owned());
            clients.pinned.push(client);
            clients
                .document_hosts
                .push(HostPattern::parse("app.example").unwrap());
        });
        let refused = rig.assert(&assertion(&key, URL, "1")).await;
        assert!(matches!(refused, Err(ClientAuthError::KeySet(_))), "{uri}");
    }
}

#[tokio::test]
async fn documents_are_read_only_from_where_the_operator_allows() {
    let rig = Rig::new(|clients| {
        clients
            .document_hosts
            .push(HostPattern::parse("*.good.example").unwrap());
        clients
            .policy
            .refused_hosts
            .push(HostPattern::parse("bad.good.example").unwrap());
    });
    let resolve = async |url: &str| {
        rig.registry
            .resolve(&rig.sealer, url, NOW)
            .await
            .unwrap_err()
    };
    assert!(matches!(
        resolve("https://evil.example/c").await,
        UnknownClient::DocumentHost(_)
    ));
    assert!(matches!(
        resolve("https://bad.good.example/c").await,
        UnknownClient::Refused(_)
    ));
    assert!(matches!(
        resolve("http://localhost:1/c").await,
        UnknownClient::DocumentUrl(_)
    ));
    assert!(matches!(
        resolve("https://10.0.0.1/c").await,
        UnknownClient::DocumentUrl(_)
    ));
    let off = Rig::new(|clients| clients.metadata_documents = false);
    let error = off
        .registry
        .resolve(&off.sealer, URL, NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, UnknownClient::DocumentsOff));
}

#[tokio::test]
async fn a_pinned_document_needs_no_network_even_with_fetching_off() {
    let rig = Rig::new(|clients| {
        clients.metadata_documents = false;
        clients.pinned.push(document(None));
    });
    let client = rig.registry.resolve(&rig.sealer, URL, NOW).await.unwrap();
    assert_eq!(client.document_host(), Some("app.example"));
    assert!(!client.is_trusted());
}

#[tokio::test]
async fn a_refused_name_is_refused_wherever_it_comes_from() {
    let rig = Rig::new(|clients| {
        clients.pinned.push(document(None));
        clients
            .policy
            .refused_names
            .push(policy::NamePattern::parse("app").unwrap());
    });
    let error = rig
        .registry
        .resolve(&rig.sealer, URL, NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, UnknownClient::Refused(_)));
    assert!(!error.is_transient());
}

#[test]
fn a_secret_never_shows_in_debug_output() {
    let settings = ClientSettings {
        initial_access_token: Some(Secret::new("initial-token-text")),
        ..ClientSettings::default()
    };
    assert!(!format!("{settings:?}").contains("initial-token-text"));
}
