//! `[authz]`: who may ask, and what the section may not say.

use super::*;

#[test]
fn nobody_asks_the_authorizer_unless_he_is_trusted_and_its_path_is_free() {
    let authz = |text: &str| with("", "", "", &format!("[authz]\n{text}\n"));
    for (text, says) in [
        (
            "path = \"/verify\"",
            "authz.path: has no effect without `trusted_proxies`",
        ),
        (
            "request_from = \"path\"",
            "authz.request_from: has no effect without `trusted_proxies`",
        ),
        (
            "trusted_proxies = []\npath = \"/verify\"",
            "has no effect without `trusted_proxies`",
        ),
        ("trusted_proxies = [\"0.0.0.0/0\"]", "is everybody"),
        (
            "trusted_proxies = [\"10.0.0.1\"]\npath = \"/mcp\"",
            "authz.path: '/mcp' is taken by a resource",
        ),
        (
            "trusted_proxies = [\"10.0.0.1\"]\npath = \"/mcp/authz\"",
            "'/mcp' is taken by a resource",
        ),
        (
            "trusted_proxies = [\"10.0.0.1\"]\npath = \"/Token\"",
            "`/Token` is another endpoint of Vestibule",
        ),
        (
            "trusted_proxies = [\"10.0.0.1\"]\npath = \"/{x}\"",
            "may hold only letters",
        ),
        (
            "trusted_proxies = [\"10.0.0.1\"]\nrequest_from = \"nginx\"",
            "authz.request_from",
        ),
    ] {
        refused(authz(text), &[says]);
    }
    assert_eq!(authz("").unwrap().authz, None);
    assert_eq!(authz("trusted_proxies = []").unwrap().authz, None);
    let settings = authz("trusted_proxies = [\"10.0.0.1\", \"2001:db8::/64\"]").unwrap();
    let settings = settings.authz.unwrap();
    assert_eq!(
        (settings.path.as_str(), settings.request_from),
        ("/authz", RequestFrom::XForwarded)
    );
    assert_eq!(settings.trusted_proxies.len(), 2);
    let rules = "[[resource.rule]]\ntools = [\"x\"]\neffect = \"deny\"\n[authz]\ntrusted_proxies = [\"10.0.0.1\"]\n";
    let warnings = with("", "", "", rules).unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("authz.trusted_proxies: the rules of /mcp")),
        "{warnings:?}"
    );
    let elsewhere = "trusted_proxies = [\"10.0.0.1\"]\npath = \"/verify\"\nrequest_from = \"path\"";
    let elsewhere = authz(elsewhere).unwrap().authz.unwrap();
    assert_eq!(
        (elsewhere.path.as_str(), elsewhere.request_from),
        ("/verify", RequestFrom::Path)
    );
}
