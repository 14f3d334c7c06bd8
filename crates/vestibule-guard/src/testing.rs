//! Keys, tokens and a key server for this crate's tests; nothing here leaves loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vestibule_oauth::jose::{SigningAlg, SigningKey};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;

use crate::fetch::{AddressPolicy, Outbound, Trust};

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const RESOURCE: &str = "https://mcp.example.com/mcp";
pub(crate) const ISSUER: &str = "https://login.example";

/// Two throw-away P-256 keys, made for these tests.
const PEMS: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyxnz4aUwmjI6aRgG\ndLz0E1TBxRiozlrF9VfNDLE3WuChRANCAARDGawe4nWg0x8HbWqsGuwfmQ4sZ6Hz\nBM94dLYjJENyRLDUaL7AXT+BPWbiJ0vGoPHRfS/5CunvFYPVYB9z7l1H\n-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgif5HsewjiVSMMQ33\n87S8dp0bcE70JY5nDazuePEOuYWhRANCAATQmM10d5Z3h3l4kOVPBZM1ccdhTkUs\nvyHJhsz2QGvV3TEAFpYRAx0grT3kyUgcjrlpBZ9EfhILMPLx7Jh/3leL\n-----END PRIVATE KEY-----\n",
];

pub(crate) fn key(index: usize) -> SigningKey {
    SigningKey::from_pem(SigningAlg::Es256, &Secret::new(PEMS[index])).unwrap()
}

pub(crate) fn key_set(keys: &[&SigningKey]) -> String {
    let keys: Vec<&Value> = keys.iter().map(|key| key.public_jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// Claims of a good token; `null` in `changes` takes one away.
pub(crate) fn claims(changes: &Value) -> Map<String, Value> {
    let mut claims = json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "ada", "client_id": "desktop", "scope": "mcp/read",
        "exp": NOW.0 + 600, "iat": NOW.0, "jti": "t-1",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let mut claims = claims.as_object().unwrap().clone();
    claims.retain(|_, value| !value.is_null());
    claims
}

pub(crate) fn outbound() -> Outbound {
    Outbound::new(AddressPolicy::LoopbackOnly, &Trust::nobody().unwrap())
}

/// Serves one document, whose status and text can be changed, and counts the requests.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    requests: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
}

impl Server {
    pub(crate) async fn start(text: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new((200, text)));
        let requests = Arc::new(AtomicUsize::new(0));
        let last = Arc::new(Mutex::new(String::new()));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&requests));
        let seen = Arc::clone(&last);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or_default();
                *seen.lock().unwrap() = String::from_utf8_lossy(&head[..read]).into_owned();
                count.fetch_add(1, Ordering::SeqCst);
                // Long enough for concurrent callers to pile up.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let (status, text) = answers.lock().unwrap().clone();
                let length = text.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            address,
            answer,
            requests,
            last,
        }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    pub(crate) fn answer(&self, status: u16, text: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, text.into());
    }

    /// The newest request, as it came.
    pub(crate) fn last(&self) -> String {
        self.last.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}
