//! The userinfo endpoint (OpenID Connect Core §5.3): claims that the ID token lacks, or the identity itself where there
//! is no ID token.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value};

use vestibule_guard::fetch::FetchLimits;
use vestibule_oauth::secret::AccessToken;

use super::profile::IdentitySource;
use super::token_endpoint::fault;
use super::{Identity, Provider, ProviderError, ask};
use crate::metrics::labels::ProviderEndpoint;
use crate::settings::Userinfo;

/// Userinfo is a few kilobytes, with many groups some dozens.
const MAX_ANSWER: usize = 256 * 1024;

impl Provider {
    /// Adds what the userinfo endpoint knows, when it is to be asked. A fault there fails no sign-in: every claim of it
    /// is optional, because who it is stands in the ID token.
    pub(super) async fn completed(&self, mut identity: Identity, access: &AccessToken) -> Identity {
        if !self.asks_userinfo(&identity.claims) {
            return identity;
        }
        match self.userinfo(access).await {
            Ok(Some(more))
                if more.get("sub").and_then(Value::as_str) == Some(&identity.subject) =>
            {
                self.add(&mut identity.claims, &more);
            }
            // OpenID Connect Core §5.3.2: the values MUST NOT be used.
            Ok(Some(_)) => {
                tracing::warn!(
                    reason = "userinfo_subject",
                    provider = self.id(),
                    "userinfo is about another user than the ID token; passed over"
                );
                identity.complete = false;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(reason = error.slug(), cause = %error, provider = self.id(), "userinfo cannot be had; going on without");
                identity.complete = false;
            }
        }
        identity
    }

    /// The claims of a refresh that came without an ID token, where userinfo is to be asked and answers.
    pub(super) async fn identity_by_userinfo(&self, access: &AccessToken) -> Option<Identity> {
        if !self.asks_userinfo(&Map::new()) {
            return None;
        }
        match self.userinfo(access).await {
            Ok(claims) => {
                let claims = claims?;
                Some(Identity {
                    subject: claims.get("sub")?.as_str()?.to_owned(),
                    claims,
                    // What only the ID token has stays as it was.
                    complete: false,
                })
            }
            Err(error) => {
                tracing::warn!(reason = error.slug(), cause = %error, provider = self.id(), "userinfo cannot be had; the claims stay as they were");
                None
            }
        }
    }

    /// Who holds the access token, where the API says it (OAuth without OpenID Connect).
    pub(super) async fn identity_by_api(
        &self,
        access: &AccessToken,
        subject: &str,
    ) -> Result<Identity, ProviderError> {
        let claims = self.userinfo(access).await?.ok_or_else(|| {
            ProviderError::Misconfigured("provider.userinfo_endpoint is not set".into())
        })?;
        let subject = match claims.get(subject) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            Some(Value::Number(number)) if number.is_u64() => number.to_string(),
            _ => {
                return Err(ProviderError::BadAnswer(format!(
                    "userinfo has no usable '{subject}'"
                )));
            }
        };
        Ok(Identity {
            subject,
            claims,
            complete: true,
        })
    }

    /// True when userinfo is asked although nothing is missing, or may have what is missing.
    pub(super) fn asks_userinfo(&self, claims: &Map<String, Value>) -> bool {
        let missing = || {
            self.claims
                .iter()
                .any(|mapping| !claims.contains_key(&mapping.from))
        };
        match (self.profile.identity, self.settings.userinfo) {
            (IdentitySource::Api { .. }, _) | (_, Userinfo::Never) => false,
            (_, Userinfo::Always) => true,
            (_, Userinfo::Auto) => self.profile.userinfo_has_more && missing(),
        }
    }

    /// Only mapped claims: nothing of userinfo may pass for a claim about the token.
    fn add(&self, claims: &mut Map<String, Value>, more: &Map<String, Value>) {
        let wins = self.settings.userinfo == Userinfo::Always;
        for mapping in &self.claims {
            if let Some(value) = more.get(&mapping.from)
                && (wins || !claims.contains_key(&mapping.from))
            {
                claims.insert(mapping.from.clone(), value.clone());
            }
        }
    }

    /// `None` when the provider has no such endpoint.
    async fn userinfo(
        &self,
        access: &AccessToken,
    ) -> Result<Option<Map<String, Value>>, ProviderError> {
        let metadata = self.discovery.metadata().await?;
        let Some(endpoint) = metadata.userinfo_endpoint.as_deref() else {
            return Ok(None);
        };
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", access.expose()))
            .map_err(|_| ProviderError::BadAnswer("the access token fits no header".into()))?;
        bearer.set_sensitive(true);
        let request = Request::get(endpoint)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, bearer)
            .body(Full::<Bytes>::default())
            .map_err(|error| ProviderError::Misconfigured(format!("{endpoint}: {error}")))?;
        let limits = FetchLimits {
            deadline: self.settings.timeout,
            max_body: MAX_ANSWER,
        };
        let kind = ProviderEndpoint::Userinfo;
        let response = ask(&self.outbound, &self.metrics, kind, request, limits).await?;
        read(&response).map(Some)
    }
}

fn read(response: &Response<Bytes>) -> Result<Map<String, Value>, ProviderError> {
    match response.status() {
        StatusCode::OK => {}
        // RFC 6750 §3.1: the access token is not good (any more).
        StatusCode::UNAUTHORIZED => {
            return Err(ProviderError::InvalidGrant(
                "userinfo answered HTTP 401 to the access token".into(),
            ));
        }
        _ => return Err(fault(response, &[])),
    }
    let media_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok()?.split(';').next())
        .unwrap_or_default()
        .trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(ProviderError::BadAnswer(format!(
            "userinfo is '{media_type}', not JSON; a signed answer must be switched off for this client"
        )));
    }
    serde_json::from_slice(response.body())
        .map_err(|error| ProviderError::BadAnswer(format!("userinfo is no JSON object: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(
        status: u16,
        media_type: &str,
        body: &'static str,
    ) -> Result<Map<String, Value>, ProviderError> {
        read(
            &Response::builder()
                .status(status)
                .header(CONTENT_TYPE, media_type)
                .body(Bytes::from_static(body.as_bytes()))
                .unwrap(),
        )
    }

    #[test]
    fn only_a_json_object_is_userinfo() {
        let json = "application/json; charset=utf-8";
        assert_eq!(answer(200, json, r#"{"sub":"a"}"#).unwrap()["sub"], "a");
        for (media_type, body) in [
            ("application/jwt", "a.b.c"),
            ("text/html", "{}"),
            ("", "{}"),
            (json, "[]"),
            (json, "{\"sub\":"),
        ] {
            let refused = answer(200, media_type, body);
            assert!(
                matches!(refused, Err(ProviderError::BadAnswer(_))),
                "{media_type} {body}"
            );
        }
    }

    #[test]
    fn a_firewall_does_not_end_a_grant_but_a_dead_token_does() {
        assert!(matches!(
            answer(401, "text/plain", ""),
            Err(ProviderError::InvalidGrant(_))
        ));
        for status in [403, 429, 500, 503] {
            assert!(matches!(
                answer(status, "text/html", "<html>"),
                Err(ProviderError::Unavailable { .. })
            ));
        }
    }
}
