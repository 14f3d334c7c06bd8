//! Calls to the provider's token and revocation endpoints (RFC 6749 §4.1.3, §6; RFC 7009), with every fault sorted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use vestibule_guard::fetch::FetchLimits;
use vestibule_guard::keys::JwksSource;
use vestibule_oauth::metadata::ProviderMetadata;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::{AccessToken, AuthorizationCode, IdToken, RefreshToken};

use super::id_token::{self, ExpectedIdToken};
use super::profile::{IdentitySource, TokenEndpointAuth};
use super::{Identity, Provider, ProviderError, ProviderTokens, Refreshed, ask};
use crate::metrics::labels::ProviderEndpoint;

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Token responses are at most a few JWTs.
const MAX_ANSWER: usize = 256 * 1024;
/// Before an access token that stands in a grant for the refresh token that a provider does not give (no token has a
/// blank in it).
const STANDING: &str = "standing ";
/// Seconds an access token is taken to live when the provider does not say (RFC 6749 §5.1 recommends it to).
const UNSTATED_LIFETIME: u64 = 3600;

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: AccessToken,
    token_type: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<RefreshToken>,
    id_token: Option<IdToken>,
    scope: Option<String>,
    /// A refusal, if it can be read as one.
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Provider {
    /// Redeems the provider's code. The ID token must be there, valid and carry our nonce; without OpenID Connect the
    /// API must say who it is.
    pub async fn exchange(
        &self,
        code: &AuthorizationCode,
        verifier: &CodeVerifier,
        nonce: &str,
    ) -> Result<ProviderTokens, ProviderError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", self.callback.as_str()),
            ("code_verifier", verifier.expose()),
        ];
        let Refreshed { tokens, doubt } = self.token_request(&form, Some(nonce)).await?;
        if let Some(doubt) = doubt {
            return Err(doubt);
        }
        if tokens.identity.is_none() {
            return Err(ProviderError::Misconfigured(
                "the token response has no id_token: 'openid' must be among provider.scopes and allowed at the provider".into(),
            ));
        }
        Ok(tokens)
    }

    /// Refreshes. What the provider may have rotated is in the result; the caller keeps the old token otherwise. A success
    /// may come with a doubt: then the refresh happened and must be kept, but its tokens must not be used.
    pub async fn refresh(&self, refresh_token: &RefreshToken) -> Result<Refreshed, ProviderError> {
        if let (Some(standing), IdentitySource::Api { subject }) =
            (standing(refresh_token), self.profile.identity)
        {
            // The API knows whether the token and its user still are.
            let identity = self.identity_by_api(&standing, subject).await?;
            let tokens = ProviderTokens {
                access: standing,
                expires_at: self.clock.now().plus(UNSTATED_LIFETIME),
                refresh: None,
                identity: Some(identity),
                scope: None,
            };
            return Ok(Refreshed {
                tokens,
                doubt: None,
            });
        }
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose()),
        ];
        match self.token_request(&form, None).await? {
            // The user is gone, whatever else was given.
            Refreshed {
                doubt: Some(gone @ ProviderError::InvalidGrant(_)),
                ..
            } => Err(gone),
            refreshed => Ok(refreshed),
        }
    }

    /// Revokes a refresh token at the provider. A provider without a revocation endpoint is not an error: there the
    /// token dies by its own lifetime.
    pub async fn revoke(&self, refresh_token: &RefreshToken) -> Result<(), ProviderError> {
        let metadata = self.discovery.metadata().await?;
        let Some(endpoint) = metadata.revocation_endpoint.as_deref() else {
            return Ok(());
        };
        let standing = standing(refresh_token);
        let form = match &standing {
            Some(access) => [
                ("token", access.expose()),
                ("token_type_hint", "access_token"),
            ],
            None => [
                ("token", refresh_token.expose()),
                ("token_type_hint", "refresh_token"),
            ],
        };
        let kind = ProviderEndpoint::Revocation;
        let response = self.post(kind, endpoint, &form, &metadata).await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(fault(&response, self.profile.dead_grant_errors))
        }
    }

    async fn token_request(
        &self,
        form: &[(&str, &str)],
        nonce: Option<&str>,
    ) -> Result<Refreshed, ProviderError> {
        let metadata = self.discovery.metadata().await?;
        let endpoint = metadata.token_endpoint.as_deref().ok_or_else(|| {
            ProviderError::Misconfigured("discovery names no token_endpoint".into())
        })?;
        // The keys first: a code works once, so nothing that can fail may come after it that could come before.
        let keys = match self.profile.identity {
            IdentitySource::Api { .. } => None,
            IdentitySource::IdToken => {
                let keys = self.discovery.keys().await?;
                keys.keys().await.map_err(ProviderError::unavailable)?;
                Some(keys)
            }
        };
        let kind = ProviderEndpoint::Token;
        let response = self.post(kind, endpoint, form, &metadata).await?;
        let answer = serde_json::from_slice::<TokenAnswer>(response.body());
        // GitHub answers errors with 200.
        let refused = match &answer {
            Ok(answer) if answer.error.is_none() => false,
            _ => serde_json::from_slice::<ErrorAnswer>(response.body()).is_ok(),
        };
        if response.status() != StatusCode::OK || refused {
            return Err(fault(&response, self.profile.dead_grant_errors));
        }
        // A cut-off answer is a fault of the moment: the client may try again, and a provider that rotated lets the old
        // token live for a while.
        let answer = answer.map_err(|error| {
            ProviderError::unavailable(format!("the token response is not JSON: {error}"))
        })?;
        let bearer = |kind: &String| kind.eq_ignore_ascii_case("bearer");
        let (identity, doubt) = if answer.token_type.as_ref().is_none_or(bearer) {
            match self.identity(&answer, keys.as_deref(), nonce).await {
                Ok(identity) => (identity, None),
                Err(error) => (None, Some(error)),
            }
        } else {
            let what = "the provider's access token is not a bearer token";
            (None, Some(ProviderError::BadAnswer(what.into())))
        };
        let api = matches!(self.profile.identity, IdentitySource::Api { .. });
        let never_ends = api && answer.refresh_token.is_none() && answer.expires_in.is_none();
        let tokens = ProviderTokens {
            expires_at: self
                .clock
                .now()
                .plus(answer.expires_in.unwrap_or(UNSTATED_LIFETIME)),
            refresh: if never_ends {
                Some(RefreshToken::new(format!(
                    "{STANDING}{}",
                    answer.access_token.expose()
                )))
            } else {
                answer.refresh_token
            },
            access: answer.access_token,
            identity,
            scope: answer
                .scope
                .as_deref()
                .map(ScopeSet::parse)
                .filter(|scope| !scope.is_empty()),
        };
        Ok(Refreshed { tokens, doubt })
    }

    /// Who the answer is about. A refresh need not say it; where claims come from userinfo anyway, that is asked.
    async fn identity(
        &self,
        answer: &TokenAnswer,
        keys: Option<&JwksSource>,
        nonce: Option<&str>,
    ) -> Result<Option<Identity>, ProviderError> {
        let access = &answer.access_token;
        let is_refresh = nonce.is_none();
        if let IdentitySource::Api { subject } = self.profile.identity {
            return match self.identity_by_api(access, subject).await {
                // The refresh itself is done and may have rotated the token: that must not be lost.
                Err(error @ ProviderError::Unavailable { .. }) if is_refresh => {
                    tracing::warn!(reason = error.slug(), cause = %error, provider = self.id(), "the user's claims stay as they were");
                    Ok(None)
                }
                other => other.map(Some),
            };
        }
        let (Some(token), Some(keys)) = (&answer.id_token, keys) else {
            return Ok(if is_refresh {
                self.identity_by_userinfo(access).await
            } else {
                None
            });
        };
        let expected = ExpectedIdToken {
            issuer: self.settings.issuer.as_str(),
            client_id: &self.settings.client_id,
            nonce,
            now: self.clock.now(),
        };
        match id_token::verify(token, keys, &expected).await {
            Ok(identity) => Ok(Some(self.completed(identity, access).await)),
            // A refresh may come without an ID token, so it may do without this one: to fail would lose the refresh
            // token that the provider may have rotated (design §5.1).
            Err(error @ ProviderError::Unavailable { .. }) if is_refresh => {
                tracing::warn!(reason = error.slug(), cause = %error, "a new ID token was not read");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn post(
        &self,
        kind: ProviderEndpoint,
        endpoint: &str,
        form: &[(&str, &str)],
        metadata: &ProviderMetadata,
    ) -> Result<Response<Bytes>, ProviderError> {
        let request = self.form_request(endpoint, form, metadata)?;
        let limits = FetchLimits {
            deadline: self.settings.timeout,
            max_body: MAX_ANSWER,
        };
        ask(&self.outbound, &self.metrics, kind, request, limits).await
    }

    fn form_request(
        &self,
        endpoint: &str,
        form: &[(&str, &str)],
        metadata: &ProviderMetadata,
    ) -> Result<Request<Full<Bytes>>, ProviderError> {
        let mut body = Form::of(form);
        let mut request = Request::post(endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match (&self.settings.client_secret, self.authentication(metadata)) {
            (None, _) => body.append("client_id", &self.settings.client_id),
            (Some(secret), TokenEndpointAuth::Post) => {
                body.append("client_id", &self.settings.client_id);
                body.append("client_secret", secret.expose());
            }
            (Some(secret), TokenEndpointAuth::Basic) => {
                request = request.header(
                    AUTHORIZATION,
                    basic(&self.settings.client_id, secret.expose())?,
                );
            }
        }
        request
            .body(Full::new(Bytes::from(body.0)))
            .map_err(|error| ProviderError::Misconfigured(format!("{endpoint}: {error}")))
    }

    /// The settings win, then what discovery offers, then the profile.
    fn authentication(&self, metadata: &ProviderMetadata) -> TokenEndpointAuth {
        let offered = metadata.token_endpoint_auth_methods_supported.as_deref();
        let offers = |method: &str| {
            offered.is_none_or(|methods| methods.iter().any(|offered| offered == method))
        };
        self.settings.token_endpoint_auth.unwrap_or_else(|| {
            match (offers("client_secret_basic"), offers("client_secret_post")) {
                (false, true) => TokenEndpointAuth::Post,
                (true, false) => TokenEndpointAuth::Basic,
                _ => self.profile.token_auth_default,
            }
        })
    }
}

/// A body of `application/x-www-form-urlencoded`.
struct Form(String);

impl Form {
    fn of(pairs: &[(&str, &str)]) -> Self {
        let length: usize = pairs.iter().map(|pair| pair.0.len() + pair.1.len()).sum();
        // With room for a client's id and secret, and for a few characters that take three.
        let mut form = Self(String::with_capacity(length + 512));
        for (name, value) in pairs {
            form.append(name, value);
        }
        form
    }

    fn append(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        for (text, after) in [(name, "="), (value, "")] {
            // Tokens of kilobytes stand for themselves; looked at one by one, their characters cost more than a signature.
            if text
                .bytes()
                .all(|byte| STANDS_FOR_ITSELF[usize::from(byte)])
            {
                self.0.push_str(text);
            } else {
                let encoded = url::form_urlencoded::byte_serialize(text.as_bytes());
                self.0.extend(encoded);
            }
            self.0.push_str(after);
        }
    }
}

/// What is not encoded in a form, by byte. A table, because what is random cannot be foretold by a branch.
const STANDS_FOR_ITSELF: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let own = byte as u8;
        table[byte] = own.is_ascii_alphanumeric() || matches!(own, b'*' | b'-' | b'.' | b'_');
        byte += 1;
    }
    table
};

/// HTTP Basic with both halves form-encoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, ProviderError> {
    let encode = |text| utf8_percent_encode(text, RESERVED).to_string();
    let credentials = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)));
    let mut value = HeaderValue::try_from(format!("Basic {credentials}")).map_err(|_| {
        ProviderError::Misconfigured("provider.client_id cannot be sent by HTTP Basic".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The access token that a grant keeps in place of a refresh token.
fn standing(kept: &RefreshToken) -> Option<AccessToken> {
    kept.expose().strip_prefix(STANDING).map(AccessToken::new)
}

/// Sorts an answer that is not a success. Only `invalid_grant`, and what this provider calls it, ends a grant; what might
/// pass is "unavailable".
pub(super) fn fault(response: &Response<Bytes>, dead_grant: &[&str]) -> ProviderError {
    let status = response.status();
    let request_id = response
        .headers()
        .get("x-amzn-requestid")
        .or(response.headers().get("x-amz-cognito-request-id"));
    let request_id = request_id.and_then(|id| id.to_str().ok()).unwrap_or("-");
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let error: Option<ErrorAnswer> = serde_json::from_slice(response.body()).ok();
    let said = error.as_ref().map_or_else(String::new, |error| {
        format!("{} {}", error.error, error.error_description)
    });
    let cause = format!("HTTP {status} {said} (provider request {request_id})");
    if status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
    {
        let retry_after = retry_after.unwrap_or(ProviderError::DEFAULT_RETRY_AFTER);
        return ProviderError::Unavailable { cause, retry_after };
    }
    match error.as_ref().map(|error| error.error.as_str()) {
        Some("invalid_grant") => ProviderError::InvalidGrant(cause),
        Some(code) if dead_grant.contains(&code) => ProviderError::InvalidGrant(cause),
        // Without a code it is a firewall's or a load balancer's page: the grant may well be alive.
        None | Some("temporarily_unavailable" | "server_error" | "slow_down") => {
            ProviderError::unavailable(cause)
        }
        Some(_) => ProviderError::Misconfigured(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> ProviderError {
        fault(
            &Response::builder()
                .status(status)
                .body(Bytes::from_static(body.as_bytes()))
                .unwrap(),
            &[],
        )
    }

    #[test]
    fn only_invalid_grant_ends_a_grant() {
        assert!(matches!(
            answer(400, r#"{"error":"invalid_grant"}"#),
            ProviderError::InvalidGrant(_)
        ));
        for (status, body) in [
            (500, ""),
            (503, r#"{"error":"invalid_grant"}"#),
            (429, r#"{"error":"invalid_grant"}"#),
            (400, "<html>"),
            (403, "<html>Request blocked</html>"),
            (400, r#"{"error":"invalid_gr"#),
            (400, r#"{"error":"temporarily_unavailable"}"#),
        ] {
            assert!(
                matches!(answer(status, body), ProviderError::Unavailable { .. }),
                "{status} {body}"
            );
        }
        assert!(matches!(
            answer(400, r#"{"error":"invalid_client"}"#),
            ProviderError::Misconfigured(_)
        ));
        let redirect = r#"{"error":"unauthorized_client","error_description":"invalid_redirect"}"#;
        assert!(matches!(
            answer(400, redirect),
            ProviderError::Misconfigured(_)
        ));
    }

    #[test]
    fn a_form_is_what_others_make_of_it() {
        let every: String = (0..=255_u8).map(char::from).collect();
        let pairs = [("a", "x-._*~Z09"), ("b c", ""), ("d", every.as_str())];
        let others = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        assert_eq!(Form::of(&pairs).0, others);
    }

    #[test]
    fn basic_credentials_are_form_encoded_first() {
        let value = basic("a:b", "s+/%").unwrap();
        assert_eq!(
            value,
            format!("Basic {}", STANDARD.encode("a%3Ab:s%2B%2F%25")).as_str()
        );
        assert!(value.is_sensitive());
    }
}
