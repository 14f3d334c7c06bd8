//! Events: what happened, to whom, from where, and how it ended; and the line that says so.

use aws_lc_rs::hmac;
use base64::Engine as _;
use serde::Serialize;

use vestibule_oauth::base64url::BASE64URL;
use vestibule_oauth::client::{Client, ClientId};
use vestibule_oauth::random::Random;
use vestibule_oauth::time::UnixTime;

use super::Source;
use crate::grants::{CheckedRequest, fingerprint};
use crate::keys::KeyChange;
use crate::telemetry::{Told, is_unsafe_to_show};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// A client registered itself, or was refused.
    ClientRegistered,
    /// A consent page was shown.
    AuthorizeStarted,
    /// The user approved, now or earlier in this browser.
    AuthorizeConsented,
    /// The user said no.
    AuthorizeDenied,
    /// We said no.
    AuthorizeRefused,
    /// The provider sent the browser back.
    ProviderCallback,
    /// A code became tokens.
    TokenIssued,
    /// A refresh token became tokens.
    TokenRefreshed,
    /// `/token` gave none.
    TokenRefused,
    /// A replaced refresh token came back.
    TokenReuse,
    /// A grant, or one access token, has ended.
    TokenRevoked,
    /// A request to an MCP server was let through.
    CallAllowed,
    /// It was refused.
    CallDenied,
    /// Somebody without the admin token.
    AdminRefused,
    /// An operator revoked grants.
    AdminGrantsRevoked,
    /// An operator shut somebody out.
    QuarantineAdded,
    /// An operator let somebody in again.
    QuarantineLifted,
    /// The configuration was read again.
    ConfigReloaded,
    /// Other keys are in use.
    KeyRotated,
}

impl Happened {
    /// As `type` of a line.
    fn name(self) -> &'static str {
        match self {
            Self::ClientRegistered => "client.registered",
            Self::AuthorizeStarted => "authorize.started",
            Self::AuthorizeConsented => "authorize.consented",
            Self::AuthorizeDenied => "authorize.denied",
            Self::AuthorizeRefused => "authorize.refused",
            Self::ProviderCallback => "idp.callback",
            Self::TokenIssued => "token.issued",
            Self::TokenRefreshed => "token.refreshed",
            Self::TokenRefused => "token.refused",
            Self::TokenReuse => "token.reuse_detected",
            Self::TokenRevoked => "token.revoked",
            Self::CallAllowed => "mcp.call.allowed",
            Self::CallDenied => "mcp.call.denied",
            Self::AdminRefused => "admin.refused",
            Self::AdminGrantsRevoked => "admin.grants_revoked",
            Self::QuarantineAdded => "admin.quarantine_added",
            Self::QuarantineLifted => "admin.quarantine_lifted",
            Self::ConfigReloaded => "config.reloaded",
            Self::KeyRotated => "key.rotated",
        }
    }

    /// True for what is a refusal in itself.
    fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::AuthorizeDenied
                | Self::AuthorizeRefused
                | Self::TokenRefused
                | Self::TokenReuse
                | Self::CallDenied
                | Self::AdminRefused
        )
    }
}

/// An event. Whatever strangers wrote is made harmless when the line is written, not here.
#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    happened: Happened,
    told: Option<Told>,
    failed: bool,
    reason: Option<&'static str>,
    user: Option<&'a str>,
    client: Option<Who<'a>>,
    source: Option<&'a Source>,
    resource: Option<&'a str>,
    method: Option<&'a str>,
    scope: Option<String>,
    grant: Option<&'a str>,
    token_id: Option<&'a str>,
    note: Option<&'a str>,
    count: Option<usize>,
    keys: Option<&'a KeyChange>,
}

/// A client, as far as it is known.
#[derive(Clone, Debug)]
enum Who<'a> {
    Client(&'a Client),
    Id(&'a str),
    Digest(&'a str),
    /// What an operator wrote to say which.
    Selector(&'a str),
}

impl<'a> Event<'a> {
    pub(crate) fn new(happened: Happened) -> Self {
        Self {
            happened,
            told: None,
            failed: false,
            reason: None,
            user: None,
            client: None,
            source: None,
            resource: None,
            method: None,
            scope: None,
            grant: None,
            token_id: None,
            note: None,
            count: None,
            keys: None,
        }
    }

    /// It was refused, and this is what was said of it; `None` when it was not refused.
    pub(crate) fn told(mut self, told: Option<Told>) -> Self {
        self.told = told;
        self
    }

    /// It did not come to pass.
    pub(crate) fn failed(mut self, reason: &'static str) -> Self {
        self.failed = true;
        self.because(reason)
    }

    /// A stable word for why.
    pub(crate) fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Whom it is about: `sub` as our tokens say it.
    pub(crate) fn user(mut self, subject: &'a str) -> Self {
        self.user = Some(subject);
        self
    }

    pub(crate) fn client(mut self, client: &'a Client) -> Self {
        self.client = Some(Who::Client(client));
        self
    }

    pub(crate) fn client_id(mut self, id: &'a str) -> Self {
        self.client = Some(Who::Id(id));
        self
    }

    pub(crate) fn client_digest(mut self, digest: &'a str) -> Self {
        self.client = Some(Who::Digest(digest));
        self
    }

    pub(crate) fn client_selector(mut self, selector: &'a str) -> Self {
        self.client = Some(Who::Selector(selector));
        self
    }

    /// What a sign-in is for.
    pub(crate) fn request(self, request: &'a CheckedRequest) -> Self {
        self.client_digest(request.client.as_str())
            .at(&request.resource)
            .scope(&request.scope)
    }

    /// Where the request came from.
    pub(crate) fn from(mut self, source: &'a Source) -> Self {
        self.source = Some(source);
        self
    }

    /// Path of the resource.
    pub(crate) fn at(mut self, resource: &'a str) -> Self {
        self.resource = Some(resource);
        self
    }

    /// The MCP method, with what it is about: `tools/call:echo`.
    pub(crate) fn calling(mut self, method: Option<&'a str>) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn scope(mut self, scope: &impl ToString) -> Self {
        self.scope = Some(scope.to_string());
        self
    }

    /// The family.
    pub(crate) fn grant(mut self, family: &'a str) -> Self {
        self.grant = Some(family);
        self
    }

    pub(crate) fn token(mut self, id: &'a str) -> Self {
        self.token_id = Some(id);
        self
    }

    /// What an operator wrote, or what set it off.
    pub(crate) fn note(mut self, note: &'a str) -> Self {
        self.note = Some(note);
        self
    }

    pub(crate) fn count(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }

    /// Which keys came and went.
    pub(crate) fn keys(mut self, change: &'a KeyChange) -> Self {
        self.keys = Some(change);
        self
    }

    /// The line, with its end.
    pub(super) fn line(
        &self,
        subjects: Option<&hmac::Key>,
        now: UnixTime,
        random: &dyn Random,
    ) -> String {
        let refused = self.failed || self.told.is_some() || self.happened.is_refusal();
        let source = self.source.filter(|source| {
            let Source { ip, user_agent } = source;
            ip.is_some() || user_agent.is_some()
        });
        let line = Line {
            time: now.rfc3339(),
            audit_id: random.token(12),
            kind: self.happened.name(),
            outcome: if refused { "failure" } else { "success" },
            reason: self.reason.or(self.told.map(|told| told.reason)),
            reference: self.told.map(|told| told.reference.to_string()),
            subject: self.subject(subjects),
            source: source.map(|source| SourceShown {
                ip: source.ip.map(|ip| ip.to_string()),
                user_agent: source
                    .user_agent
                    .as_ref()
                    .map(|text| harmless(&String::from_utf8_lossy(text.as_bytes()))),
            }),
            target: (self.resource.is_some() || self.method.is_some()).then(|| TargetShown {
                resource: self.resource,
                method: self.method.map(harmless),
            }),
            scope: self.scope.as_deref().map(harmless),
            grant: self.grant,
            token_id: self.token_id,
            note: self.note.map(harmless),
            count: self.count,
            keys: self.keys,
            component: "vestibule",
        };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        text
    }

    fn subject(&self, key: Option<&hmac::Key>) -> Option<SubjectShown<'_>> {
        let mut shown = SubjectShown::default();
        match (self.user, key) {
            (Some(user), None) => shown.sub = Some(harmless(user)),
            (Some(user), Some(key)) => shown.sub_hash = Some(keyed_hash(key, user)),
            (None, _) => {}
        }
        match &self.client {
            None => {}
            Some(Who::Client(client)) => {
                shown.client_name = client.name.as_deref().map(harmless);
                shown.say_id(client.id.as_str());
            }
            Some(Who::Id(id)) => shown.say_id(id),
            Some(Who::Digest(digest)) => shown.client_digest = Some(format!("sha256:{digest}")),
            Some(Who::Selector(selector)) => shown.client_selector = Some(selector),
        }
        (shown != SubjectShown::default()).then_some(shown)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    audit_id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<SubjectShown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<TargetShown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a KeyChange>,
    component: &'static str,
}

#[derive(Default, PartialEq, Eq, Serialize)]
struct SubjectShown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_selector: Option<&'a str>,
}

impl<'a> SubjectShown<'a> {
    /// The id where it is short and not itself a sealed registration, and its digest, which lists and commands take.
    fn say_id(&mut self, id: &'a str) {
        self.client_digest = Some(format!("sha256:{}", fingerprint(id)));
        self.client_kind = ClientId::parse(id).map(|id| match id {
            ClientId::PreRegistered(_) => "preregistered",
            ClientId::Registered(_) => "registered",
            ClientId::MetadataDocument(_) => "metadata_document",
        });
        let sealed = self.client_kind == Some("registered");
        self.client_id =
            (!sealed && self.client_kind.is_some() && id.len() <= LONGEST).then_some(id);
    }
}

#[derive(Serialize)]
struct SourceShown {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

#[derive(Serialize)]
struct TargetShown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
}

/// Longest text of a stranger's, in characters.
const LONGEST: usize = 200;

/// A stranger's text, cut, and without what ends a line, moves the cursor or turns the order of letters round: whatever
/// shows the line, it shows one.
fn harmless(text: &str) -> String {
    let safe = |character: char| {
        if is_unsafe_to_show(character) {
            '\u{fffd}'
        } else {
            character
        }
    };
    text.chars().take(LONGEST).map(safe).collect()
}

/// The same user is the same text as long as the key is the same, and nobody without the key knows who it is.
fn keyed_hash(key: &hmac::Key, subject: &str) -> String {
    let tag = hmac::sign(key, subject.as_bytes());
    let half = tag.as_ref().get(..16).unwrap_or_default();
    BASE64URL.encode(half)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use vestibule_oauth::random::SystemRandom;

    use super::*;

    #[test]
    fn a_clients_name_ends_no_line_and_turns_none_round() {
        let name = "Good\"}\n{\"type\":\"token.issued\"}\u{2028}\u{202e}\u{85}\u{7f}\u{1b}[2J";
        let event = Event::new(Happened::CallDenied).calling(Some(name));
        let line = event.line(None, UnixTime(0), &SystemRandom);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with("}\n"));
        let bad =
            |character: char| character.is_control() || "\u{2028}\u{202e}".contains(character);
        assert!(!line.trim_end().contains(bad), "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["type"], "mcp.call.denied");
        let long = "x".repeat(1000);
        let event = Event::new(Happened::CallDenied).calling(Some(&long));
        assert!(event.line(None, UnixTime(0), &SystemRandom).len() < 500);
    }

    #[test]
    fn a_user_is_a_keyed_hash_where_there_is_a_key() {
        let key = |text: &str| hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let hashed = |text: &str| {
            let event = Event::new(Happened::TokenIssued).user("ada@example.test");
            let line = event.line(Some(&key(text)), UnixTime(0), &SystemRandom);
            assert!(!line.contains("ada@"), "{line}");
            let read: Value = serde_json::from_str(&line).unwrap();
            read["subject"]["sub_hash"].as_str().unwrap().to_owned()
        };
        assert_eq!(hashed("one"), hashed("one"));
        assert_ne!(hashed("one"), hashed("two"));
    }

    #[test]
    fn a_sealed_registration_is_told_by_its_digest() {
        let event = Event::new(Happened::TokenIssued).client_id("vcl_c2VhbGVk");
        let line = event.line(None, UnixTime(0), &SystemRandom);
        assert!(!line.contains("vcl_"), "{line}");
        assert!(line.contains("\"client_digest\":\"sha256:"), "{line}");
    }
}
