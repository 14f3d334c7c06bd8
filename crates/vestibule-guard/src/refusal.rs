//! What an unauthenticated or insufficient request gets: status, challenge and a JSON body (RFC 6750 §3, facts/mcp-authorization.md §3.3).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// Seconds after which a client may ask again when tokens cannot be checked.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
/// API gateways rename `WWW-Authenticate`; the same value under this name survives and can be mapped back
/// (facts/deployment-and-operations.md, "HTTP API").
const X_MCP_CHALLENGE: HeaderName = HeaderName::from_static("x-mcp-challenge");

/// A refusal that is ready to be sent. Never a 400, 404 or 405: to a dual-era client those mean "legacy server"
/// (facts/mcp-authorization.md §2.1). Only well-known documents that are not there are a 404.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) challenge: Option<HeaderValue>,
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) reference: Option<Box<str>>,
    /// The body without the reference, if it was rendered before it was needed.
    pub(crate) rendered: Option<Arc<Bytes>>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: &'a str,
}

impl Refusal {
    /// 403 that no other token of the same user would mend.
    pub(crate) fn denied(description: &'static str, reason: &'static str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            challenge: None,
            error: "access_denied",
            description,
            reason,
            reference: None,
            rendered: None,
        }
    }

    /// 404 for a well-known document that is not ours.
    pub(crate) fn no_document() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            challenge: None,
            error: "not_found",
            description: "there is no such document",
            reason: "no_such_document",
            reference: None,
            rendered: None,
        }
    }

    /// 500: a handler or layer that needs a `Caller` stands where no guard is in front of it.
    pub(crate) fn no_guard() -> Self {
        tracing::error!(
            "a handler asks for a Caller, but no guard is in front of it: add the GuardLayer"
        );
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            challenge: None,
            error: "server_error",
            description: "this server is set up wrongly",
            reason: "no_guard",
            reference: None,
            rendered: None,
        }
    }

    /// 401, 403 or 503; 404 for a well-known document that is not there; 500 when a handler asks for a caller where no
    /// guard is.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// A stable word for logs and metrics.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// What the sender is told, in a sentence.
    pub fn description(&self) -> &'static str {
        self.description
    }

    /// The `WWW-Authenticate` value, when signing in again can help.
    pub fn challenge(&self) -> Option<&HeaderValue> {
        self.challenge.as_ref()
    }

    /// The same with a reference id in the body, under which the log has the cause.
    #[must_use]
    pub fn referenced(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into().into_boxed_str());
        self
    }

    /// The same, for what is refused again and again.
    pub(crate) fn prepared(mut self) -> Self {
        self.rendered = Some(Arc::new(self.render()));
        self
    }

    fn render(&self) -> Bytes {
        let body = Body {
            error: self.error,
            error_description: self.description,
        };
        // Texts always serialise.
        Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
    }

    /// The JSON object, with the reference as its last member if there is one.
    fn body(&self) -> Bytes {
        let plain = match &self.rendered {
            Some(rendered) => Bytes::clone(rendered),
            None => self.render(),
        };
        let (Some(reference), Some(open)) = (&self.reference, plain.strip_suffix(b"}")) else {
            return plain;
        };
        let mut body = Vec::with_capacity(plain.len() + reference.len() + 20);
        body.extend_from_slice(open);
        body.extend_from_slice(b",\"reference\":");
        if serde_json::to_writer(&mut body, reference).is_err() {
            return plain;
        }
        body.push(b'}');
        Bytes::from(body)
    }

    /// The response, the same for every method.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.body()));
        *response.status_mut() = self.status;
        // Room for these and what is put to them on the way out.
        *response.headers_mut() = HeaderMap::with_capacity(12);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            headers.insert(X_MCP_CHALLENGE, challenge.clone());
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.description)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_body_is_the_same_whether_it_was_prepared_or_not_and_a_reference_cannot_break_out_of_it() {
        let refusal = Refusal::denied("not \"you\"", "test");
        for refusal in [refusal.clone(), refusal.prepared()] {
            for reference in [None, Some("0123456789abc"), Some("\",\"error\":\"\\")] {
                let told = match reference {
                    Some(reference) => refusal.clone().referenced(reference),
                    None => refusal.clone(),
                };
                let body: Bytes = told.into_response::<Bytes>().into_body();
                let mut expected =
                    json!({ "error": "access_denied", "error_description": "not \"you\"" });
                if let Some(reference) = reference {
                    expected["reference"] = reference.into();
                }
                assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
            }
        }
    }
}
