//! Keys and tokens of issuers that exist only here, a key server that counts, and sign-ins at the stand-in.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vestibule_guard::fetch::{AddressPolicy, FetchLimits, Outbound, Trust};
use vestibule_standin::cognito::Cognito;

pub(crate) fn outbound() -> Outbound {
    Outbound::new(AddressPolicy::LoopbackOnly, &Trust::nobody().unwrap())
}

/// Sends a request over loopback.
pub(crate) async fn send(request: Request<Full<Bytes>>) -> Response<Bytes> {
    let limits = FetchLimits {
        deadline: Duration::from_secs(20),
        max_body: 1 << 20,
    };
    outbound().fetch(request, limits).await.unwrap()
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A P-256 key that signs whatever header and payload it is given.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    pub(crate) kid: String,
}

impl Signer {
    pub(crate) fn new(kid: &str) -> Self {
        Self {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            kid: kid.to_owned(),
        }
    }

    /// The public point, uncompressed: 4, x, y.
    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.public();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": encode(&point[1..33]), "y": encode(&point[33..]),
        })
    }

    pub(crate) fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", encode(signature.as_ref()))
    }

    /// An RFC 9068 token.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.kid });
        self.sign(&header, claims)
    }
}

/// Serves one key set and counts who asks.
pub(crate) struct KeyServer {
    pub(crate) url: String,
    requests: Arc<AtomicUsize>,
}

impl KeyServer {
    pub(crate) async fn start(document: String) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let answer = move || {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(document.clone())
        };
        let app = axum::Router::new().route("/jwks.json", axum::routing::get(answer));
        let listener = listen().await;
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { url, requests }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

pub(crate) async fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// The tokens of a sign-in.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) id: String,
    pub(crate) refresh: String,
}

/// Signs `user` in at the stand-in through the app client `client` (id and secret), as a browser and a client would.
pub(crate) async fn sign_in(
    cognito: &Cognito,
    client: (&str, &str),
    user: (&str, &str),
    scope: &str,
    resource: Option<&str>,
) -> Tokens {
    let callback = "http://localhost:9/callback";
    assert!(cognito.control().allow_callback(client.0, callback));
    let form = |pairs: &[(&str, &str)]| {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    };
    let mut parameters = vec![
        ("client_id", client.0),
        ("response_type", "code"),
        ("redirect_uri", callback),
        ("scope", scope),
        ("state", "s"),
    ];
    parameters.extend(resource.map(|resource| ("resource", resource)));
    let login = Request::post(format!("{}/login?{}", cognito.domain(), form(&parameters)))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, "XSRF-TOKEN=x")
        .body(Full::from(form(&[
            ("_csrf", "x"),
            ("username", user.0),
            ("password", user.1),
        ])));
    let answer = send(login.unwrap()).await;
    let location = answer.headers()[header::LOCATION].to_str().unwrap();
    let query = location.split_once('?').unwrap().1;
    let code = form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, value)| (name == "code").then(|| value.into_owned()))
        .unwrap_or_else(|| panic!("no code: {location}"));
    let credentials = STANDARD.encode(format!("{}:{}", client.0, client.1));
    let exchange = Request::post(format!("{}/oauth2/token", cognito.domain()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::AUTHORIZATION, format!("Basic {credentials}"))
        .body(Full::from(form(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", callback),
        ])));
    let answer = send(exchange.unwrap()).await;
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    let token = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    Tokens {
        access: token("access_token"),
        id: token("id_token"),
        refresh: token("refresh_token"),
    }
}
