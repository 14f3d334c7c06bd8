//! How a configuration is read: defaults, file, environment, and every problem with its place.

mod admin;
mod aliases;
mod authz;
mod clients;
mod contradictions;
mod identity;
mod keys;
mod providers;
mod rules;
mod secrets;
mod store;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::Secret;

use super::*;
use crate::test_directory::TestDirectory;

const RING: &str = "[keys]\nring = \"x\"\n";
const PROVIDER: &str = "[provider]\nissuer = \"https://id.example\"\nclient_id = \"c\"\n";
const RESOURCE: &str = "[[resource]]\npath = \"/mcp\"\nupstream = \"http://127.0.0.1:9000/mcp\"\n";

fn env<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
}

fn read(text: &str) -> Result<Settings, SettingsError> {
    Settings::from_toml(text, "vestibule.toml", &NoEnvironment)
}

/// A good configuration with a few changes: each of `parts` replaces or follows what is there.
fn with(top: &str, provider: &str, resource: &str, rest: &str) -> Result<Settings, SettingsError> {
    read(&format!(
        "public_url = \"https://mcp.example.com\"\n{top}\n{PROVIDER}{provider}\n{RESOURCE}{resource}\n{RING}{rest}"
    ))
}

#[track_caller]
fn refused(result: Result<Settings, SettingsError>, says: &[&str]) {
    let error = result
        .map(|settings| panic!("must be refused: {settings:?}"))
        .unwrap_err()
        .to_string();
    for part in says {
        assert!(error.contains(part), "'{part}' is not in:\n{error}");
    }
}

#[test]
fn the_smallest_configuration_gets_the_defaults() {
    let settings = with("", "", "", "").unwrap();
    assert_eq!(settings.public_url.as_str(), "https://mcp.example.com");
    assert_eq!(settings.server, ServerSettings::default());
    assert_eq!(settings.server.listen[0].to_string(), "127.0.0.1:8080");
    assert_eq!(settings.provider.preset.name, "generic");
    assert_eq!(settings.provider.scopes.to_string(), "openid");
    assert_eq!(
        settings.resources[0].uri.as_str(),
        "https://mcp.example.com/mcp"
    );
    assert_eq!(settings.resources[0].token_format, TokenFormat::Sealed);
    assert!(matches!(
        settings.resources[0].credential,
        CredentialSettings::None
    ));
    assert_eq!(settings.tokens.access_ttl, Duration::from_secs(3600));
    assert!(settings.clients.registration);
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

#[test]
fn everything_can_be_set() {
    let directory = TestDirectory::new("all");
    directory.write("secret", "s3cret\n");
    directory.write("cert.pem", "c");
    directory.write("key.pem", "k");
    directory.write("ca.pem", "a");
    directory.write("header", "Bearer x");
    directory.write("origin", "0123456789abcdef\n");
    let ring = crate::keys::KeyRing::generate(
        &[],
        vestibule_oauth::time::UnixTime(1),
        &vestibule_oauth::random::SystemRandom,
    );
    crate::keys::write(
        &directory.path("keys.toml"),
        &ring.unwrap().to_toml(),
        false,
    )
    .unwrap();
    let text = r#"
        public_url = "https://mcp.example.com"
        [server]
        listen = ["0.0.0.0:8080", "[::]:8080"]
        tls = { cert = "cert.pem", key = "key.pem" }
        max_connections = 500
        header_timeout = "5s"
        handshake_timeout = 7
        idle_timeout = "2m"
        send_timeout = "30s"
        drain_timeout = "0s"
        max_header_bytes = "16KiB"
        max_body_bytes = "1MiB"
        allowed_origins = ["https://app.example", "http://intranet"]
        trusted_proxies = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]
        forwarded_header = "forwarded"
        origin_secret_file = "origin"
        origin_secret_previous = "the-one-from-last-month"
        [provider]
        issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Abc"
        client_id = "c"
        client_secret_file = "secret"
        scopes = ["openid", "email", "openid"]
        resource = "https://mcp.example.com/mcp"
        timeout = "3s"
        ca_file = "ca.pem"
        token_endpoint_auth = "basic"
        [[resource]]
        path = "/mcp"
        name = "Things"
        upstream = "https://up.example/mcp?x=%3A"
        scopes = "mcp:read mcp:write"
        default_scopes = ["mcp:read"]
        credential = { type = "provider-token" }
        timeout = "1m"
        documentation = "https://docs.example/"
        [[resource]]
        path = "/team/other"
        upstream = "https://other.example/"
        token_format = "jwt"
        ca_file = "ca.pem"
        [resource.credential]
        type = "header"
        name = "X-Api-Key"
        value_file = "header"
        [[resource]]
        path = "/third"
        upstream = "https://third.example/mcp"
        credential.type = "vestibule-token"
        [tokens]
        signing_alg = "RS256"
        access_ttl = "10m"
        refresh_ttl = "7d"
        claims = { groups = "roles" }
        [keys]
        file = "keys.toml"
        [clients]
        registration = false
        private_use_schemes = ["myapp"]
        [[client]]
        client_id = "desk"
        name = "Desk"
        redirect_uris = ["myapp://cb", "http://localhost/cb"]
        [limits.token]
        per_address = "100/1m"
        per_client = "off"
        total = "20000/1h"
        [limits.mcp]
        per_user = "50/1s"
        [log]
        format = "text"
        filter = "warn,vestibule=debug"
    "#;
    let path = directory.write("vestibule.toml", text);
    let settings = Settings::load(Some(&path), &NoEnvironment).unwrap();
    assert_eq!(settings.server.tls.unwrap().key, directory.path("key.pem"));
    assert_eq!(settings.server.handshake_timeout, Duration::from_secs(7));
    assert_eq!(settings.server.send_timeout, Duration::from_secs(30));
    assert_eq!(settings.server.drain_timeout, Duration::ZERO);
    assert_eq!(settings.server.max_header_bytes, 16_384);
    let proxies: Vec<String> = settings
        .server
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
    assert_eq!(settings.server.forwarded_header, ForwardedHeader::Forwarded);
    assert_eq!(
        settings.server.origin_secrets,
        [
            Secret::new("0123456789abcdef"),
            Secret::new("the-one-from-last-month")
        ]
    );
    assert_eq!(settings.provider.preset.name, "cognito");
    assert_eq!(settings.provider.client_secret.unwrap().expose(), "s3cret");
    assert_eq!(settings.provider.scopes.to_string(), "openid email");
    assert_eq!(
        settings.provider.token_endpoint_auth,
        Some(profile::TokenEndpointAuth::Basic)
    );
    let [first, second, third] = settings.resources.try_into().unwrap();
    assert_eq!(first.upstream.as_str(), "https://up.example/mcp?x=%3A");
    assert_eq!(
        (first.scopes.len(), first.default_scopes.to_string()),
        (2, "mcp:read".to_owned())
    );
    assert!(matches!(
        first.credential,
        CredentialSettings::ProviderToken
    ));
    assert_eq!(second.token_format, TokenFormat::Jwt);
    assert!(
        matches!(second.credential, CredentialSettings::Header { name, value }
        if name == "x-api-key" && value == Secret::new("Bearer x"))
    );
    assert!(
        matches!(third.credential, CredentialSettings::VestibuleToken { audience } if audience == "https://third.example/mcp")
    );
    assert_eq!(settings.tokens.signing_alg, SigningAlg::Rs256);
    assert_eq!(
        settings.tokens.claims,
        [ClaimMapping {
            name: "groups".to_owned(),
            from: "roles".to_owned()
        }]
    );
    assert!(
        matches!(settings.keys, KeysSettings::File(file) if file == directory.path("keys.toml"))
    );
    let rate = |text: &str| Rate::parse(text).ok();
    assert_eq!(
        settings.limits.token,
        EndpointLimits {
            per_address: rate("100/1m"),
            per_client: None,
            total: rate("20000/1h"),
            ..LimitSettings::default().token
        }
    );
    assert_eq!(settings.limits.mcp.per_user, rate("50/1s"));
    assert_eq!(settings.limits.register, LimitSettings::default().register);
    assert!(!settings.clients.registration);
    assert_eq!(settings.clients.preregistered[0].redirect_uris.len(), 2);
    assert_eq!(
        (settings.log.format, settings.log.filter.as_str()),
        (LogFormat::Text, "warn,vestibule=debug")
    );
}

#[test]
fn the_environment_alone_is_enough_and_beats_the_file() {
    let variables = env([
        ("VESTIBULE__PUBLIC_URL", "https://env.example"),
        ("VESTIBULE__SERVER__LISTEN", "0.0.0.0:80, [::]:80"),
        ("VESTIBULE__SERVER__MAX_CONNECTIONS", "7"),
        ("VESTIBULE__PROVIDER__ISSUER", "https://id.example"),
        ("VESTIBULE__PROVIDER__CLIENT_ID", "from-env"),
        ("VESTIBULE__PROVIDER__CLIENT_SECRET", "hush"),
        ("VESTIBULE__PROVIDER__SCOPES", "openid email"),
        ("VESTIBULE__RESOURCE__0__PATH", "/mcp"),
        ("VESTIBULE__RESOURCE__0__UPSTREAM", "http://127.0.0.1:1/mcp"),
        ("VESTIBULE__RESOURCE__0__SCOPES", "a,b"),
        (
            "VESTIBULE__RESOURCE__0__CREDENTIAL__TYPE",
            "vestibule-token",
        ),
        ("VESTIBULE__RESOURCE__1__PATH", "/two"),
        ("VESTIBULE__RESOURCE__1__UPSTREAM", "http://127.0.0.1:2/mcp"),
        ("VESTIBULE__CLIENTS__REGISTRATION", "false"),
        ("VESTIBULE__TOKENS__CLAIMS__DEPARTMENT", "custom:department"),
        ("VESTIBULE__KEYS__RING", "ring text"),
        ("VESTIBULE__LIMITS__TOKEN__PER_USER", "9/1m"),
        ("VESTIBULE__LIMITS__REGISTER__TOTAL", "off"),
        ("VESTIBULE__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        (
            "VESTIBULE__SERVER__ORIGIN_SECRET",
            "0123456789abcdef0123456789abcdef",
        ),
        ("VESTIBULE__TOKENS__FORMAT", ""),
        ("VESTIBULE_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ]);
    let settings = Settings::load(None, &variables).unwrap();
    assert_eq!(settings.server.listen.len(), 2);
    assert_eq!(settings.server.max_connections, 7);
    assert_eq!(settings.provider.scopes.len(), 2);
    assert_eq!(settings.resources.len(), 2);
    assert_eq!(settings.resources[0].scopes.to_string(), "a b");
    assert_eq!(settings.tokens.claims[0].from, "custom:department");
    assert_eq!(
        settings.limits.token.per_user,
        Some(Rate::parse("9/1m").unwrap())
    );
    assert_eq!(settings.limits.register.total, None);
    assert_eq!(settings.server.trusted_proxies.len(), 2);
    assert_eq!(settings.server.origin_secrets.len(), 1);
    assert!(matches!(settings.keys, KeysSettings::Inline(ring) if ring.expose() == "ring text"));

    let file = format!(
        "public_url = \"https://file.example\"\n{PROVIDER}client_secret_file = \"/nonexistent\"\n{RESOURCE}{RING}"
    );
    let settings = Settings::from_toml(&file, "vestibule.toml", &variables).unwrap();
    assert_eq!(settings.public_url.as_str(), "https://env.example");
    assert_eq!(settings.provider.client_id, "from-env");
    assert_eq!(settings.provider.client_secret.unwrap().expose(), "hush");
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let text = "public_url = \"https://mcp.example.com/\"\n\
                [provider]\n\
                isuer = \"https://id.example\"\n\
                client_id = 7\n\
                preset = \"congito\"\n\
                [[resource]]\n\
                path = \"/token\"\n\
                \x20 upstream = \"ftp://up\"\n\
                [tokens]\n\
                access_ttl = \"30s\"\n\
                [keys]\n\
                ring = \"x\"\n\
                [logs]\n";
    let error = read(text).unwrap_err();
    let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    for expected in [
        "vestibule.toml:1:1: public_url: 'https://mcp.example.com/' must be an origin",
        "vestibule.toml:2:2: provider.issuer: missing",
        "vestibule.toml:3:1: provider.isuer: unknown key; did you mean `issuer`?",
        "vestibule.toml:4:1: provider.client_id: must be text, not a number",
        "vestibule.toml:5:1: provider.preset: 'congito' is not known here; did you mean `cognito`?",
        "vestibule.toml:7:1: resource[0].path: `/token` is an endpoint of Vestibule itself",
        "vestibule.toml:8:3: resource[0].upstream: 'ftp://up' is not an absolute URL",
        "vestibule.toml:10:1: tokens.access_ttl: must be at least 2m",
        "vestibule.toml:13:2: logs: unknown key; did you mean `log`?",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "no '{expected}' in\n{error}"
        );
    }
    assert_eq!(lines.len(), 9, "{error}");
}

#[test]
fn a_wrong_variable_is_named_with_the_right_one() {
    let mut variables = env([
        ("VESTIBULE__PROVIDER__ISUER", "https://id.example"),
        ("VESTIBULE__PROVIDR__CLIENT_ID", "c"),
        ("VESTIBULE__SERVER__MAX_CONNECTIONS", "many"),
        ("VESTIBULE__RESOURCE__3__PATH", "/x"),
        ("VESTIBULE__SERVER", "x"),
    ]);
    variables.insert(
        "VESTIBULE__CLIENTS__REGISTRATION".to_owned(),
        "perhaps".to_owned(),
    );
    let file = format!(
        "public_url = \"https://mcp.example.com\"\n{PROVIDER}{RESOURCE}{RING}[server]\nmax_connections = 5\n"
    );
    refused(
        Settings::from_toml(&file, "vestibule.toml", &variables),
        &[
            "VESTIBULE__PROVIDER__ISUER: provider.isuer: unknown setting; did you mean `VESTIBULE__PROVIDER__ISSUER`?",
            "did you mean `VESTIBULE__PROVIDER__CLIENT_ID`?",
            "VESTIBULE__SERVER__MAX_CONNECTIONS: server.max_connections: 'many' is not a whole number",
            "VESTIBULE__RESOURCE__3__PATH: resource.3.path: there is no element 1 of `resource` before this one",
            "VESTIBULE__SERVER: server: `server` is a section",
            "'perhaps' is neither true nor false",
        ],
    );
}

#[test]
fn what_is_not_toml_is_refused_with_every_line_and_without_its_text() {
    let error = read("public_url = \"https://a\nx = 1\n[provider]\nclient_secret = 'hush-hush\n")
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("vestibule.toml:1:") && text.contains("vestibule.toml:4:"),
        "{text}"
    );
    assert!(!text.contains("hush-hush"), "{text}");
    refused(read("a = 1\na = 2\n"), &["vestibule.toml:2:1", "duplicate"]);
}

#[test]
fn a_missing_file_is_one_problem() {
    let error =
        Settings::load(Some(&PathBuf::from("/nonexistent/v.toml")), &NoEnvironment).unwrap_err();
    assert_eq!(error.problems().len(), 1);
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/v.toml: cannot read"),
        "{error}"
    );
}

#[test]
fn nothing_at_all_says_what_is_needed() {
    refused(
        Settings::load(None, &NoEnvironment),
        &[
            "VESTIBULE__PUBLIC_URL",
            "VESTIBULE__PROVIDER__ISSUER",
            "VESTIBULE__PROVIDER__CLIENT_ID",
            "[[resource]]",
            "keys generate",
        ],
    );
}
