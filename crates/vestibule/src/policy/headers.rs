//! `Mcp-Method`, `Mcp-Name` and `MCP-Protocol-Version` against the body (MCP 2026-07-28, SEP-2243; facts/mcp-authorization.md §2.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, header};
use thiserror::Error;

use super::message::Incoming;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The first revision with these headers.
const MODERN: &str = "2026-07-28";
/// The last revision before batches were removed.
const BATCHES: &str = "2025-03-26";

/// What headers and body disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(super) struct Mismatch(&'static str);

/// Why a body of this kind is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum WrongKind {
    /// Not JSON, by its own account.
    #[error("a message is sent as application/json in UTF-8")]
    Type,
    /// Compressed.
    #[error("compressed messages are not taken here")]
    Encoding,
}

/// True when the request is of a revision that has these headers.
pub(super) fn is_modern(headers: &HeaderMap) -> bool {
    matches!(single(headers, &PROTOCOL_VERSION), Ok(Some(version)) if version >= MODERN)
}

/// True when a batch may come with these headers: sessions of 2025-03-26 send no revision.
pub(super) fn allows_batches(headers: &HeaderMap) -> bool {
    matches!(single(headers, &PROTOCOL_VERSION), Ok(None | Some(BATCHES)))
}

/// Looks at what the body says it is.
pub(super) fn kind_of_body(headers: &HeaderMap) -> Result<(), WrongKind> {
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|value| value != "identity") {
        return Err(WrongKind::Encoding);
    }
    let content_type = single(headers, &header::CONTENT_TYPE).ok().flatten();
    let content_type = content_type.ok_or(WrongKind::Type)?;
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_json = essence.eq_ignore_ascii_case("application/json");
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if is_json && is_utf8 {
        Ok(())
    } else {
        Err(WrongKind::Type)
    }
}

/// Compares. The headers are not trusted for anything; but a server behind us may route by them.
pub(super) fn verify(headers: &HeaderMap, body: &Incoming) -> Result<(), Mismatch> {
    let version = single(headers, &PROTOCOL_VERSION)?;
    let method = single(headers, &METHOD)?;
    let name = single(headers, &NAME)?;
    let Incoming::One(message) = body else {
        return match (method, name) {
            (None, None) => Ok(()),
            _ => Err(Mismatch("a batch has no Mcp-Method")),
        };
    };
    let Some(call) = &message.call else {
        return match method {
            None => Ok(()),
            Some(_) => Err(Mismatch("an answer has no Mcp-Method")),
        };
    };
    let modern = |version: &str| version >= MODERN;
    let stated = call.revision.as_deref();
    if let (Some(version), Some(stated)) = (version, stated)
        && version != stated
    {
        return Err(Mismatch("MCP-Protocol-Version is not what the body says"));
    }
    let is_modern = version.or(stated).is_some_and(modern);
    match method {
        Some(method) if method != call.method => {
            return Err(Mismatch("Mcp-Method is not the method of the body"));
        }
        None if is_modern => return Err(Mismatch("Mcp-Method is missing")),
        _ => {}
    }
    match (&call.header_name, name) {
        (Some(expected), Some(name)) if decoded(name).as_deref() != Some(expected) => {
            Err(Mismatch("Mcp-Name is not the name in the body"))
        }
        (Some(_), None) if is_modern => Err(Mismatch("Mcp-Name is missing")),
        _ => Ok(()),
    }
}

/// The only value of a header; two make a mismatch, as do characters that are not ASCII.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Mismatch> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(Mismatch("a header of the protocol is not ASCII")),
        },
        _ => Err(Mismatch("a header of the protocol stands twice")),
    }
}

/// `=?base64?…?=` for values that a header cannot carry.
fn decoded(value: &str) -> Option<String> {
    let encoded = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match encoded {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::message::read;
    use super::*;

    const CALL: &str = r#"{"id":1,"method":"tools/call","params":{"name":"écho"}}"#;
    const PING: &str = r#"{"id":1,"method":"ping"}"#;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        map
    }

    fn agree(headers: &[(&'static str, &str)], body: &str) -> bool {
        verify(&map(headers), &read(body.as_bytes()).unwrap()).is_ok()
    }

    /// The attacker says one thing in the headers, where others look, and another in the body.
    #[test]
    fn headers_and_body_must_agree() {
        let modern = ("mcp-protocol-version", MODERN);
        let method = ("mcp-method", "tools/call");
        let name = ("mcp-name", "=?base64?w6ljaG8=?=");
        assert!(agree(&[modern, method, name], CALL));
        assert!(agree(&[], CALL));
        assert!(agree(&[("mcp-protocol-version", "2025-06-18")], CALL));
        for wrong in [
            &[modern, name][..],
            &[modern, method],
            &[modern, method, ("mcp-name", "echo")],
            &[modern, method, ("mcp-name", "=?base64?!!?=")],
            &[modern, ("mcp-method", "ping"), name],
            &[modern, ("mcp-method", "Tools/call"), name],
            &[modern, method, method, name],
            &[modern, method, name, name],
            // An old revision need not have them, but they may not lie.
            &[("mcp-method", "ping")],
            &[("mcp-name", "ping")],
        ] {
            assert!(!agree(wrong, CALL), "{wrong:?}");
        }
        assert!(agree(&[modern, ("mcp-method", "ping")], PING));
        let batch = format!("[{PING}]");
        assert!(agree(&[], &batch));
        assert!(!agree(&[("mcp-method", "ping")], &batch));
        let stated = r#"{"id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        assert!(!agree(&[], stated), "modern without headers");
        assert!(!agree(&[("mcp-protocol-version", "2025-03-26")], stated));
    }

    #[test]
    fn only_plain_json_in_utf8_is_looked_at() {
        let kind = |headers: &[(&'static str, &str)]| kind_of_body(&map(headers));
        for good in ["application/json", "Application/JSON; charset=\"UTF-8\""] {
            assert_eq!(kind(&[("content-type", good)]), Ok(()), "{good}");
        }
        for bad in [
            "text/plain",
            "application/json; charset=utf-16",
            "application/jsonx",
            "",
        ] {
            assert_eq!(
                kind(&[("content-type", bad)]),
                Err(WrongKind::Type),
                "{bad}"
            );
        }
        let json = ("content-type", "application/json");
        assert_eq!(kind(&[]), Err(WrongKind::Type));
        assert_eq!(kind(&[json, json]), Err(WrongKind::Type));
        assert_eq!(
            kind(&[json, ("content-encoding", "gzip")]),
            Err(WrongKind::Encoding)
        );
    }
}
