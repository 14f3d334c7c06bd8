//! Credential `sigv4`: an upstream behind IAM that works the signature out for itself, by the words of the specification
//! ("Create a signed AWS API request" in the IAM User Guide), not with our signer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::{digest, hmac};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderName, Method};
use serde_json::json;
use tokio::net::TcpListener;
use vestibule::aws::AwsEnvironment;
use vestibule::settings::{CredentialSettings, Settings};
use vestibule::upstream_identity::IdentityToken;
use vestibule_oauth::url::Endpoint;

use crate::support::{TestHouse, tool_call};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SERVICE: &str = "bedrock-agentcore";
const REGION: &str = "eu-west-1";
/// The path of an AgentCore runtime: an ARN, percent-encoded.
const PATH: &str = "/runtimes/arn%3Aaws%3Aruntime%2Fx-1/invocations";

/// What came in, and whether its signature was right.
#[derive(Clone, Debug)]
struct Seen {
    verdict: Result<(), String>,
    headers: http::HeaderMap,
    signed: Vec<String>,
    uri: String,
    body: Vec<u8>,
}

struct Iam {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Iam {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        let router = Router::new().fallback(move |request: Request| {
            let log = Arc::clone(&log);
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
                let one = verify(&parts, body);
                let good = one.verdict.is_ok();
                log.lock().unwrap().push(one);
                let response = Response::builder().header("content-type", "application/json");
                if good {
                    let answer = json!({ "jsonrpc": "2.0", "id": 7, "result": {} });
                    response.body(Body::from(answer.to_string())).unwrap()
                } else {
                    let response = response.header("x-amzn-errortype", "InvalidSignatureException");
                    response.status(403).body(Body::from("{}")).unwrap()
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// `UriEncode` of the specification, byte by byte.
fn uri_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            decoded.push(u8::from_str_radix(&text[at + 1..at + 3], 16).unwrap());
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).unwrap()
}

/// The service's side.
fn verify(request: &http::request::Parts, body: Vec<u8>) -> Seen {
    let header = |name: &str| {
        let values: Vec<&str> = request
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        values.join(",")
    };
    let mut seen = Seen {
        verdict: Ok(()),
        headers: request.headers.clone(),
        signed: Vec::new(),
        uri: request.uri.to_string(),
        body,
    };
    let authorization = header("authorization");
    let Some(rest) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
        seen.verdict = Err(format!("no signature: '{authorization}'"));
        return seen;
    };
    let fields: BTreeMap<&str, &str> = rest
        .split(", ")
        .filter_map(|field| field.split_once('='))
        .collect();
    let names: Vec<&str> = fields["SignedHeaders"].split(';').collect();
    seen.signed = names.iter().map(|name| (*name).to_owned()).collect();
    for name in request.headers.keys().map(HeaderName::as_str) {
        let must = name == "host" || name.starts_with("x-amz-");
        if must && !names.contains(&name) {
            seen.verdict = Err(format!("{name} is not signed"));
        }
    }
    let date = header("x-amz-date");
    let scope = format!("{}/{REGION}/{SERVICE}/aws4_request", &date[..8]);
    if fields["Credential"] != format!("{KEY_ID}/{scope}") {
        seen.verdict = Err(format!("wrong scope {}", fields["Credential"]));
        return seen;
    }
    let payload = header("x-amz-content-sha256");
    if payload != "UNSIGNED-PAYLOAD" && payload != sha256(&seen.body) {
        seen.verdict = Err("the body is another one".to_owned());
    }
    let path: Vec<String> = request.uri.path().split('/').map(uri_encode).collect();
    let query = request.uri.query().unwrap_or_default();
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (uri_encode(&decode(name)), uri_encode(&decode(value))))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("{name}:{}\n", header(name).trim()))
        .collect();
    let lines = lines.concat();
    let canonical = [
        request.method.as_str(),
        &path.join("/"),
        &pairs.join("&"),
        &lines,
        fields["SignedHeaders"],
        &payload,
    ]
    .join("\n");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let key = mac(format!("AWS4{SECRET}").as_bytes(), &date[..8]);
    let key = mac(&mac(&mac(&key, REGION), SERVICE), "aws4_request");
    if hex(&mac(&key, &to_sign)) != fields["Signature"] {
        seen.verdict = Err(format!("another signature for\n{canonical}"));
    }
    seen
}

async fn house(iam: &Iam, change: impl FnOnce(&mut Settings)) -> TestHouse {
    let upstream = Endpoint::parse(&format!("{}{PATH}?qualifier=DEFAULT", iam.url)).unwrap();
    TestHouse::with(|settings| {
        let environment: BTreeMap<String, String> = [
            ("AWS_ACCESS_KEY_ID", KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_SESSION_TOKEN", "the-session"),
            ("AWS_REGION", REGION),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.aws = AwsEnvironment::read(&environment);
        settings.resources[0].upstream = upstream;
        settings.resources[0].credential = sigv4(false);
        change(settings);
    })
    .await
}

fn sigv4(unsigned_payload: bool) -> CredentialSettings {
    CredentialSettings::SigV4 {
        service: SERVICE.to_owned(),
        region: None,
        unsigned_payload,
    }
}

#[tokio::test]
async fn a_service_behind_iam_accepts_what_we_send() {
    let iam = Iam::start().await;
    let house = house(&iam, |settings| {
        let identity = &mut settings.resources[0].identity;
        let user = HeaderName::from_static("x-amzn-bedrock-agentcore-runtime-user-id");
        identity.headers = vec![(user, "sub".to_owned())];
        identity.token = Some(IdentityToken::new("https://up.example"));
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let extra = [
        ("authorization_", "x"),
        ("user-agent", "a  client"),
        ("x-amz-date", "20200101T000000Z"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-security-token", "theirs"),
        ("x-amzn-bedrock-agentcore-runtime-user-id", "root"),
        ("traceparent", "00-1-2-3"),
        ("x-odd", "a   b\u{e9}"),
        ("mcp-param-city", "Z\u{fc}rich"),
    ];
    for path in [
        "/mcp",
        "/mcp/",
        "/mcp?b=2&a=%2F%20x&a=1&flag",
        "/mcp/below/~a%20b?x=",
    ] {
        let answer = house.tool_at(path, &tokens.access, &extra, "echo").await;
        let seen = iam.last();
        assert_eq!(seen.verdict, Ok(()), "{path} {}", seen.uri);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(seen.headers["x-amz-security-token"], "the-session");
        assert_eq!(seen.headers.get_all("authorization").iter().count(), 1);
        for name in [
            "content-type",
            "mcp-protocol-version",
            "mcp-name",
            "x-amzn-bedrock-agentcore-runtime-user-id",
            "x-vestibule-identity",
        ] {
            assert!(
                seen.signed.iter().any(|own| own == name),
                "{name} is not signed"
            );
        }
        assert_ne!(
            seen.headers["x-amzn-bedrock-agentcore-runtime-user-id"],
            "root"
        );
        let all = format!("{:?}", seen.headers);
        assert!(!all.contains(&tokens.access) && !all.contains(SECRET));
    }
    // Without a body as well.
    let bearer = format!("Bearer {}", tokens.access);
    let headers = [("authorization", bearer.as_str())];
    for method in [Method::GET, Method::DELETE] {
        house.request(method.clone(), "/mcp", &headers, "").await;
        assert_eq!(iam.last().verdict, Ok(()), "{method}");
        assert!(iam.last().body.is_empty());
    }
}

#[tokio::test]
async fn a_body_that_is_not_signed_streams_and_one_that_is_has_a_limit() {
    let iam = Iam::start().await;
    for (unsigned, status) in [(true, 200), (false, 413)] {
        let house = house(&iam, |settings| {
            settings.resources[0].credential = sigv4(unsigned);
            settings.resources[0].max_message_bytes = 2048;
        })
        .await;
        let (_, tokens) = house.sign_in().await;
        let (headers, body) = tool_call("echo", &json!({ "text": "x".repeat(4096) }));
        let bearer = format!("Bearer {}", tokens.access);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        let answer = house
            .request(Method::POST, "/mcp", &all, &body.to_string())
            .await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(iam.seen.lock().unwrap().len(), 1, "only the unsigned one");
        let seen = iam.last();
        assert_eq!(seen.verdict, Ok(()));
        assert_eq!(seen.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    }
}

/// The client must not take it for its own: it can do nothing about our credentials.
#[tokio::test]
async fn a_signature_that_is_not_accepted_is_the_operators_matter() {
    let iam = Iam::start().await;
    let house = house(&iam, |settings| {
        let CredentialSettings::SigV4 { region, .. } = &mut settings.resources[0].credential else {
            unreachable!();
        };
        *region = Some("us-east-1".to_owned());
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let answer = house.tool_at("/mcp", &tokens.access, &[], "echo").await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(iam.last().verdict.unwrap_err().contains("us-east-1"));
    assert!(!answer.headers.contains_key("x-amzn-errortype"));
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let iam = Iam::start().await;
    let house = house(&iam, |settings| {
        let environment: BTreeMap<String, String> = [
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", REGION),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.aws = AwsEnvironment::read(&environment);
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let answer = house.tool_at("/mcp", &tokens.access, &[], "echo").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(iam.seen.lock().unwrap().is_empty());
}
