//! AWS Signature Version 4 in the Authorization header ("Create a signed AWS API request" in the IAM User Guide).
//!
//! Our own, because the crate `aws-sigv4` brings 17 more and a second implementation of SHA-256; it is tested with the
//! vectors that AWS publishes and that crate carries.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use http::header::{AUTHORIZATION, HOST, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use vestibule_oauth::time::UnixTime;

use super::credentials::Credentials;

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same, with the slashes of a path kept.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');
const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// What proxies and HTTP libraries change on the way.
const UNSIGNED: [&str; 6] = [
    "authorization",
    "connection",
    "expect",
    "transfer-encoding",
    "user-agent",
    "x-amzn-trace-id",
];

/// With what a request is signed, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signer<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) region: &'a str,
    /// The service's name in signatures, such as `dynamodb`.
    pub(super) service: &'a str,
    pub(super) now: UnixTime,
}

impl Signer<'_> {
    /// Adds `x-amz-date`, the session token and the signature to a request whose URL is absolute and whose body is
    /// `body`. Everything else must be there already: all headers are signed.
    pub(super) fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: &[u8],
    ) -> Result<(), InvalidHeaderValue> {
        self.sign_with(request, &body_hash(body), |_| true)
    }

    /// The same for a body that is described by `payload`, in hexadecimal or by a word, with some of the headers signed.
    pub(super) fn sign_with<B>(
        &self,
        request: &mut Request<B>,
        payload: &str,
        is_signed: impl Fn(&HeaderName) -> bool,
    ) -> Result<(), InvalidHeaderValue> {
        let date = amz_date(self.now);
        let headers = request.headers_mut();
        headers.insert(X_AMZ_DATE, HeaderValue::from_str(&date)?);
        if let Some(token) = &self.credentials.session_token {
            let mut value = HeaderValue::from_str(token.expose())?;
            value.set_sensitive(true);
            headers.insert(X_AMZ_SECURITY_TOKEN, value);
        }
        let (canonical, signed) = canonical(request, payload, is_signed);
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex(digest(&SHA256, canonical.as_bytes()).as_ref())
        );
        let signature = hex(hmac::sign(&self.key(day), to_sign.as_bytes()).as_ref());
        let mut value = HeaderValue::from_str(&format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.credentials.access_key_id
        ))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }

    /// The key of one day, region and service.
    fn key(&self, day: &str) -> hmac::Key {
        let secret = self.credentials.secret_access_key.expose();
        let mut start = Zeroizing::new(String::with_capacity(4 + secret.len()));
        start.push_str("AWS4");
        start.push_str(secret);
        let start = hmac::Key::new(hmac::HMAC_SHA256, start.as_bytes());
        let parts = [day, self.region, self.service, "aws4_request"];
        parts.iter().fold(start, |key, part| {
            let tag = hmac::sign(&key, part.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
        })
    }
}

/// `20150830T123600Z`.
fn amz_date(time: UnixTime) -> String {
    time.rfc3339().replace(['-', ':'], "")
}

/// How signatures describe a body.
pub(super) fn body_hash(body: &[u8]) -> String {
    hex(digest(&SHA256, body).as_ref())
}

/// The canonical request, and the names of the headers in it.
fn canonical<B>(
    request: &Request<B>,
    payload: &str,
    is_signed: impl Fn(&HeaderName) -> bool,
) -> (String, String) {
    let uri = request.uri();
    // Every service but S3 wants the path as it is on the wire, encoded once more.
    let path = utf8_percent_encode(uri.path(), RESERVED_IN_PATH);
    let query = canonical_query(uri.query().unwrap_or_default());
    let host = uri.authority().map(http::uri::Authority::as_str);
    let headers = canonical_headers(request.headers(), host.unwrap_or_default(), is_signed);
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let signed = names.join(";");
    let lines = headers.iter().fold(String::new(), |lines, (name, value)| {
        lines
            + name
            + ":"
            + value
            + "
"
    });
    let method = request.method();
    (
        format!("{method}\n{path}\n{query}\n{lines}\n{signed}\n{payload}"),
        signed,
    )
}

fn canonical_query(query: &str) -> String {
    let again = |text: &str| {
        let bytes: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&bytes, RESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (again(name), again(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Names in order, each with its values in the order of the message, runs of blanks made one.
fn canonical_headers(
    headers: &HeaderMap,
    authority: &str,
    is_signed: impl Fn(&HeaderName) -> bool,
) -> Vec<(String, String)> {
    let one_blank = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        words.join(" ")
    };
    let mut lines: Vec<(String, String)> = headers
        .keys()
        .filter(|name| !UNSIGNED.contains(&name.as_str()) && is_signed(name))
        .map(|name| {
            let values: Vec<String> = headers.get_all(name).iter().map(one_blank).collect();
            (name.as_str().to_owned(), values.join(","))
        })
        .collect();
    if !headers.contains_key(HOST) {
        lines.push(("host".to_owned(), authority.to_owned()));
    }
    lines.sort();
    lines
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use vestibule_oauth::secret::Secret;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        method: String,
        target: String,
        headers: Vec<(String, String)>,
        body: String,
        token: Option<Secret>,
        canonical: String,
        signature: String,
    }

    fn credentials(token: Option<Secret>) -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token,
            expires_at: None,
            source: "test",
        }
    }

    #[test]
    fn the_published_vectors_are_signed_as_aws_signs_them() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("sign/vectors.json")).unwrap();
        assert_eq!(vectors.len(), 20);
        for vector in vectors {
            let mut request = Request::builder()
                .method(vector.method.as_str())
                .uri(&vector.target);
            for (name, value) in &vector.headers {
                request = request.header(name, value.trim());
            }
            let mut request = request.body(()).unwrap();
            let credentials = credentials(vector.token);
            let signer = Signer {
                credentials: &credentials,
                region: "us-east-1",
                service: "service",
                now: UnixTime(1_440_938_160),
            };
            let body = vector.body.as_bytes();
            signer.sign(&mut request, body).unwrap();
            let name = &vector.name;
            assert_eq!(
                canonical(&request, &body_hash(body), |_| true).0,
                vector.canonical,
                "{name}"
            );
            let authorization = request.headers()[AUTHORIZATION].to_str().unwrap();
            let wanted = format!("Signature={}", vector.signature);
            assert!(authorization.ends_with(&wanted), "{name}: {authorization}");
        }
    }

    #[test]
    fn a_path_with_an_arn_in_it_is_encoded_twice_and_the_host_comes_from_the_url() {
        let request = Request::post(
            "https://bedrock-agentcore.eu-west-1.amazonaws.com/runtimes/arn%3Aaws%2Fx/invocations?b=2&a=%2f",
        )
        .header("user-agent", "changes on the way")
        .body(())
        .unwrap();
        let (text, signed) = canonical(&request, &body_hash(b""), |_| true);
        assert!(
            text.starts_with("POST\n/runtimes/arn%253Aaws%252Fx/invocations\na=%2F&b=2\nhost:bedrock-agentcore.eu-west-1.amazonaws.com\n"),
            "{text}"
        );
        assert_eq!(signed, "host");
    }
}
