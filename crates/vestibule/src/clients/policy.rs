//! Which clients the operator wants: where codes may go, and whom to refuse by name or host (OAuth 2.1 §7.12.2; issue
//! "redirect policies").

use thiserror::Error;
use url::Url;

use vestibule_oauth::client::{Client, ClientId};
use vestibule_oauth::url::{RedirectClass, RedirectUri};

/// Callbacks of hosted clients by name. An entry without path means every path; one that ends in `/` means everything
/// below it; any other means exactly that path. All of facts/clients.md §4, each with where it was read.
pub(crate) const PRESETS: [(&str, &[&str]); 6] = [
    // support.claude.com article 11503834: claude.ai today, claude.com announced.
    (
        "claude",
        &[
            "claude.ai/api/mcp/auth_callback",
            "claude.com/api/mcp/auth_callback",
        ],
    ),
    // ChatGPT connectors: one callback per connector, and the older common one.
    (
        "chatgpt",
        &[
            "chatgpt.com/connector/oauth/",
            "chatgpt.com/connector_platform_oauth_redirect",
        ],
    ),
    // microsoft/vscode, src/vs/base/common/oauth.ts.
    (
        "vscode",
        &["vscode.dev/redirect", "insiders.vscode.dev/redirect"],
    ),
    // Registered together with a private-use and a loopback URI (soflyy #111, different-ai #3059).
    ("cursor", &["www.cursor.com/agents/mcp/oauth/callback"]),
    // Power Platform: one path per tool.
    (
        "copilot-studio",
        &["global.consent.azure-apim.net/redirect/"],
    ),
    // docs.n8n.io.
    ("n8n", &["oauth.n8n.cloud/oauth2/callback"]),
];

/// A host, or with `*.` every host below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    below: bool,
}

impl HostPattern {
    /// Reads `app.example` or `*.example`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, below) = match text.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (text, false),
        };
        let parsed = url::Host::parse(host).ok();
        let normal = parsed.map(|host| host.to_string());
        match normal {
            Some(normal) if !host.contains('*') && !normal.ends_with('.') => Ok(Self {
                host: normal,
                below,
            }),
            _ => Err(format!(
                "'{text}' is not a host; write it as \"app.example\", or as \"*.example\" for every host below it"
            )),
        }
    }

    /// True for a host in its normal form.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if !self.below {
            return host == self.host;
        }
        let rest = host.strip_suffix(self.host.as_str());
        rest.is_some_and(|rest| rest.ends_with('.'))
    }
}

/// A client's name, with `*` for any text; capitals do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// Reads a pattern. One that fits every name would refuse everybody.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.bytes().all(|byte| byte == b'*') {
            return Err(
                "fits every name; use `registration = false` to refuse everybody".to_owned(),
            );
        }
        Ok(Self(text.to_lowercase()))
    }

    /// True when the name fits.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// A place where codes may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectRule {
    host: HostPattern,
    /// Empty for every path.
    path: String,
}

impl RedirectRule {
    /// Reads a preset's name, a host pattern, or a host with a path.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        if let Some((_, rules)) = PRESETS.iter().find(|(name, _)| *name == text) {
            return rules.iter().map(|rule| Self::parse_one(rule)).collect();
        }
        if text.contains("://") {
            return Err(format!(
                "'{text}' has a scheme; write only the host, or the host and a path"
            ));
        }
        if !text.contains('.') {
            let names = PRESETS.map(|(name, _)| name).join("`, `");
            return Err(format!("'{text}' is neither a host nor one of `{names}`"));
        }
        Self::parse_one(text).map(|rule| vec![rule])
    }

    fn parse_one(text: &str) -> Result<Self, String> {
        let split = text.find('/').unwrap_or(text.len());
        let (host, path) = text.split_at(split);
        Ok(Self {
            host: HostPattern::parse(host)?,
            path: if path == "/" {
                String::new()
            } else {
                path.to_owned()
            },
        })
    }

    fn allows(&self, url: &Url) -> bool {
        // A rule has no port, so it means the usual one.
        let host = url.host_str().unwrap_or_default();
        let path = match self.path.as_str() {
            "" => true,
            below if below.ends_with('/') => url.path().starts_with(below),
            exact => url.path() == exact,
        };
        url.port().is_none() && self.host.matches(host) && path
    }
}

/// Why the operator does not want a client here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Its name is on the list.
    #[error("this server does not accept applications that call themselves '{0}'")]
    Name(String),
    /// A host of its metadata document or redirect URIs is on the list.
    #[error("this server does not accept applications at {0}")]
    Host(String),
    /// Codes may not go there.
    #[error("the redirect URI '{0}' is not at a place this server allows (clients.redirect_hosts)")]
    Redirect(String),
}

/// The operator's rules. The default accepts everybody: the user decides on the consent page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPolicy {
    /// Where codes may go over https; empty for everywhere. Loopback and private-use URIs have rules of their own.
    pub redirects: Vec<RedirectRule>,
    /// Names that are refused.
    pub refused_names: Vec<NamePattern>,
    /// Hosts that are refused, of metadata documents and of https redirect URIs.
    pub refused_hosts: Vec<HostPattern>,
}

impl ClientPolicy {
    /// Refuses a client by its name or by the host of its metadata document. The operator's own clients pass.
    pub fn admit(&self, client: &Client) -> Result<(), Refusal> {
        if client.is_trusted() {
            return Ok(());
        }
        let name = client.name.as_deref().unwrap_or_default();
        if self
            .refused_names
            .iter()
            .any(|pattern| pattern.matches(name))
        {
            return Err(Refusal::Name(name.to_owned()));
        }
        if let ClientId::MetadataDocument(url) = &client.id {
            self.admit_host(Url::parse(url).ok().as_ref())?;
        }
        Ok(())
    }

    /// Refuses a host that is on the list.
    pub fn admit_host(&self, url: Option<&Url>) -> Result<(), Refusal> {
        let host = url.and_then(Url::host_str).unwrap_or_default();
        if self
            .refused_hosts
            .iter()
            .any(|pattern| pattern.matches(host))
        {
            return Err(Refusal::Host(host.to_owned()));
        }
        Ok(())
    }

    /// Refuses an https redirect URI that is not at an allowed place. The operator's own clients pass.
    pub fn admit_redirect(&self, client: &Client, uri: &RedirectUri) -> Result<(), Refusal> {
        if client.is_trusted() || uri.class() != RedirectClass::Https {
            return Ok(());
        }
        let refused = || Refusal::Redirect(uri.as_str().to_owned());
        let url = Url::parse(uri.as_str()).map_err(|_| refused())?;
        self.admit_host(Some(&url))?;
        if self.redirects.is_empty() || self.redirects.iter().any(|rule| rule.allows(&url)) {
            Ok(())
        } else {
            Err(refused())
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::client::{ClientAuthMethod, ClientKeys};
    use vestibule_oauth::url::PrivateUseSchemes;

    use super::*;

    fn policy(redirects: &[&str], names: &[&str], hosts: &[&str]) -> ClientPolicy {
        ClientPolicy {
            redirects: redirects
                .iter()
                .flat_map(|text| RedirectRule::parse(text).unwrap())
                .collect(),
            refused_names: names
                .iter()
                .map(|text| NamePattern::parse(text).unwrap())
                .collect(),
            refused_hosts: hosts
                .iter()
                .map(|text| HostPattern::parse(text).unwrap())
                .collect(),
        }
    }

    fn client(id: &str, name: &str) -> Client {
        Client {
            id: ClientId::parse(id).unwrap(),
            name: Some(name.to_owned()),
            redirect_uris: Vec::new(),
            auth_method: ClientAuthMethod::None,
            keys: ClientKeys::None,
            application_type: None,
        }
    }

    fn redirect(policy: &ClientPolicy, uri: &str) -> bool {
        let uri = RedirectUri::parse(uri, &PrivateUseSchemes::default()).unwrap();
        policy.admit_redirect(&client("vcl_x", "x"), &uri).is_ok()
    }

    #[test]
    fn without_rules_every_https_host_and_with_rules_only_those() {
        assert!(redirect(&policy(&[], &[], &[]), "https://any.example/cb"));
        let some = policy(&["claude", "*.apps.example", "app.example/cb"], &[], &[]);
        for good in [
            "https://claude.ai/api/mcp/auth_callback",
            "https://x.apps.example/anything",
            "https://app.example/cb?x=1",
            "http://localhost:1/cb",
            "cursor://anysphere.cursor-mcp/oauth/callback",
        ] {
            assert!(redirect(&some, good), "{good}");
        }
    }

    #[test]
    fn an_allow_list_is_not_fooled_by_look_alikes() {
        let some = policy(
            &["claude", "*.apps.example", "app.example/cb", "chatgpt"],
            &[],
            &[],
        );
        for bad in [
            "https://claude.ai/api/mcp/auth_callback/evil",
            "https://claude.ai/share/evil",
            "https://claude.ai.evil.example/api/mcp/auth_callback",
            "https://evilclaude.ai/api/mcp/auth_callback",
            "https://claude.ai:8443/api/mcp/auth_callback",
            "https://apps.example/x",
            "https://evilapps.example/x",
            "https://app.example/cb2",
            "https://chatgpt.com/connector/oauthevil",
        ] {
            assert!(!redirect(&some, bad), "{bad}");
        }
    }

    #[test]
    fn names_and_hosts_can_be_refused_in_any_spelling() {
        let some = policy(
            &[],
            &["*bad bot*", "Exactly"],
            &["evil.example", "*.evil.example"],
        );
        for (id, name) in [
            ("vcl_x", "The BAD Bot 2"),
            ("vcl_x", "exactly"),
            ("https://evil.example/c.json", "Nice"),
            ("https://deep.evil.example/c.json", "Nice"),
        ] {
            assert!(some.admit(&client(id, name)).is_err(), "{id} {name}");
        }
        for (id, name) in [
            ("vcl_x", "exactly not"),
            ("https://notevil.example/c.json", "Nice"),
            ("desk", "bad bot"),
        ] {
            assert!(some.admit(&client(id, name)).is_ok(), "{id} {name}");
        }
        assert!(!redirect(&some, "https://EVIL.example/cb"));
        assert!(!redirect(&some, "https://evil.example./cb"));
    }

    #[test]
    fn every_preset_reads_and_nonsense_does_not() {
        for (name, _) in PRESETS {
            assert!(!RedirectRule::parse(name).unwrap().is_empty(), "{name}");
        }
        for text in [
            "claud",
            "https://claude.ai",
            "*",
            "a b.example",
            "*.*.example",
            "host.example.:1",
        ] {
            assert!(RedirectRule::parse(text).is_err(), "{text}");
        }
        assert!(NamePattern::parse("**").is_err());
    }
}
