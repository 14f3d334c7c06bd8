//! A client in front of one or two processes: registration, Ada's sign-in, refreshes as clients try them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;

use crate::browser::{Answer, Browser, whole};
use crate::street::LONG;

const CALLBACK: &str = "http://localhost:4711/callback";
const JSON: (&str, &str) = ("content-type", "application/json");
const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

/// A client that signed in.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    verifier: String,
    /// The public URL.
    origin: String,
    /// Where each replica listens.
    bases: Vec<String>,
}

/// Nobody answered, or not to the end.
#[derive(Debug)]
pub(crate) struct HungUp;

impl Client {
    /// Registers a public client.
    pub(crate) async fn register(origin: &str, bases: Vec<String>) -> Self {
        let body = json!({ "client_name": "Test", "redirect_uris": [CALLBACK] }).to_string();
        let url = format!("{}/register", bases[0]);
        let answer = send(Method::POST, &url, &[JSON], body).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        Self {
            id: answer.json()["client_id"].as_str().unwrap().to_owned(),
            verifier: CodeVerifier::generate(&SystemRandom).expose().to_owned(),
            origin: origin.to_owned(),
            bases,
        }
    }

    /// The page that asks for consent, and the browser that it is for.
    pub(crate) async fn ask_for_consent(&self) -> (Browser, Answer) {
        let challenge = CodeVerifier::parse(&self.verifier).unwrap().challenge();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.id)
            .append_pair("redirect_uri", CALLBACK)
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", "s")
            .append_pair("resource", &format!("{}/mcp", self.origin))
            .finish();
        let mut browser = Browser::new(&self.origin, Vec::new());
        let page = browser
            .get(&format!("{}/authorize?{query}", self.origin))
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        (browser, page)
    }

    /// Everything that a browser does in Ada's sign-in; gives our code.
    pub(crate) async fn code(&self) -> String {
        let (mut browser, page) = self.ask_for_consent().await;
        let ticket = page.input("ticket");
        let form = [("ticket", ticket.as_str()), ("decision", "approve")];
        let approved = browser
            .post(&format!("{}/consent", self.origin), &form)
            .await;
        let back = browser
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        let answer = browser.get(back.location()).await;
        let code = answer.location_param("code");
        code.unwrap_or_else(|| panic!("no code in {}", answer.location()))
    }

    /// Redeems a code; gives the refresh token.
    pub(crate) async fn redeem(&self, code: &str) -> String {
        refresh_token(&self.try_to_redeem(code).await)
    }

    pub(crate) async fn try_to_redeem(&self, code: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", &self.id),
            ("redirect_uri", CALLBACK),
            ("code_verifier", &self.verifier),
        ];
        self.post(0, "/token", &form).await.unwrap()
    }

    pub(crate) async fn refresh(&self, replica: usize, token: &str) -> Result<Answer, HungUp> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", &self.id),
        ];
        self.post(replica, "/token", &form).await
    }

    /// As a client does that is not to be logged out: again after 503 and after no answer. Anything else fails the test.
    pub(crate) async fn refresh_until_good(&self, replica: usize, token: &str) -> Answer {
        let started = Instant::now();
        loop {
            if let Ok(answer) = self.refresh(replica, token).await {
                if answer.status == StatusCode::OK {
                    return answer;
                }
                assert_busy(&answer);
            }
            assert!(started.elapsed() < LONG, "it is never answered");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) async fn post(
        &self,
        replica: usize,
        path: &str,
        form: &[(&str, &str)],
    ) -> Result<Answer, HungUp> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let url = format!("{}{path}", self.bases[replica]);
        let form = [("content-type", "application/x-www-form-urlencoded")];
        send(Method::POST, &url, &form, body).await
    }

    /// Fails unless the access token of `answer` opens the door of every replica.
    pub(crate) async fn assert_open(&self, answer: &Answer) {
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
        for base in &self.bases {
            let headers = [JSON, ("authorization", &bearer), ACCEPT];
            let url = format!("{base}/mcp");
            let answer = send(Method::POST, &url, &headers, body.clone())
                .await
                .unwrap();
            assert!(
                !matches!(answer.status.as_u16(), 401 | 403 | 500..),
                "{} {}",
                answer.status,
                answer.text()
            );
        }
    }
}

/// 503, and when to come again.
#[track_caller]
pub(crate) fn assert_busy(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.error(), "temporarily_unavailable");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[track_caller]
pub(crate) fn refresh_token(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

/// One request on a connection of its own.
pub(crate) async fn send(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<Answer, HungUp> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = client.request(request).await.map_err(|_| HungUp)?;
    Ok(whole(answer).await)
}
