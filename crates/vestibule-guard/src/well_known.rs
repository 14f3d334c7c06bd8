//! The RFC 9728 document, rendered once and served as bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use vestibule_oauth::metadata::ProtectedResourceMetadata;
use vestibule_oauth::well_known;

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
    render(document)
}

fn render(document: &impl Serialize) -> Result<Rendered, serde_json::Error> {
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

/// The documents of one resource by path: the well-known part inserted before the resource's path, with and without a
/// slash behind it, and the one of the origin (RFC 9728 §3.1). Without a web framework:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use vestibule_guard::ProtectedResource;
///
/// let door = ProtectedResource::builder()
///     .resource("https://notes.example/mcp")
///     .authorization_server("https://login.example")
///     .build()?;
/// let document = door.documents().get("/.well-known/oauth-protected-resource/mcp");
/// assert!(document.is_some(), "answer 200 with its headers and body");
/// assert!(door.documents().get("/.well-known/openid-configuration").is_none(), "answer 404");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Documents(Vec<(String, Rendered)>);

impl Documents {
    /// Renders `document` for the resource at `path`.
    pub(crate) fn render(
        document: &impl Serialize,
        slashed: &impl Serialize,
        path: &str,
    ) -> Result<Self, serde_json::Error> {
        let root = render(document)?;
        let mut all = vec![(well_known::PROTECTED_RESOURCE.to_owned(), root.clone())];
        let own = well_known::protected_resource_path(path);
        if own != well_known::PROTECTED_RESOURCE {
            // Who was given the URL with a slash needs a document that has it (RFC 9728 §3.3).
            if !own.ends_with('/') {
                all.push((format!("{own}/"), render(slashed)?));
            }
            all.push((own, root));
        }
        Ok(Self(all))
    }

    /// The document at `path`.
    pub fn get(&self, path: &str) -> Option<&Rendered> {
        let mut all = self.0.iter();
        all.find_map(|(own, rendered)| (own == path).then_some(rendered))
    }

    /// Every path that has a document; the origin's is the first.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(path, _)| path.as_str())
    }
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
