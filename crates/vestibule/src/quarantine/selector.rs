//! Which clients an operator means: one by its id or the digest of it, or all of a host or a name.

use serde::{Deserialize, Serialize};
use url::Url;

use vestibule_oauth::client::ClientId;

use crate::clients::policy::{HostPattern, NamePattern};
use crate::grants::{ClientDigest, fingerprint};

/// Longest text that says which client.
const MAX_PATTERN: usize = 300;

/// A client as it presents itself.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// Its id.
    pub id: &'a str,
    /// The name it gives itself, as far as it is known.
    pub name: Option<&'a str>,
}

/// One client or several. As text: `sha256:DIGEST` of a client id, `host:HOST` of a metadata document, or `name:NAME`.
/// Two are the same when their texts are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClientSelector {
    text: String,
    means: Means,
}

#[derive(Clone, Debug)]
enum Means {
    Digest(String),
    Host(HostPattern),
    Name(NamePattern),
}

impl ClientSelector {
    /// Reads one of the three forms, or a client id.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(digest) = text.strip_prefix("sha256:") {
            let digest = ClientDigest::from_text(digest).ok_or_else(|| {
                "a digest is the SHA-256 of the client_id in 43 characters of base64url".to_owned()
            })?;
            return Ok(Self::by_digest(digest.as_str()));
        }
        let (pattern, is_host) = match text.split_once(':') {
            Some(("host", host)) => (host, true),
            Some(("name", name)) => (name, false),
            _ => {
                let id = ClientId::parse(text).ok_or("the client_id is malformed")?;
                return Ok(Self::by_digest(&fingerprint(id.as_str())));
            }
        };
        if pattern.len() > MAX_PATTERN || pattern.chars().any(char::is_control) {
            return Err(format!(
                "a host or name has at most {MAX_PATTERN} characters, none of them a control character"
            ));
        }
        let (kind, means) = if is_host {
            let pattern = pattern.to_ascii_lowercase();
            ("host", Means::Host(HostPattern::parse(&pattern)?))
        } else {
            let all = pattern.trim().is_empty() || pattern.bytes().all(|byte| byte == b'*');
            if all {
                return Err("fits every name".to_owned());
            }
            ("name", Means::Name(NamePattern::parse(pattern)?))
        };
        Ok(Self {
            text: format!("{kind}:{}", pattern.to_lowercase()),
            means,
        })
    }

    fn by_digest(digest: &str) -> Self {
        Self {
            text: format!("sha256:{digest}"),
            means: Means::Digest(digest.to_owned()),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The digest of the one client id that is meant.
    pub fn digest(&self) -> Option<&str> {
        match &self.means {
            Means::Digest(digest) => Some(digest),
            _ => None,
        }
    }

    /// True when a client's name decides.
    pub fn is_by_name(&self) -> bool {
        matches!(self.means, Means::Name(_))
    }

    /// True for a client that is meant.
    pub fn matches(&self, client: &Presented<'_>) -> bool {
        match &self.means {
            Means::Digest(digest) => fingerprint(client.id) == *digest,
            Means::Host(pattern) => {
                let Some(ClientId::MetadataDocument(url)) = ClientId::parse(client.id) else {
                    return false;
                };
                let url = Url::parse(&url).ok();
                let host = url.as_ref().and_then(Url::host_str);
                host.is_some_and(|host| pattern.matches(host))
            }
            Means::Name(pattern) => client.name.is_some_and(|name| pattern.matches(name)),
        }
    }
}

impl PartialEq for ClientSelector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ClientSelector {}

impl std::hash::Hash for ClientSelector {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl From<ClientSelector> for String {
    fn from(selector: ClientSelector) -> Self {
        selector.text
    }
}

impl TryFrom<String> for ClientSelector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, id: &str, name: Option<&str>) -> bool {
        let selector = ClientSelector::parse(selector).unwrap();
        let again = ClientSelector::parse(selector.as_str()).unwrap();
        assert_eq!(selector, again, "its own text means the same");
        selector.matches(&Presented { id, name })
    }

    #[test]
    fn a_client_is_meant_by_id_digest_host_or_name() {
        let document = "https://app.evil.example:8443/client.json";
        let digest = format!("sha256:{}", fingerprint("desk"));
        assert!(matches("desk", "desk", None) && matches(&digest, "desk", None));
        assert!(!matches("desk", "desks", None));
        assert!(matches(document, document, None));
        assert!(matches("host:APP.evil.example", document, None));
        assert!(matches("host:*.evil.example", document, None));
        assert!(!matches("host:evil.example", document, None));
        // The host in the id of another kind of client is nobody's.
        assert!(!matches("host:evil.example", "vcl_evil.example", None));
        assert!(matches("name:Evil*", "vcl_1", Some("evil editor")));
        assert!(!matches("name:Evil*", "vcl_1", None));
    }

    #[test]
    fn what_would_mean_everybody_or_nobody_is_refused() {
        for wrong in [
            "",
            "sha256:abc",
            "sha256:=",
            "host:",
            "host:a b",
            "name:",
            "name: ",
            "name:**",
            "client\nid",
            "name:a\nb",
        ] {
            assert!(ClientSelector::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
