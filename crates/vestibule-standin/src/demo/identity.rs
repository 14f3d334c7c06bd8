//! What of a caller's identity reached the demo MCP server: the bearer token's claims and the headers (RFC 6750, RFC 7519).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Request headers whose values `whoami` may repeat. Nothing here ever holds a credential.
const REPEATED: [&str; 19] = [
    "accept",
    "accept-encoding",
    "content-type",
    "forwarded",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "origin",
    "traceparent",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "x-accel-buffering",
];

/// A key set of a loopback issuer is a few kilobytes; more is refused.
const JWKS_LIMIT: usize = 256 * 1024;

/// Where the keys are that sign the bearer JWTs.
#[derive(Debug)]
pub(super) struct Keys {
    url: Uri,
    client: Client<HttpConnector, Empty<bytes::Bytes>>,
}

impl Keys {
    pub(super) fn new(url: Uri) -> Self {
        Self {
            url,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Whether one of the published keys made the signature. Times and audience are not looked at: this server
    /// reports what it received, it guards nothing.
    async fn signed(&self, token: &str) -> bool {
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return false;
        };
        let Some(set) = self.fetch().await else {
            return false;
        };
        let Some(key) = header.kid.as_deref().and_then(|kid| set.find(kid)) else {
            return false;
        };
        let Ok(key) = DecodingKey::from_jwk(key) else {
            return false;
        };
        let mut rules = Validation::new(header.alg);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_aud = false;
        jsonwebtoken::decode::<Map<String, Value>>(token, &key, &rules).is_ok()
    }

    /// Read afresh each time: a demo call is rare, and a rotated key must show at once.
    async fn fetch(&self) -> Option<JwkSet> {
        let response = self.client.get(self.url.clone()).await.ok()?;
        let body = Limited::new(response.into_body(), JWKS_LIMIT);
        let bytes = body.collect().await.ok()?.to_bytes();
        serde_json::from_slice(&bytes).ok()
    }
}

/// What the token's signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Signature {
    /// One of the published keys made it.
    Valid,
    /// No published key made it, or the keys could not be read.
    Invalid,
    /// No key set is configured.
    NotChecked,
}

/// The credential of one request, and its headers.
#[derive(Debug)]
pub(super) struct Received<'a> {
    headers: &'a HeaderMap,
    bearer: Bearer,
}

#[derive(Debug)]
enum Bearer {
    Absent,
    Opaque {
        length: usize,
    },
    Jwt {
        header: Value,
        claims: Map<String, Value>,
        signature: Signature,
    },
}

impl<'a> Received<'a> {
    pub(super) async fn read(headers: &'a HeaderMap, keys: Option<&Keys>) -> Self {
        let bearer = match bearer(headers) {
            None => Bearer::Absent,
            Some(token) => match decode(token) {
                None => Bearer::Opaque {
                    length: token.len(),
                },
                Some((header, claims)) => Bearer::Jwt {
                    header,
                    claims,
                    signature: match keys {
                        None => Signature::NotChecked,
                        Some(keys) if keys.signed(token).await => Signature::Valid,
                        Some(_) => Signature::Invalid,
                    },
                },
            },
        };
        Self { headers, bearer }
    }

    /// The answer of `whoami`. Holds claims and names, never a token.
    pub(super) fn report(&self) -> Value {
        let mut names: Vec<&str> = self.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        let values: Map<String, Value> = names
            .iter()
            .filter(|name| REPEATED.contains(*name) || name.starts_with("x-vestibule-"))
            .filter_map(|&name| {
                let value = self.headers.get(name)?.to_str().ok()?;
                Some((name.to_owned(), Value::from(value)))
            })
            .collect();
        let bearer = match &self.bearer {
            Bearer::Absent => json!({ "kind": "absent" }),
            Bearer::Opaque { length } => json!({ "kind": "opaque", "length": length }),
            Bearer::Jwt {
                header, signature, ..
            } => {
                json!({ "kind": "jwt", "header": header, "signature": signature })
            }
        };
        json!({
            "subject": self.claims().and_then(|claims| claims.get("sub")),
            "groups": self.groups(),
            "claims": self.claims(),
            "bearer": bearer,
            "header_names": names,
            "headers": values,
        })
    }

    /// The groups the token names, in `groups` or, as Cognito writes it, `cognito:groups`. None when the signature
    /// was checked and is bad.
    pub(super) fn groups(&self) -> Vec<String> {
        let Bearer::Jwt {
            claims, signature, ..
        } = &self.bearer
        else {
            return Vec::new();
        };
        if *signature == Signature::Invalid {
            return Vec::new();
        }
        ["groups", "cognito:groups"]
            .iter()
            .filter_map(|name| claims.get(*name)?.as_array())
            .flatten()
            .filter_map(|group| group.as_str().map(ToOwned::to_owned))
            .collect()
    }

    fn claims(&self) -> Option<&Map<String, Value>> {
        match &self.bearer {
            Bearer::Jwt { claims, .. } => Some(claims),
            Bearer::Absent | Bearer::Opaque { .. } => None,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Header and claims of a compact JWT, unverified.
fn decode(token: &str) -> Option<(Value, Map<String, Value>)> {
    let mut parts = token.split('.');
    let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some((header, claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": "ES256", "kid": "k1" });
        format!("{}.{}.c2ln", encode(&header), encode(claims))
    }

    fn with_bearer(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::AUTHORIZATION,
            format!("Bearer {token}").parse().unwrap(),
        );
        headers
    }

    #[tokio::test]
    async fn reports_claims_but_never_the_token() {
        let token = jwt(&json!({ "sub": "u1", "groups": ["staff"], "cognito:groups": ["admins"] }));
        let mut headers = with_bearer(&token);
        headers.insert("cookie", "session=secret-cookie".parse().unwrap());
        headers.insert("x-api-key", "secret-key".parse().unwrap());
        headers.insert("host", "127.0.0.1".parse().unwrap());

        let report = Received::read(&headers, None).await.report();

        assert_eq!(report["subject"], "u1");
        assert_eq!(report["groups"], json!(["staff", "admins"]));
        assert_eq!(report["bearer"]["signature"], "not_checked");
        assert_eq!(report["headers"], json!({ "host": "127.0.0.1" }));
        let names = json!(["authorization", "cookie", "host", "x-api-key"]);
        assert_eq!(report["header_names"], names);
        let text = report.to_string();
        assert!(!text.contains(&token) && !text.contains("secret-"));
    }

    #[tokio::test]
    async fn an_opaque_token_has_no_claims() {
        let headers = with_bearer("abcdef");
        let report = Received::read(&headers, None).await.report();
        assert_eq!(report["bearer"], json!({ "kind": "opaque", "length": 6 }));
        assert_eq!(report["claims"], Value::Null);
    }

    #[tokio::test]
    async fn a_forged_group_is_not_believed_when_keys_are_configured() {
        // Nothing listens on port 1 of the loopback: no key can be read, so no signature is good.
        let keys = Keys::new(Uri::from_static("http://127.0.0.1:1/jwks.json"));
        let headers = with_bearer(&jwt(&json!({ "groups": ["admins"] })));
        let received = Received::read(&headers, Some(&keys)).await;
        assert_eq!(received.groups(), Vec::<String>::new());
        assert_eq!(received.report()["bearer"]["signature"], "invalid");
    }
}
