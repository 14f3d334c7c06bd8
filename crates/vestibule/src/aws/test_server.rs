//! For tests: an HTTP server on the loopback that answers as it is told and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::Response;
use tokio::net::TcpListener;
use vestibule_guard::fetch::Trust;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::{ManualClock, UnixTime};

use super::{Aws, AwsEnvironment};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The operation of a JSON call, without the service.
    pub(crate) fn operation(&self) -> &str {
        self.header("x-amz-target").rsplit('.').next().unwrap()
    }
}

pub(crate) struct TestServer {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl TestServer {
    /// `answer` gets each request with its number, from 0.
    pub(crate) async fn start(
        answer: impl Fn(usize, &Asked) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = Arc::clone(&asked);
        let router = Router::new().fallback(move |request: Request| {
            let (answer, log) = (answer.clone(), Arc::clone(&log));
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, usize::MAX).await.unwrap();
                let asked = Asked {
                    line: format!("{} {}", parts.method, parts.uri),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(asked.clone());
                    log.len() - 1
                };
                let (status, text) = answer(number, &asked);
                Response::builder()
                    .status(status)
                    .body(axum::body::Body::from(text))
                    .unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// The start of the clock in tests: 2026-11-21.
pub(crate) const START: UnixTime = UnixTime(1_795_219_200);

/// AWS in an environment of these variables, and nothing else of this computer.
pub(crate) fn aws(variables: &[(&str, &str)]) -> (Arc<Aws>, Arc<ManualClock>) {
    let map: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let clock = Arc::new(ManualClock::new(START));
    let aws = Aws::new(
        AwsEnvironment::read(&map),
        &Trust::nobody().unwrap(),
        Arc::clone(&clock) as Arc<_>,
        Arc::new(SystemRandom),
    );
    (aws, clock)
}

/// The same with keys and one endpoint for everything.
pub(crate) fn aws_at(url: &str) -> Arc<Aws> {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", url),
    ];
    aws(&variables).0
}
