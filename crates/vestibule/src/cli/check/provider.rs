//! What can be known of a provider without signing anybody in: discovery, keys, the callback, our credentials, the clock.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::header::{DATE, LOCATION};
use http::{HeaderMap, Response};
use serde_json::Value;
use url::Url;
use vestibule_guard::fetch::{FetchError, Outbound};
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::{Random as _, SystemRandom};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::AuthorizationCode;
use vestibule_oauth::time::{Clock, SystemClock, UnixTime};
use vestibule_oauth::url::Endpoint;

use super::finding::{Finding, Findings, Severity};
use super::outside::get;
use crate::build_provider;
use crate::provider::{Provider, ProviderError, Purpose, SignIn};
use crate::settings::{ProviderSettings, Settings};
use crate::ways::Ways;

/// Seconds that clocks may differ. ID tokens are checked with a leeway of a minute.
const SKEW: u64 = 60;

/// Looks at one provider.
pub(super) async fn probe(
    settings: &Settings,
    provider: &ProviderSettings,
    findings: &mut Findings,
) {
    let mut ways = Ways::after(None);
    let name = format!("the probe of `{}`", provider.id);
    let way = ways.open(name, provider.issuer.as_str(), provider.ca_file.as_deref());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let built = build_provider(None, settings, provider, &clock, &Arc::default(), &mut ways);
    let (Ok(outbound), Ok(built)) = (way, built) else {
        // Said already, when the house was built.
        return;
    };
    let probe = Probe {
        settings: provider,
        outbound: &outbound,
        callback: settings
            .public_url
            .join(&settings.callback_path(&provider.id)),
    };
    if probe.documents(findings).await {
        probe.authorize(&built, findings).await;
        probe.token(&built, findings).await;
    }
}

struct Probe<'a> {
    settings: &'a ProviderSettings,
    outbound: &'a Outbound,
    callback: String,
}

impl Probe<'_> {
    fn finding(&self, severity: Severity, slug: &'static str, message: &str) -> Finding {
        let message = format!("provider `{}`: {message}", self.settings.id);
        Finding::new(severity, slug, message)
    }

    /// Discovery and keys. False when there is nothing to go on with.
    async fn documents(&self, findings: &mut Findings) -> bool {
        if !self.settings.discovery {
            return true;
        }
        let Some(document) = self.discovery(findings).await else {
            return false;
        };
        let written = &self.settings.endpoints;
        let mut complete = true;
        for (name, written) in [
            ("authorization_endpoint", written.authorization.is_some()),
            ("token_endpoint", written.token.is_some()),
            ("jwks_uri", written.jwks.is_some()),
        ] {
            if !written && document[name].as_str().is_none_or(str::is_empty) {
                let finding = self
                    .finding(Severity::Error, "provider-endpoints", &format!("its document names no {name}"))
                    .why("Nobody can sign in without it.")
                    .fix(format!(
                        "create what is missing at the provider (some have none before they have a domain), or set `provider.{name}`"
                    ));
                findings.add(finding);
                complete = false;
            }
        }
        self.pkce(&document, findings);
        let jwks = written.jwks.as_ref().map(Endpoint::as_str);
        if let Some(url) = jwks.or(document["jwks_uri"].as_str()) {
            complete &= self.keys(url, findings).await;
        }
        complete
    }

    async fn discovery(&self, findings: &mut Findings) -> Option<Value> {
        let url = self.settings.issuer.openid_configuration_url();
        let fix = "check `provider.issuer`, and that this machine can reach it";
        let unreachable = |message: String| {
            self.finding(Severity::Error, "provider-discovery", &message)
                .why("Sign-ins and refreshes fail until it can be read.")
                .key("provider.issuer")
                .fix(fix)
        };
        let response = match self.fetch(&url).await {
            Ok(response) => response,
            Err(error) => {
                findings.add(unreachable(format!("{url} cannot be read: {error}")));
                return None;
            }
        };
        self.clock(response.headers(), findings);
        let document = serde_json::from_slice::<Value>(response.body()).ok();
        let Some(document) = document.filter(|_| response.status().is_success()) else {
            let what = format!(
                "{url} answered {} and no discovery document",
                response.status()
            );
            findings.add(unreachable(what));
            return None;
        };
        let issuer = document["issuer"].as_str().unwrap_or_default();
        if issuer == self.settings.issuer.as_str() {
            let what = format!("{url} is there and names our issuer");
            findings.add(self.finding(Severity::Ok, "provider-discovery", &what));
            return Some(document);
        }
        let what = format!(
            "its issuer is '{issuer}', but `provider.issuer` is '{}'",
            self.settings.issuer
        );
        let finding = self
            .finding(Severity::Error, "provider-issuer", &what)
            .why("They must be equal byte for byte (OpenID Connect Discovery §4.3), or its tokens are refused.")
            .key("provider.issuer")
            .fix(format!("set `provider.issuer` to \"{issuer}\""));
        findings.add(finding);
        None
    }

    fn pkce(&self, document: &Value, findings: &mut Findings) {
        let methods = document["code_challenge_methods_supported"].as_array();
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            let finding = self
                .finding(
                    Severity::Warning,
                    "provider-pkce",
                    "its document does not list S256",
                )
                .why("A code of ours that is stolen on the way back could be redeemed by others.")
                .fix("switch PKCE on at the provider");
            findings.add(finding);
        }
    }

    async fn keys(&self, url: &str, findings: &mut Findings) -> bool {
        let fault = match self.fetch(url).await {
            Err(error) => format!("{url} cannot be read: {error}"),
            Ok(response) => {
                let document = serde_json::from_slice::<Value>(response.body()).unwrap_or_default();
                let keys = document["keys"].as_array();
                let usable = keys.into_iter().flatten().filter(|key| usable(key)).count();
                if response.status().is_success() && usable > 0 {
                    let what = format!("{url} has {usable} signing keys");
                    findings.add(self.finding(Severity::Ok, "provider-keys", &what));
                    return true;
                }
                format!("{url} answered {} and no key that signs", response.status())
            }
        };
        let finding = self
            .finding(Severity::Error, "provider-keys", &fault)
            .why("No ID token can be verified without them.")
            .fix("check that this machine can reach it (in a private network: NAT or an endpoint for it)");
        findings.add(finding);
        false
    }

    /// Where the provider sends a browser says whether it knows our client, callback and scopes.
    async fn authorize(&self, provider: &Provider, findings: &mut Findings) {
        const SLUG: &str = "provider-authorize";
        let state = SystemRandom.token(16);
        let verifier = CodeVerifier::generate(&SystemRandom);
        let sign_in = SignIn {
            state: &state,
            nonce: &state,
            challenge: &verifier.challenge(),
            scopes: &ScopeSet::default(),
            passed: &[],
            purpose: Purpose::Grant,
            another_account: false,
        };
        let Ok(url) = provider.authorize_url(&sign_in).await else {
            return;
        };
        let response = match self.fetch(&url).await {
            Ok(response) => response,
            Err(error) => {
                let what =
                    format!("its authorization endpoint cannot be reached from here: {error}");
                let finding = self
                    .finding(Severity::Warning, SLUG, &what)
                    .why("Browsers go there, so it may be well where they are.");
                findings.add(finding);
                return;
            }
        };
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let error = location.and_then(|location| error_in(location, &url));
        let status = response.status();
        let Some(error) = error.or_else(|| status.is_client_error().then(|| status.to_string()))
        else {
            let what = "it accepts our client, callback and scopes";
            findings.add(self.finding(Severity::Ok, SLUG, what));
            return;
        };
        let fix = if error.contains("scope") {
            "allow every one of `provider.scopes` at the app client, or remove some".to_owned()
        } else if error.contains("unauthorized_client") {
            "enable the authorization code grant at the app client".to_owned()
        } else {
            format!(
                "check `provider.client_id`, and register exactly {} as a callback URL there",
                self.callback
            )
        };
        let finding = self
            .finding(
                Severity::Error,
                SLUG,
                &format!("it refuses our authorization request: {error}"),
            )
            .why("Everybody who wants to sign in gets this.")
            .fix(fix);
        findings.add(finding);
    }

    /// A made-up code: `invalid_grant` means that our credentials were accepted.
    async fn token(&self, provider: &Provider, findings: &mut Findings) {
        const SLUG: &str = "provider-credentials";
        let code = AuthorizationCode::new("vestibule-check-made-this-up");
        let verifier = CodeVerifier::generate(&SystemRandom);
        let outcome = provider.exchange(&code, &verifier, "nonce").await;
        let Err(error) = outcome else {
            let what = "it gave tokens for a code that was made up";
            let finding = self.finding(Severity::Error, SLUG, what);
            findings.add(finding.why("Anybody could sign in as anybody."));
            return;
        };
        findings.add(match &error {
            ProviderError::InvalidGrant(_) => {
                let what = "its token endpoint accepts our credentials";
                self.finding(Severity::Ok, SLUG, what)
            }
            ProviderError::Unavailable { .. } => self
                .finding(Severity::Warning, SLUG, &error.to_string())
                .why("Codes and refresh tokens cannot be redeemed while this lasts."),
            _ => {
                let said = error.to_string();
                let fix = if said.contains("unauthorized_client") {
                    "enable the authorization code grant at the app client"
                } else if self.settings.client_secret.is_some() {
                    "check `provider.client_id` and `provider.client_secret`; if they are right, try the other \
                     `provider.token_endpoint_auth`"
                } else {
                    "set `provider.client_secret` if the app client has one; check `provider.client_id`"
                };
                self.finding(Severity::Error, SLUG, &said)
                    .why("Every sign-in ends in an error after the user has signed in.")
                    .key("provider.client_secret")
                    .fix(fix)
            }
        });
    }

    fn clock(&self, headers: &HeaderMap, findings: &mut Findings) {
        let Some(difference) = difference(headers, SystemClock.now()) else {
            return;
        };
        if difference > SKEW {
            let what = format!("our clocks differ by {difference} seconds");
            let finding = self
                .finding(Severity::Warning, "provider-clock", &what)
                .why("Tokens look expired, or not valid yet.")
                .fix("synchronise this machine's clock (NTP)");
            findings.add(finding);
        }
    }

    async fn fetch(&self, url: &str) -> Result<Response<Bytes>, FetchError> {
        get(self.outbound, url, self.settings.timeout).await
    }
}

/// Seconds between the clock that wrote the headers and ours.
fn difference(headers: &HeaderMap, now: UnixTime) -> Option<u64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    let theirs = date.duration_since(UNIX_EPOCH).ok()?;
    Some(theirs.as_secs().abs_diff(now.0))
}

/// A key that can verify an ID token.
fn usable(key: &Value) -> bool {
    let known = matches!(key["kty"].as_str(), Some("RSA" | "EC" | "OKP"));
    known && key["use"].as_str().is_none_or(|purpose| purpose == "sig")
}

/// What a redirect's `error` says, wherever it leads.
fn error_in(location: &str, base: &str) -> Option<String> {
    let url = Url::parse(base).ok()?.join(location).ok()?;
    let value = |name: &str| {
        let mut pairs = url.query_pairs();
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    };
    let error = value("error");
    let text = value("error_description");
    match (error, text) {
        (None, None) => None,
        (error, text) => {
            let parts: Vec<_> = error.into_iter().chain(text).collect();
            Some(parts.join(": "))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn clocks_are_compared_by_the_date_of_an_answer() {
        let mut headers = HeaderMap::new();
        assert_eq!(difference(&headers, UnixTime(0)), None);
        let date = HeaderValue::from_static("Sat, 21 Nov 2026 08:00:00 GMT");
        headers.insert(DATE, date);
        assert_eq!(difference(&headers, UnixTime(1_795_248_000)), Some(0));
        assert_eq!(difference(&headers, UnixTime(1_795_248_090)), Some(90));
        assert_eq!(difference(&headers, UnixTime(1_795_247_910)), Some(90));
        headers.insert(DATE, HeaderValue::from_static("yesterday"));
        assert_eq!(difference(&headers, UnixTime(0)), None);
    }

    #[test]
    fn an_error_is_found_wherever_a_redirect_leads() {
        let base = "https://login.example/oauth2/authorize?x=y";
        for (location, error) in [
            ("/login?client_id=c&state=s", None),
            (
                "https://login.example/error?error=redirect_mismatch&client_id=c",
                Some("redirect_mismatch"),
            ),
            (
                "https://mcp.example/callback?error=invalid_scope&error_description=no+such+scope&state=s",
                Some("invalid_scope: no such scope"),
            ),
            (
                "https://mcp.example/callback?error_description=invalid_scope",
                Some("invalid_scope"),
            ),
            ("https://[", None),
        ] {
            assert_eq!(error_in(location, base).as_deref(), error, "{location}");
        }
    }

    #[test]
    fn keys_for_encryption_and_secrets_verify_nothing() {
        assert!(usable(&json!({ "kty": "RSA" })));
        assert!(usable(&json!({ "kty": "EC", "use": "sig" })));
        assert!(!usable(&json!({ "kty": "RSA", "use": "enc" })));
        assert!(!usable(&json!({ "kty": "oct" })));
        assert!(!usable(&json!("RSA")));
    }
}
