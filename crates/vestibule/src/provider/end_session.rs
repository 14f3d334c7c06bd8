//! Where a browser is signed out at the provider (OpenID Connect RP-Initiated Logout 1.0, and Cognito's own `/logout`).
//!
//! We keep no ID token, so no `id_token_hint` is sent: providers then ask the user, or look at `client_id`.

use super::profile::EndSession;
use super::{Provider, ProviderError, form_urlencoded};

impl Provider {
    /// The URL, with the way back to `return_to`, which must be registered at the provider. `None` when the provider
    /// offers no sign-out, or the settings say not to use it.
    pub async fn end_session_url(&self, return_to: &str) -> Result<Option<String>, ProviderError> {
        if !self.settings.end_session {
            return Ok(None);
        }
        let metadata = self.discovery.metadata().await?;
        let named = metadata.end_session_endpoint.clone();
        let (endpoint, parameter) = match self.profile.end_session {
            EndSession::None if self.settings.endpoints.end_session.is_none() => return Ok(None),
            EndSession::None | EndSession::RpInitiated => (named, "post_logout_redirect_uri"),
            EndSession::Own {
                path,
                return_parameter,
            } => {
                // Only Cognito's document names its own way there; an operator's endpoint is taken as it is.
                let written = self.settings.endpoints.end_session.as_ref();
                let beside = metadata
                    .authorization_endpoint
                    .as_deref()
                    .and_then(|endpoint| beside(endpoint, path));
                let endpoint = written.map(|endpoint| endpoint.as_str().to_owned());
                (endpoint.or(beside).or(named), return_parameter)
            }
        };
        let Some(endpoint) = endpoint else {
            return Ok(None);
        };
        let mut query = form_urlencoded();
        query
            .append_pair("client_id", &self.settings.client_id)
            .append_pair(parameter, return_to);
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(Some(format!("{endpoint}{separator}{}", query.finish())))
    }

    /// True when there may be a sign-out; the discovery document has the last word.
    pub fn may_end_sessions(&self) -> bool {
        let possible = self.profile.end_session != EndSession::None
            || self.settings.endpoints.end_session.is_some();
        self.settings.end_session && possible
    }
}

/// `path` at the host of `endpoint`.
fn beside(endpoint: &str, path: &str) -> Option<String> {
    let origin = url::Url::parse(endpoint).ok()?.origin();
    origin
        .is_tuple()
        .then(|| format!("{}{path}", origin.ascii_serialization()))
}
