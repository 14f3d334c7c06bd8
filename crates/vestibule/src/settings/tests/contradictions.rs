//! What a configuration may not say: each rule with the spellings that break it.

use std::time::Duration;

use super::*;

#[test]
fn public_url_is_an_https_origin_or_on_this_computer() {
    let read = |url: &str| {
        read(&format!(
            "public_url = \"{url}\"\n{PROVIDER}{RESOURCE}{RING}"
        ))
    };
    refused(
        read("http://mcp.example.com"),
        &["public_url", "must use https"],
    );
    refused(
        read("https://mcp.example.com/"),
        &["write 'https://mcp.example.com'"],
    );
    refused(read("https://mcp.example.com/base"), &["without path"]);
    assert!(read("http://localhost:8080").is_ok());
}

#[test]
fn resources_are_apart_from_each_other_and_from_our_endpoints() {
    let two = |first: &str, second: &str| {
        let resource = |path: &str| {
            format!("[[resource]]\npath = \"{path}\"\nupstream = \"http://127.0.0.1:9/\"\n")
        };
        read(&format!(
            "public_url = \"https://m.example\"\n{PROVIDER}{}{}{RING}",
            resource(first),
            resource(second)
        ))
    };
    assert!(two("/mcp", "/mcp2").is_ok());
    assert!(two("/a/b", "/a/c").is_ok());
    refused(
        two("/mcp", "/mcp"),
        &["resource[1].path: resource[0].path has this path already"],
    );
    refused(two("/mcp", "/mcp/deep"), &["lie within each other"]);
    refused(two("/mcp/deep", "/mcp"), &["lie within each other"]);
    for path in [
        "mcp", "/", "/mcp/", "/a//b", "/a/../b", "/a?x", "/a#x", "/a%2fb", "/{id}", "/a;b", "/a b",
        "",
    ] {
        assert!(two(path, "/other").is_err(), "{path}");
    }
    for path in [
        "/authorize",
        "/Token",
        "/register/x",
        "/.well-known/x",
        "/mcp/.well-known",
        "/healthz",
        "/jwks.json",
    ] {
        refused(
            two(path, "/other"),
            &["resource[0].path", "Vestibule itself"],
        );
    }
    refused(
        read(&format!(
            "public_url = \"https://m.example\"\n{PROVIDER}{RING}"
        )),
        &["[[resource]]"],
    );
}

#[test]
fn an_upstream_that_is_ourselves_is_refused() {
    let text = format!(
        "public_url = \"https://m.example\"\n{PROVIDER}{RING}[[resource]]\npath = \"/mcp\"\nupstream = \"https://m.example/mcp\"\n"
    );
    refused(read(&text), &["points back at `public_url`"]);
}

#[test]
fn a_provider_token_cannot_travel_in_a_jwt() {
    let credential = "credential = { type = \"provider-token\" }\n";
    refused(
        with("", "", &format!("{credential}token_format = \"jwt\""), ""),
        &["resource[0].token_format", "sealed"],
    );
    refused(
        with("", "", credential, "[tokens]\nformat = \"jwt\""),
        &["resource[0].credential", "tokens.format"],
    );
    assert!(
        with(
            "",
            "",
            &format!("{credential}token_format = \"sealed\""),
            "[tokens]\nformat = \"jwt\""
        )
        .is_ok()
    );
}

#[test]
fn scopes_are_consistent() {
    refused(
        with(
            "",
            "",
            "scopes = [\"a\"]\ndefault_scopes = [\"a\", \"b\"]",
            "",
        ),
        &["default_scopes: `b` is not among"],
    );
    refused(
        with("", "", "default_scopes = [\"b\"]", ""),
        &["`b` is not among"],
    );
    refused(
        with("", "", "scopes = [\"a b\"]", ""),
        &["resource[0].scopes[0]", "'a b' is not a scope"],
    );
    refused(
        with("", "scopes = [\"email\"]", "", ""),
        &["provider.scopes", "`openid` is missing"],
    );
    refused(with("", "scopes = []", "", ""), &["`openid` is missing"]);
    assert!(with("", "scopes = [\"openid\", \"offline_access\"]", "", "").is_ok());
    refused(
        with(
            "",
            "preset = \"cognito\"\nscopes = [\"openid\", \"offline_access\"]",
            "",
            "",
        ),
        &["no scope `offline_access`"],
    );
    let settings = with("", "", "scopes = [\"a\", \"b\"]\ndefault_scopes = []", "").unwrap();
    assert!(settings.resources[0].default_scopes.is_empty());
    assert_eq!(
        with("", "", "scopes = [\"a\", \"b\"]", "")
            .unwrap()
            .resources[0]
            .default_scopes
            .len(),
        2
    );
}

#[test]
fn the_preset_decides_the_default_claims() {
    let groups = |preset: &str| {
        let settings = with("", preset, "", "").unwrap();
        let claims = settings.tokens.claims.into_iter();
        claims
            .filter(|claim| claim.name == "groups")
            .map(|claim| claim.from)
            .collect::<Vec<_>>()
    };
    assert_eq!(groups("preset = \"cognito\""), ["cognito:groups"]);
    assert_eq!(groups("preset = \"generic\""), ["groups"]);
}

#[test]
fn a_secret_has_one_source_and_shows_nowhere() {
    refused(
        with(
            "",
            "client_secret = \"hush\"\nclient_secret_file = \"f\"",
            "",
            "",
        ),
        &[
            "provider.client_secret_file",
            "both `client_secret` and `client_secret_file`",
        ],
    );
    refused(
        with("", "client_secret_file = \"/nonexistent\"", "", ""),
        &["client_secret_file: cannot read /nonexistent"],
    );
    refused(
        with("", "client_secret = \"\"", "", ""),
        &["the secret is empty"],
    );
    refused(
        with("", "token_endpoint_auth = \"post\"", "", ""),
        &["there is none"],
    );
    let wrong = with("", "client_secret = [\"hush-hush\"]", "", "")
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("must be text, not a list") && !wrong.contains("hush-hush"),
        "{wrong}"
    );
    let settings = with(
        "",
        "client_secret = \"hush-hush\"",
        "credential = { type = \"header\", name = \"x-k\", value = \"psst-psst\" }",
        "",
    );
    let shown = format!("{:?}", settings.unwrap());
    assert!(
        !shown.contains("hush-hush") && !shown.contains("psst-psst"),
        "{shown}"
    );
}

#[test]
fn a_header_credential_cannot_break_the_message() {
    let header = |name: &str| {
        with(
            "",
            "",
            &format!("credential = {{ type = \"header\", name = \"{name}\", value = \"v\" }}"),
            "",
        )
    };
    for name in [
        "Host",
        "content-length",
        "Connection",
        "Transfer-Encoding",
        "TE",
        "Mcp-Session-Id",
        "MCP-Protocol-Version",
        "bad name",
        "",
    ] {
        refused(header(name), &["resource[0].credential.name"]);
    }
    assert!(header("Authorization").is_ok());
    assert!(header("X-Api-Key").is_ok());
    let part = |credential: &str| with("", "", &format!("credential = {{ {credential} }}"), "");
    refused(
        part("type = \"header\", value = \"v\""),
        &["credential.name: missing"],
    );
    refused(
        part("type = \"header\", name = \"x-k\""),
        &["credential.value: missing"],
    );
    refused(
        part("type = \"header\", name = \"x-k\", value = \"a\\nb\""),
        &["cannot carry"],
    );
    refused(
        part("name = \"x-k\", value = \"v\""),
        &["credential.type: missing"],
    );
    refused(
        part("type = \"none\", audience = \"a\""),
        &["belongs to the type `vestibule-token`"],
    );
    refused(
        part("type = \"provider-token\", value = \"v\""),
        &["belongs to the type `header`"],
    );
    refused(
        part("type = \"provider_token\""),
        &["did you mean `provider-token`?"],
    );
}

#[test]
fn lifetimes_are_sane() {
    let tokens = |line: &str| with("", "", "", &format!("[tokens]\n{line}"));
    refused(tokens("access_ttl = \"119s\""), &["at least 2m"]);
    refused(tokens("access_ttl = \"25h\""), &["at most 24h"]);
    refused(
        tokens("access_ttl = \"2h\"\nrefresh_ttl = \"1h\""),
        &["must not be shorter"],
    );
    refused(tokens("access_ttl = \"1 hour\""), &["is not a duration"]);
    refused(tokens("signing_alg = \"HS256\""), &["tokens.signing_alg"]);
    refused(
        tokens("claims = { sub = \"email\" }"),
        &["tokens.claims.sub", "cannot be taken from the provider"],
    );
    assert_eq!(
        tokens("access_ttl = 120").unwrap().tokens.access_ttl,
        Duration::from_secs(120)
    );
    refused(
        tokens("refresh_ttl = \"60d\"\nrefresh_absolute_ttl = \"50d\""),
        &["tokens.refresh_absolute_ttl", "cannot outlive its sign-in"],
    );
    refused(
        tokens("access_ttl = \"2h\"\nrefresh_absolute_ttl = \"1h\""),
        &["tokens.refresh_absolute_ttl", "`access_ttl`"],
    );
    refused(
        tokens("provider_recheck = \"61m\""),
        &["tokens.provider_recheck", "at most 1h"],
    );
    // One of the two alone takes the other along.
    let ends = |line: &str| {
        let tokens = tokens(line).unwrap().tokens;
        let days = |ttl: Duration| ttl.as_secs() / 86400;
        (days(tokens.refresh_ttl), days(tokens.refresh_absolute_ttl))
    };
    assert_eq!(ends(""), (30, 365));
    assert_eq!(ends("refresh_absolute_ttl = \"7d\""), (7, 7));
    assert_eq!(ends("refresh_ttl = \"400d\""), (400, 400));
    let never = tokens("provider_recheck = 0").unwrap().tokens;
    assert_eq!(never.provider_recheck, Duration::ZERO);
}

#[test]
fn a_pre_registered_client_is_complete_and_cannot_be_another_kind() {
    let client = |lines: &str| with("", "", "", &format!("[[client]]\n{lines}"));
    let uris = "redirect_uris = [\"http://localhost/cb\"]";
    assert_eq!(
        client(&format!("client_id = \"a\"\n{uris}"))
            .unwrap()
            .clients
            .preregistered[0]
            .name,
        "a"
    );
    refused(
        client("client_id = \"a\""),
        &["client[0].redirect_uris: missing"],
    );
    refused(
        client("client_id = \"a\"\nredirect_uris = []"),
        &["at least one redirect URI"],
    );
    refused(
        client("client_id = \"a\"\nredirect_uris = [\"http://app.example/cb\"]"),
        &["client[0].redirect_uris[0]"],
    );
    refused(
        client(&format!("client_id = \"https://a.example/c\"\n{uris}")),
        &["must not begin with `https://`"],
    );
    refused(
        client(&format!("client_id = \"vcl_x\"\n{uris}")),
        &["must not begin with `vcl_`"],
    );
    refused(
        client(&format!(
            "client_id = \"a\"\n{uris}\n[[client]]\nclient_id = \"a\"\n{uris}"
        )),
        &["written twice"],
    );
    refused(
        with(
            "",
            "",
            "",
            "[clients]\nprivate_use_schemes = [\"javascript\"]",
        ),
        &["private_use_schemes[0]"],
    );
    refused(
        with("", "", "", "[clients]\nprivate_use_schemes = [\"https\"]"),
        &["private_use_schemes[0]"],
    );
}

#[test]
fn the_server_section_is_checked() {
    let server = |line: &str| with(&format!("[server]\n{line}"), "", "", "");
    let directory = TestDirectory::new("tls");
    let cert = directory.write("cert.pem", "c");
    refused(
        server(&format!("tls = {{ cert = \"{}\" }}", cert.display())),
        &["server.tls.key: missing"],
    );
    refused(
        server("tls = { cert = \"/nonexistent\", key = \"/nonexistent\" }"),
        &["cannot read /nonexistent"],
    );
    refused(
        server("listen = [\"localhost:8080\"]"),
        &["server.listen[0]", "not an address and port"],
    );
    refused(server("listen = []"), &["must name an address"]);
    refused(
        server("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]"),
        &["written twice"],
    );
    refused(server("max_connections = 0"), &["at least 1"]);
    refused(server("idle_timeout = 0"), &["longer than 0"]);
    refused(server("send_timeout = 0"), &["longer than 0"]);
    refused(server("send_timeout = \"25h\""), &["no longer than a day"]);
    refused(
        server("max_header_bytes = 100"),
        &["between 8 and 1024 KiB"],
    );
    refused(
        server("allowed_origins = [\"https://app.example/\"]"),
        &["write 'https://app.example'"],
    );
    refused(
        with("", "", "", "[log]\nfilter = \"vestibule=loud\""),
        &["log.filter"],
    );
}

#[test]
fn the_key_ring_has_one_place_and_it_is_looked_at() {
    let keys = |line: &str| {
        read(&format!(
            "public_url = \"https://m.example\"\n{PROVIDER}{RESOURCE}[keys]\n{line}"
        ))
    };
    refused(keys(""), &["keys.file: missing", "keys generate"]);
    refused(
        keys("file = \"/nonexistent/keys.toml\""),
        &["keys.file: /nonexistent/keys.toml"],
    );
    refused(
        keys("ring = \"b\"\nrotate_after = \"1d\""),
        &["keys.rotate_after", "at least 7d"],
    );
    let never = keys("ring = \"b\"\nrotate_after = 0").unwrap();
    assert!(never.rotate_keys_after.is_zero());
    refused(keys("file = \"a\"\nring = \"b\""), &["set only one"]);
    refused(keys("file = \"a\"\nring_file = \"b\""), &["set only one"]);
    let directory = TestDirectory::new("ring");
    let path = directory.write("keys.toml", "");
    set_mode(&path, 0o644);
    let settings = keys(&format!("ring_file = \"{}\"", path.display())).unwrap();
    assert!(
        settings.warnings[0].contains("can be read by other users"),
        "{:?}",
        settings.warnings
    );
    set_mode(&path, 0o666);
    refused(
        keys(&format!("file = \"{}\"", path.display())),
        &["can be written by other users"],
    );
}

#[test]
fn a_credential_over_plain_http_is_remarked_on() {
    let resource = |upstream: &str| {
        let text = format!(
            "public_url = \"https://m.example\"\n{PROVIDER}{RING}[[resource]]\npath = \"/mcp\"\nupstream = \"{upstream}\"\n\
             credential = {{ type = \"provider-token\" }}\n"
        );
        read(&text).unwrap().warnings.len()
    };
    assert_eq!(resource("http://mcp.internal/mcp"), 1);
    assert_eq!(resource("http://127.0.0.1:9000/mcp"), 0);
    assert_eq!(resource("https://mcp.example/mcp"), 0);
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn limits_are_numbers_over_durations_and_do_not_contradict_each_other() {
    let limits = |text: &str| with("", "", "", &format!("[limits]\n{text}\n"));
    for (text, says) in [
        (
            "token.per_user = \"600\"",
            "limits.token.per_user: '600' is not a limit",
        ),
        (
            "token.per_user = \"600 per minute\"",
            "write a number and a duration",
        ),
        ("token.per_user = \"0/1m\"", "write \"off\" for no limit"),
        ("token.per_user = \"9999999/1m\"", "between 1 and 1000000"),
        ("token.per_user = \"5/0s\"", "between 1s and 24h"),
        ("token.per_user = \"5/2d\"", "between 1s and 24h"),
        ("token.per_user = 5", "must be text, not a number"),
        ("token.per_usr = \"5/1m\"", "did you mean `per_user`?"),
        (
            "register.per_user = \"5/1m\"",
            "limits.register.per_user: unknown key",
        ),
        ("tokens.per_user = \"5/1m\"", "did you mean `token`?"),
        ("enable = true", "did you mean `enabled`?"),
        (
            "register = { per_address = \"100/1m\", total = \"5000/1h\" }",
            "limits.register.total: is less than `per_address`",
        ),
    ] {
        refused(limits(text), &[says]);
    }
    assert!(limits("register = { per_address = \"100/1m\", total = \"6000/1h\" }").is_ok());
    let off = limits("enabled = false").unwrap();
    assert!(
        off.warnings[0].contains("limits.enabled"),
        "{:?}",
        off.warnings
    );
}

#[test]
fn a_front_is_described_completely_or_not_at_all() {
    let server = |text: &str| with("", "", "", &format!("[server]\n{text}\n"));
    for (text, says) in [
        (
            "trusted_proxies = [\"0.0.0.0/0\"]",
            "server.trusted_proxies[0]: '0.0.0.0/0' is everybody",
        ),
        ("trusted_proxies = [\"::/0\"]", "is everybody"),
        ("trusted_proxies = [\"10.1.2.3/8\"]", "write '10.0.0.0/8'"),
        (
            "trusted_proxies = [\"proxy.internal\"]",
            "neither a network",
        ),
        ("trusted_proxies = \"10.0.0.0/8\"", "must be a list"),
        (
            "trusted_proxys = [\"10.0.0.0/8\"]",
            "did you mean `trusted_proxies`?",
        ),
        (
            "forwarded_header = \"forwarded\"",
            "no effect without `trusted_proxies`",
        ),
        ("origin_secret = \"short\"", "at least 16 characters"),
        ("origin_secret = \"0123456789 abcdef\"", "without blanks"),
        (
            "origin_secret_previous = \"0123456789abcdef\"",
            "server.origin_secret_previous: needs `origin_secret`",
        ),
        (
            "origin_secret = \"0123456789abcdef\"\norigin_secret_previous = \"0123456789abcdef\"",
            "is the same as `origin_secret`",
        ),
        (
            "origin_secret = \"0123456789abcdef\"\norigin_secret_file = \"x\"",
            "both `origin_secret` and `origin_secret_file` are set",
        ),
    ] {
        refused(server(text), &[says]);
    }
    let error = server("origin_secret = \"hush-hush\"").unwrap_err();
    assert!(!error.to_string().contains("hush-hush"), "{error}");
}

#[test]
fn streams_that_never_end_have_no_grace_and_hearts_do_not_race() {
    refused(
        with("", "", "end_streams = false\nanswer_grace = \"1m\"", ""),
        &["resource[0].answer_grace", "has no effect"],
    );
    for heartbeat in ["0s", "900ms"] {
        refused(
            with("", "", &format!("heartbeat = \"{heartbeat}\""), ""),
            &["resource[0].heartbeat", "at least 1s"],
        );
    }
    let read = with("", "", "heartbeat = \"25s\"\nanswer_grace = \"0s\"", "").unwrap();
    let streams = read.resources[0].streams;
    assert!(streams.end_with_token && streams.answer_grace.is_zero());
    assert_eq!(streams.heartbeat.unwrap().as_secs(), 25);
}

#[test]
fn handles_are_bound_only_where_sessions_are() {
    refused(
        with("", "", "bind_sessions = false\nbind_handles = true", ""),
        &["resource[0].bind_handles", "needs `bind_sessions`"],
    );
}
