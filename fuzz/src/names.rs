//! Redirect URIs and client metadata (RFC 7591): where a code may go, and what people are shown.

use vestibule_oauth::client::{Client, ClientMetadata, DocumentUrl, MetadataDocument};
use vestibule_oauth::url::{PrivateUseSchemes, RedirectClass, RedirectUri};

use crate::halves;

/// Input: a registered URI, a line end, a presented one.
pub fn redirect_uri(data: &[u8]) {
    let (registered, presented) = halves(data);
    let schemes = PrivateUseSchemes::default();
    let parse = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        let uri = RedirectUri::parse(text, &schemes).ok()?;
        check(&uri, text);
        Some(uri)
    };
    let (registered, presented) = (parse(registered), parse(presented));
    let (Some(registered), Some(presented)) = (registered, presented) else {
        return;
    };
    assert!(registered.matches(&registered) && presented.matches(&presented));
    if !registered.matches(&presented) {
        assert_ne!(registered.as_str(), presented.as_str());
        return;
    }
    assert_eq!(registered.class(), presented.class());
    if registered.class() == RedirectClass::Loopback {
        assert_eq!(without_port(&registered), without_port(&presented));
    } else {
        assert_eq!(registered.as_str(), presented.as_str());
    }
}

/// Input: the body of a registration (RFC 7591), which is read as a metadata document as well. The first line of the latter
/// is its URL, when there is one.
pub fn client_metadata(data: &[u8]) {
    let schemes = PrivateUseSchemes::default();
    let (url, json) = halves(data);
    let url = std::str::from_utf8(url).unwrap_or_default();
    for loopback in [false, true] {
        if let Ok(parsed) = DocumentUrl::parse(url, loopback) {
            assert_eq!(parsed.as_str(), url, "it is compared byte by byte");
            assert!(loopback || !parsed.is_loopback(), "{url}");
            assert!(loopback || url.starts_with("https://"), "{url}");
            if let Ok(client) = MetadataDocument::read(url, json, &schemes) {
                assert_eq!(client.id.as_str(), url);
                assert!(client.redirect_uris.len() <= MetadataDocument::MAX_REDIRECT_URIS);
                check_client(&client.redirect_uris, client.name.as_deref());
            }
        }
    }
    let Ok(metadata) = serde_json::from_slice::<ClientMetadata>(data) else {
        return;
    };
    for secrets in [false, true] {
        let Ok(registration) = metadata.check(&schemes, secrets) else {
            continue;
        };
        assert!(secrets || !registration.auth_method.is_secret());
        assert!(registration.redirect_uris.len() <= Client::MAX_REDIRECT_URIS);
        check_client(&registration.redirect_uris, registration.name.as_deref());
    }
}

/// What holds for every client that was let in.
fn check_client(uris: &[RedirectUri], name: Option<&str>) {
    assert!(!uris.is_empty());
    for uri in uris {
        let again = RedirectUri::parse(uri.as_str(), &PrivateUseSchemes::default());
        assert_eq!(again.as_ref(), Ok(uri));
        check(uri, uri.as_str());
    }
    if let Some(name) = name {
        assert!(name.chars().count() <= Client::MAX_NAME);
        // Nothing that hides or turns around what follows.
        let hides = |c: char| {
            c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!name.contains(hides), "{name:?}");
    }
}

/// What holds for every redirect URI that was let in.
fn check(uri: &RedirectUri, text: &str) {
    assert_eq!(uri.as_str(), text, "it goes out as it came in");
    assert!(text.len() <= RedirectUri::MAX_LENGTH);
    assert!(
        text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)),
        "{text:?}"
    );
    assert!(!text.contains('#') && !text.contains('\\'), "{text}");
    let url = url::Url::parse(text).expect("a browser can read it");
    assert!(
        url.username().is_empty() && url.password().is_none(),
        "{text}"
    );
    assert!(
        !matches!(
            url.scheme(),
            "javascript" | "data" | "file" | "vbscript" | "blob" | "about"
        ),
        "{text}"
    );
    if uri.class() == RedirectClass::Loopback {
        assert_eq!(url.scheme(), "http");
        let host = url.host_str().unwrap_or_default();
        assert!(
            matches!(host, "localhost" | "127.0.0.1" | "[::1]"),
            "{text}"
        );
    } else {
        assert_ne!(url.scheme(), "http", "{text}");
    }
}

/// A loopback URI without its port.
fn without_port(uri: &RedirectUri) -> String {
    let mut url = url::Url::parse(uri.as_str()).expect("checked");
    url.set_port(None).expect("http has ports");
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_documents_get_past_the_first_checks() {
        for seed in [
            &include_bytes!("../seeds/client_metadata/04")[..],
            include_bytes!("../seeds/client_metadata/05"),
        ] {
            let (url, json) = halves(seed);
            let url = std::str::from_utf8(url).unwrap();
            DocumentUrl::parse(url, false).unwrap();
            MetadataDocument::read(url, json, &PrivateUseSchemes::default()).unwrap();
        }
    }
}
