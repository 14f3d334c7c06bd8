//! `[resource.identity]` and the credential `sigv4`: what they mean, and what they may not say.

use super::*;
use crate::upstream_identity::IdentityToken;

const CLAIMS: &str = "[tokens.claims]\ngroups = \"g\"\nemail = \"email\"\n";

fn identity(text: &str) -> Result<Settings, SettingsError> {
    with(
        "",
        "",
        "",
        &format!("[resource.identity]\n{text}\n{CLAIMS}"),
    )
}

#[test]
fn nothing_is_told_unless_it_is_written() {
    let settings = with("", "", "", "").unwrap();
    assert_eq!(settings.resources[0].identity.names().count(), 0);
}

#[test]
fn headers_and_a_token_are_read() {
    let text = "headers = { X-User = \"sub\", x-groups = \"groups\" }\ntoken = {}";
    let mut settings = identity(text).unwrap();
    let own = settings.resources.remove(0).identity;
    let mut pairs: Vec<(&str, &str)> = own
        .headers
        .iter()
        .map(|(name, claim)| (name.as_str(), claim.as_str()))
        .collect();
    pairs.sort_unstable();
    assert_eq!(pairs, [("x-groups", "groups"), ("x-user", "sub")]);
    // Every default, for the upstream.
    let token = IdentityToken::new("http://127.0.0.1:9000/mcp");
    assert_eq!(own.token, Some(token));
    let text = "[resource.identity.token]\nheader = \"X-Who\"\naudience = \"a\"\nttl = \"5m\"\nclaims = [\"email\"]";
    let token = identity(text)
        .unwrap()
        .resources
        .remove(0)
        .identity
        .token
        .unwrap();
    assert_eq!(
        (token.header.as_str(), token.audience.as_str()),
        ("x-who", "a")
    );
    assert_eq!(token.lifetime, Duration::from_secs(300));
    assert_eq!(token.claims, ["email"]);
}

/// A variable's name has no dashes, and no server sees the difference.
#[test]
fn a_variable_names_a_header_with_underscores() {
    let variables = env([(
        "VESTIBULE__RESOURCE__0__IDENTITY__HEADERS__X_MY_USER",
        "sub",
    )]);
    let text = format!("public_url = \"https://mcp.example.com\"\n{PROVIDER}\n{RESOURCE}\n{RING}");
    let settings = Settings::from_toml(&text, "vestibule.toml", &variables).unwrap();
    let (name, claim) = &settings.resources[0].identity.headers[0];
    assert_eq!((name.as_str(), claim.as_str()), ("x-my-user", "sub"));
}

#[test]
fn a_header_that_means_something_else_cannot_say_who_calls() {
    for name in [
        "Authorization",
        "host",
        "Cookie",
        "Connection",
        "transfer-encoding",
        "te",
        "upgrade",
        "keep-alive",
        "content-length",
        "Mcp-Session-Id",
        "mcp-name",
        "x-amz-date",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-vestibule-origin",
        "www-authenticate",
        "set-cookie",
        "proxy-authorization",
        "last-event-id",
        "origin",
    ] {
        let says = "means something else to servers";
        refused(identity(&format!("headers.{name} = \"sub\"")), &[says]);
        refused(identity(&format!("token.header = \"{name}\"")), &[says]);
    }
    for (text, says) in [
        ("headers.x_user = \"sub\"", "write 'x-user'"),
        ("headers.\"x user\" = \"sub\"", "is not a header name"),
        ("headers.\"x\\r\\ny\" = \"sub\"", "is not a header name"),
        (
            "headers = { X-User = \"sub\", x-user = \"email\" }",
            "`x-user` is there already",
        ),
        ("headers.x-user = \" \"", "must name a claim"),
        ("headers.x-user = 1", "must be text"),
        (
            "headers.x-user = \"team\"",
            "the claim `team`, but no claim of the provider",
        ),
        (
            "token.claims = [\"team\"]",
            "the claim `team`, but no claim of the provider",
        ),
        ("token.ttl = \"6m\"", "must be between 10s and 5m"),
        ("token.ttl = \"9s\"", "must be between 10s and 5m"),
        (
            "token = {}\nheaders.x-vestibule-identity = \"sub\"",
            "is among `headers` as well",
        ),
        (
            "token.header = \"x-a\"\nheaders.x-a = \"sub\"",
            "is among `headers` as well",
        ),
        ("header.x-a = \"sub\"", "did you mean `headers`"),
    ] {
        refused(identity(text), &[says]);
    }
}

#[test]
fn the_credential_has_its_header_for_itself() {
    let both = |name: &str| {
        with(
            "",
            "",
            "",
            &format!(
                "[resource.credential]\ntype = \"header\"\nname = \"X_Api_Key\"\nvalue = \"k\"\n[resource.identity]\n{name}\n"
            ),
        )
    };
    refused(
        both("headers.x-api-key = \"sub\""),
        &["carries the credential"],
    );
    refused(
        both("token.header = \"x-api-key\""),
        &["carries the credential"],
    );
    both("headers.x-user = \"sub\"").unwrap();
}

#[cfg(feature = "aws")]
fn sigv4(upstream: &str, rest: &str) -> Result<Settings, SettingsError> {
    read(&format!(
        "public_url = \"https://mcp.example.com\"\n{PROVIDER}\n[[resource]]\npath = \"/mcp\"\nupstream = \"{upstream}\"\n\
         [resource.credential]\ntype = \"sigv4\"\n{rest}\n{RING}"
    ))
}

#[cfg(feature = "aws")]
#[test]
fn sigv4_takes_service_and_region_from_the_host_or_the_settings() {
    let read = |upstream: &str, rest: &str| {
        let settings = sigv4(upstream, rest).unwrap();
        match settings.resources[0].credential.clone() {
            CredentialSettings::SigV4 {
                service,
                region,
                unsigned_payload,
            } => (service, region, unsigned_payload),
            other => panic!("{other:?}"),
        }
    };
    let lambda = "https://abc.lambda-url.eu-west-1.on.aws/mcp";
    let region = |name: &str| Some(name.to_owned());
    assert_eq!(
        read(lambda, ""),
        ("lambda".to_owned(), region("eu-west-1"), false)
    );
    let other = read(lambda, "service = \"execute-api\"\nregion = \"us-east-1\"");
    assert_eq!(
        other,
        ("execute-api".to_owned(), region("us-east-1"), false)
    );
    let lattice = read("https://x.y.vpc-lattice-svcs.us-east-2.on.aws/", "");
    assert!(lattice.2, "it takes nothing else");
    let own = read(
        "https://own.example/",
        "service = \"bedrock-agentcore\"\npayload = \"unsigned\"",
    );
    assert_eq!(own, ("bedrock-agentcore".to_owned(), None, true));
    for (upstream, rest, says) in [
        ("https://own.example/", "", "does not say which service"),
        (
            lambda,
            "payload = \"unsigned\"",
            "Lambda takes no unsigned payloads",
        ),
        (lambda, "region = \"EU/west\"", "is no name of AWS"),
        (
            "http://own.example/",
            "service = \"x\"\npayload = \"unsigned\"",
            "anyone on the way could change the body",
        ),
        (
            "https://x.y.vpc-lattice-svcs.us-east-2.on.aws/",
            "payload = \"signed\"",
            "takes no signed payloads",
        ),
        (
            lambda,
            "audience = \"x\"",
            "belongs to the type `vestibule-token`",
        ),
    ] {
        refused(sigv4(upstream, rest), &[says]);
    }
    refused(
        with(
            "",
            "",
            "credential = { type = \"none\", service = \"lambda\" }",
            "",
        ),
        &["belongs to the type `sigv4`"],
    );
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_aws_says_so() {
    let text = "credential = { type = \"sigv4\", service = \"lambda\" }";
    refused(with("", "", text, ""), &["--features aws"]);
}
