//! What is known of widespread command-line clients, for when their metadata document cannot be fetched: an origin that
//! answers data centres with a robot check (anthropics/claude-ai-mcp#650), or a development computer without network.
//!
//! Only loopback redirect URIs and no keys are in here. A document adds no protection to those: any program on the
//! user's computer can claim any such client (facts/mcp-authorization.md §5 "Localhost impersonation"), and the consent
//! page says so. A document that could be read always wins.

use vestibule_oauth::client::{ApplicationType, Client, ClientAuthMethod, ClientId, ClientKeys};
use vestibule_oauth::url::{PrivateUseSchemes, RedirectUri};

/// URL, name, and path of the loopback redirect URIs (facts/clients.md §3 and §4).
const KNOWN: [(&str, &str, &str); 4] = [
    (
        "https://claude.ai/oauth/claude-code-client-metadata",
        "Claude Code",
        "/callback",
    ),
    (
        "https://chatgpt.com/oauth/codex/client.json",
        "Codex",
        "/callback",
    ),
    (
        "https://github.com/copilot/cli/client-metadata.json",
        "GitHub Copilot CLI",
        "/",
    ),
    (
        "https://zed.dev/oauth/client-metadata.json",
        "Zed",
        "/callback",
    ),
];

/// The client behind a document URL, as far as it is known.
pub(super) fn client(url: &str) -> Option<Client> {
    let (url, name, path) = KNOWN.iter().find(|(known, _, _)| *known == url)?;
    let uri = |host: &str| {
        let text = format!("http://{host}{path}");
        RedirectUri::parse(&text, &PrivateUseSchemes::default()).ok()
    };
    Some(Client {
        id: ClientId::MetadataDocument((*url).to_owned()),
        name: Some((*name).to_owned()),
        redirect_uris: ["localhost", "127.0.0.1"]
            .into_iter()
            .filter_map(uri)
            .collect(),
        auth_method: ClientAuthMethod::None,
        keys: ClientKeys::None,
        application_type: Some(ApplicationType::Native),
    })
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::client::DocumentUrl;
    use vestibule_oauth::url::RedirectClass;

    use super::*;

    #[test]
    fn what_is_known_leads_only_to_the_users_own_computer() {
        for (url, _, _) in KNOWN {
            assert!(DocumentUrl::parse(url, false).is_ok(), "{url}");
            let client = client(url).unwrap();
            assert_eq!(client.redirect_uris.len(), 2, "{url}");
            let loopback = |uri: &RedirectUri| uri.class() == RedirectClass::Loopback;
            assert!(client.redirect_uris.iter().all(loopback), "{url}");
        }
        assert!(client("https://claude.ai/oauth/other").is_none());
    }
}
