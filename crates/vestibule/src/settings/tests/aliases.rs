//! The variables of FastMCP's Cognito provider, read as ours.

use super::*;

const POOL: (&str, &str) = (
    "FASTMCP_SERVER_AUTH_AWS_COGNITO_USER_POOL_ID",
    "us-east-1_Abc123",
);
const BASE: (&str, &str) = (
    "FASTMCP_SERVER_AUTH_AWS_COGNITO_BASE_URL",
    "https://mcp.example.com/",
);
const CLIENT: (&str, &str) = ("FASTMCP_SERVER_AUTH_AWS_COGNITO_CLIENT_ID", "theirs");
const SECRET: (&str, &str) = ("FASTMCP_SERVER_AUTH_AWS_COGNITO_CLIENT_SECRET", "hush");
const PATH: (&str, &str) = ("FASTMCP_SERVER_AUTH_AWS_COGNITO_REDIRECT_PATH", "/callback");

fn load(more: &[(&str, &str)], file: &str) -> Result<Settings, SettingsError> {
    let mut variables = env([POOL, BASE, CLIENT, SECRET, PATH]);
    for (name, value) in more {
        variables.insert((*name).to_owned(), (*value).to_owned());
    }
    Settings::from_toml(
        &format!("{file}{RESOURCE}{RING}"),
        "vestibule.toml",
        &variables,
    )
}

fn name(alias: &str) -> String {
    format!("FASTMCP_SERVER_AUTH_AWS_COGNITO_{alias}")
}

fn with_alias(alias: &str, value: &str) -> Result<Settings, SettingsError> {
    load(&[(&name(alias), value)], "")
}

#[test]
fn a_deployment_of_fastmcp_moves_with_its_variables() {
    let settings = load(
        &[
            (&name("AWS_REGION"), "us-east-1"),
            (&name("ISSUER_URL"), "https://mcp.example.com"),
            (&name("REQUIRED_SCOPES"), "[\"openid\", \"email\"]"),
            (
                &name("ALLOWED_CLIENT_REDIRECT_URIS"),
                "http://localhost:*,https://claude.ai/api/mcp/auth_callback,https://*.apps.example/*",
            ),
        ],
        "",
    )
    .unwrap();
    assert_eq!(settings.public_url.as_str(), "https://mcp.example.com");
    let provider = &settings.provider;
    assert_eq!(
        provider.issuer.as_str(),
        "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Abc123"
    );
    assert_eq!(provider.preset.name, "cognito");
    assert_eq!(provider.client_id, "theirs");
    assert_eq!(provider.client_secret.as_ref().unwrap().expose(), "hush");
    assert_eq!(provider.scopes.to_string(), "openid email");
    assert_eq!(settings.clients.policy.redirects.len(), 2);
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    let [note] = settings.notes.try_into().unwrap();
    for (alias, key) in [
        ("USER_POOL_ID", "provider.issuer"),
        ("BASE_URL", "public_url"),
        ("CLIENT_SECRET", "provider.client_secret"),
        ("ALLOWED_CLIENT_REDIRECT_URIS", "clients.redirect_hosts"),
    ] {
        assert!(
            note.contains(&format!("{key} from {}", name(alias))),
            "{note}"
        );
    }
    assert!(!note.contains("hush"), "{note}");
}

#[test]
fn they_beat_the_file_and_lose_against_our_variables() {
    let file = "[provider]\nissuer = \"https://id.example\"\nclient_id = \"file\"\nclient_secret_file = \"/nonexistent\"\n";
    let settings = load(&[], file).unwrap();
    assert_eq!(settings.provider.client_id, "theirs");
    assert_eq!(settings.provider.preset.name, "cognito");
    assert_eq!(settings.provider.client_secret.unwrap().expose(), "hush");

    let directory = TestDirectory::new("alias-secret");
    let secret = directory.write("secret", "ours-in-a-file");
    let settings = load(
        &[
            ("VESTIBULE__PROVIDER__CLIENT_ID", "ours"),
            ("VESTIBULE__PROVIDER__ISSUER", "https://ours.example"),
            (
                "VESTIBULE__PROVIDER__CLIENT_SECRET_FILE",
                secret.to_str().unwrap(),
            ),
        ],
        file,
    )
    .unwrap();
    assert_eq!(settings.provider.client_id, "ours");
    assert_eq!(settings.provider.issuer.as_str(), "https://ours.example");
    assert_eq!(
        settings.provider.client_secret.unwrap().expose(),
        "ours-in-a-file"
    );
    let [note] = settings.notes.try_into().unwrap();
    assert!(
        note.contains("public_url") && !note.contains("provider."),
        "{note}"
    );
}

#[test]
fn they_are_of_the_first_of_several_providers() {
    let file = "[[provider]]\nid = \"staff\"\n[[provider]]\nid = \"guests\"\nissuer = \"https://g.example\"\nclient_id = \"g\"\nclient_secret = \"s\"\n";
    let settings = load(&[], file).unwrap();
    assert_eq!(
        (
            settings.provider.id.as_str(),
            settings.provider.client_id.as_str()
        ),
        ("staff", "theirs")
    );
    let settings = load(&[("VESTIBULE__PROVIDER__0__LABEL", "Staff")], "").unwrap();
    assert_eq!(
        (
            settings.provider.label.as_str(),
            settings.provider.client_id.as_str()
        ),
        ("Staff", "theirs")
    );
}

#[test]
fn what_cannot_be_honoured_is_an_error() {
    for (alias, value, says) in [
        (
            "REDIRECT_PATH",
            "/auth/callback",
            "the provider sends browsers back to /callback",
        ),
        (
            "ISSUER_URL",
            "https://other.example",
            "differs from the public URL",
        ),
        ("AWS_REGION", "eu-central-1", "is in us-east-1"),
        ("USER_POOL_ID", "Abc123", "is not the id of a user pool"),
        (
            "BASE_URL",
            "https://mcp.example.com/base",
            "must be an origin",
        ),
        (
            "REQUIRED_SCOPES",
            "openid offline_access",
            "no scope `offline_access`",
        ),
        ("REQUIRED_SCOPES", "email", "`openid` is missing"),
        (
            "ALLOWED_CLIENT_REDIRECT_URIS",
            "cursor://*",
            "has no counterpart",
        ),
        ("ALLOWED_CLIENT_REDIRECT_URIS", "[]", "allows no https host"),
        (
            "ALLOWED_CLIENT_REDIRECT_URIS",
            "http://localhost:*",
            "allows no https host",
        ),
    ] {
        refused(
            with_alias(alias, value),
            &[&format!("{}: ", name(alias)), says],
        );
    }
}

/// A pattern of theirs must not become a wider one of ours.
#[test]
fn a_redirect_pattern_is_never_widened() {
    for (pattern, rule) in [
        ("https://app.example/*", Some("app.example")),
        ("https://app.example/cb", Some("app.example/cb")),
        ("https://app.example/cb/*", Some("app.example/cb/")),
        ("https://*.app.example/*", Some("*.app.example")),
        ("https://app.example", None),
        ("https://app.example/", None),
        ("https://app.example/cb/", None),
        ("https://app.example/cb*", None),
        ("https://app.example/*/cb", None),
        ("https://app*.example/cb", None),
        ("https://*/cb", None),
        ("https://app.example:8443/cb", None),
        ("https://user@app.example/cb", None),
        ("*", None),
    ] {
        let loaded = with_alias("ALLOWED_CLIENT_REDIRECT_URIS", pattern);
        let Some(rule) = rule else {
            assert!(
                loaded.is_err(),
                "{pattern}: {:?}",
                loaded.map(|settings| settings.clients.policy)
            );
            continue;
        };
        let ours = [("VESTIBULE__CLIENTS__REDIRECT_HOSTS", rule)];
        let expected = load(&ours, "").unwrap().clients.policy;
        assert_eq!(loaded.unwrap().clients.policy, expected, "{pattern}");
    }
}

#[test]
fn unknown_and_unused_ones_are_remarked_on() {
    let settings = load(
        &[
            (&name("TIMEOUT_SECONDS"), "3"),
            (&name("CLIENT_IDD"), "x"),
            (&name("JWT_SIGNING_KEY"), "hush-hush"),
            (
                &name("ALLOWED_CLIENT_REDIRECT_URIS"),
                "https://app.example/*",
            ),
            (&name("AWS_REGION"), ""),
        ],
        "",
    )
    .unwrap();
    let warnings = settings.warnings.join("\n");
    for says in [
        "TIMEOUT_SECONDS: unknown, not used",
        "did you mean `FASTMCP_SERVER_AUTH_AWS_COGNITO_CLIENT_ID`?",
        "JWT_SIGNING_KEY: is not used",
        "lets every client on the user's own computer in",
    ] {
        assert!(warnings.contains(says), "{warnings}");
    }
    assert!(!warnings.contains("hush"), "{warnings}");
    assert_eq!(settings.warnings.len(), 4, "{warnings}");

    let variables = env([POOL, BASE, CLIENT]);
    let settings = Settings::from_toml(&format!("{RESOURCE}{RING}"), "v.toml", &variables).unwrap();
    assert!(
        settings
            .notes
            .iter()
            .any(|note| note.contains("/auth/callback"))
    );

    let none = with("", "", "", "").unwrap();
    assert!(none.notes.is_empty() && none.warnings.is_empty());
}
