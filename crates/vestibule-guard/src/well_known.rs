//! The RFC 9728 document, rendered once and served as bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use vestibule_oauth::metadata::ProtectedResourceMetadata;

/// A document that is ready to be sent with status 200.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Content type, caching and CORS: a browser-based client reads it from anywhere, without credentials.
    pub headers: HeaderMap,
    /// The JSON.
    pub body: Bytes,
}

/// Renders the metadata of a protected resource.
pub fn protected_resource(
    document: &ProtectedResourceMetadata,
) -> Result<Rendered, serde_json::Error> {
    let body = Bytes::from(serde_json::to_vec(document)?);
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        // Long enough to spare us a flood, short enough for a changed scope to arrive.
        (header::CACHE_CONTROL, "public, max-age=300"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .into_iter()
    .collect();
    Ok(Rendered { headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_no_empty_members() {
        let document = ProtectedResourceMetadata {
            resource: "https://h/mcp".into(),
            authorization_servers: vec!["https://h".into()],
            scopes_supported: Vec::new(),
            bearer_methods_supported: vec!["header".into()],
            resource_name: None,
            resource_documentation: None,
        };
        let rendered = protected_resource(&document).unwrap();
        assert_eq!(
            rendered.body,
            r#"{"resource":"https://h/mcp","authorization_servers":["https://h"],"bearer_methods_supported":["header"]}"#
        );
        assert_eq!(rendered.headers[header::CONTENT_TYPE], "application/json");
    }
}
