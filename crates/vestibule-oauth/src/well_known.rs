//! Well-known paths (RFC 8615): where RFC 8414, RFC 9728 and OpenID Connect Discovery documents stand.

/// RFC 8414 metadata of an issuer without a path.
pub const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
/// OpenID Connect Discovery of an issuer without a path.
pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";
/// RFC 9728 metadata: of the origin as it stands, of a resource with the resource's path behind it.
pub const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";

/// The path under which the metadata of the resource at `resource_path` is served: the well-known part inserted before
/// the path (RFC 9728 §3.1).
pub fn protected_resource_path(resource_path: &str) -> String {
    format!(
        "{PROTECTED_RESOURCE}{}",
        if resource_path == "/" {
            ""
        } else {
            resource_path
        }
    )
}

/// True when `path` is at or below a well-known prefix, at the root or below a resource. Nothing of the kind ever
/// reaches an upstream (law 2).
pub fn is_well_known(path: &str) -> bool {
    // Most paths have no dot, and are asked for often.
    path.as_bytes().contains(&b'.')
        && path
            .split('/')
            .any(|segment| segment.eq_ignore_ascii_case(".well-known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_part_is_inserted_before_the_path() {
        assert_eq!(
            protected_resource_path("/a/mcp"),
            "/.well-known/oauth-protected-resource/a/mcp"
        );
        assert_eq!(
            protected_resource_path("/"),
            "/.well-known/oauth-protected-resource"
        );
    }

    #[test]
    fn well_known_below_a_resource_is_ours_too() {
        assert!(is_well_known("/mcp/.well-known/oauth-protected-resource"));
        assert!(is_well_known("/.well-known/x"));
        assert!(!is_well_known("/mcp/well-known"));
    }
}
