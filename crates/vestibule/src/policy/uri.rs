//! Resource URIs that mean one thing only: a rule about `file:///secret/*` must not be evaded by spelling (RFC 3986 §6).

use percent_encoding::percent_decode_str;
use url::Url;

/// True when no reader of URIs would take `uri` for another one: no dot segments, no encoded letters, slashes or
/// controls, no backslashes, scheme and host in lower case. What fails this is refused where rules look at URIs.
pub(super) fn is_plain(uri: &str) -> bool {
    if uri.contains('\\') || uri.chars().any(char::is_control) || encodes_needlessly(uri) {
        return false;
    }
    let dots = |segment: &str| matches!(segment, "." | "..");
    if uri.split(['/', ':', '?', '#']).any(dots) {
        return false;
    }
    let Ok(url) = Url::parse(uri) else {
        return false;
    };
    // Blanks and letters beyond ASCII become escapes, which mean the same.
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let (read, written) = (decoded(url.as_str()), decoded(uri));
    read == written || read.strip_suffix(b"/") == Some(&written)
}

/// Escapes of characters that need none, or that some servers decode before they look at the path.
fn encodes_needlessly(uri: &str) -> bool {
    let bytes = uri.as_bytes();
    bytes.windows(3).any(|window| match window {
        [b'%', high, low] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => {
                let byte = high * 16 + low;
                byte.is_ascii_alphanumeric() || byte < b' ' || b"-._~/\\%\x7f".contains(&byte)
            }
            _ => true,
        },
        _ => false,
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attacker spells a protected URI so that our pattern does not fit it, but the server finds it.
    #[test]
    fn a_uri_in_disguise_is_not_plain() {
        for uri in [
            "file:///secret/plan",
            "file:///public/a%20b",
            "file:///public/a b",
            "note://Inbox/1?q=1#x",
            "note://grün",
            "https://h.example",
            "https://h.example/a?path=../b",
            "urn:isbn:1",
            "str:////x",
        ] {
            assert!(is_plain(uri), "{uri}");
        }
        for uri in [
            "file:///public/../secret/plan",
            "file:///public/%2e%2e/secret/plan",
            "file:///public/..%2fsecret/plan",
            "file:///public%2F..%2Fsecret/plan",
            "file:///public/.%2E/secret/plan",
            "file:///public/%252e%252e/secret",
            "file:///./secret/plan",
            "file:///%73ecret/plan",
            "file:\\\\\\secret\\plan",
            "file:///public\\..\\secret",
            "FILE:///secret/plan",
            "file://localhost/secret/plan",
            "file:/secret/plan",
            "https://H.example/",
            "https://h.example:443/",
            " file:///secret/plan",
            "file:///sec\tret/plan",
            "file:///secret%00/plan",
            "file:///a/%zz",
            "urn:x:../y",
            "secret/plan",
            "",
        ] {
            assert!(!is_plain(uri), "{uri}");
        }
    }
}
