//! `[clients]` and `[[client]]`: what can be set, and what contradicts.

use vestibule_oauth::client::ClientKeys;

use super::*;

const KEY: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const DOCUMENT: &str = r#"{"client_id":"https://app.example/client.json","client_name":"App","redirect_uris":["http://localhost/cb"]}"#;

fn clients(text: &str) -> Result<Settings, SettingsError> {
    with("", "", "", &format!("[clients]\n{text}"))
}

fn client(text: &str) -> Result<Settings, SettingsError> {
    let start = "[[client]]\nclient_id = \"desk\"\nredirect_uris = [\"http://localhost/cb\"]\n";
    with("", "", "", &format!("{start}{text}"))
}

#[test]
fn documents_and_secrets_are_on_and_everybody_may_come_unless_said_otherwise() {
    let settings = with("", "", "", "").unwrap().clients;
    assert!(settings.metadata_documents && settings.confidential && settings.registration);
    assert_eq!(settings.document_max_bytes, 5120);
    assert_eq!(
        settings.policy,
        crate::clients::policy::ClientPolicy::default()
    );
    assert!(settings.initial_access_token.is_none() && settings.egress_proxy.is_none());
}

#[test]
fn everything_about_clients_can_be_set() {
    let directory = TestDirectory::new("clients");
    directory.write("proxy", "http://user:p%40ss@proxy.corp:3128\n");
    directory.write("token", "an initial access token\n");
    directory.write("ca.pem", "a");
    std::fs::create_dir(directory.path("documents")).unwrap();
    directory.write("documents/app.json", DOCUMENT);
    directory.write("documents/README", "not a document");
    directory.write("keys.json", KEY);
    directory.write("robot", "a long enough secret\n");
    let text = format!(
        "public_url = \"https://mcp.example.com\"\n{PROVIDER}{RESOURCE}{RING}{}",
        r#"
        [clients]
        confidential = false
        initial_access_token_file = "token"
        redirect_hosts = ["claude", "*.apps.example", "app.example/cb"]
        refuse_names = ["*bad*"]
        refuse_hosts = ["evil.example"]
        document_hosts = ["claude.ai"]
        document_max_bytes = "64KiB"
        documents_dir = "documents"
        egress_proxy_file = "proxy"
        ca_file = "ca.pem"
        [[client]]
        client_id = "robot"
        redirect_uris = ["http://localhost/cb"]
        secret_file = "robot"
        [[client]]
        client_id = "signer"
        redirect_uris = ["http://localhost/cb"]
        jwks_file = "keys.json"
        [[client]]
        client_id = "remote"
        redirect_uris = ["http://localhost/cb"]
        jwks_uri = "https://keys.example/jwks.json"
        "#
    );
    let path = directory.write("vestibule.toml", &text);
    let settings = Settings::load(Some(&path), &NoEnvironment).unwrap().clients;
    assert_eq!(
        settings.initial_access_token,
        Some(Secret::new("an initial access token"))
    );
    assert_eq!(settings.policy.redirects.len(), 4);
    assert_eq!(settings.document_max_bytes, 65_536);
    assert_eq!(
        settings.pinned[0].id.as_str(),
        "https://app.example/client.json"
    );
    let proxy = format!("{:?}", settings.egress_proxy.unwrap());
    assert!(
        proxy.contains("proxy.corp:3128") && !proxy.contains("p%40ss"),
        "{proxy}"
    );
    let [robot, signer, remote] = settings.preregistered.try_into().unwrap();
    assert!(
        matches!(robot.credential, ClientCredential::Secret(secret) if secret.expose() == "a long enough secret")
    );
    assert!(matches!(
        signer.credential,
        ClientCredential::Keys(ClientKeys::Inline(_))
    ));
    assert!(matches!(
        remote.credential,
        ClientCredential::Keys(ClientKeys::Uri(_))
    ));
}

#[test]
fn the_environment_sets_lists_secrets_and_keys_of_clients() {
    let variables = env([
        ("VESTIBULE__CLIENTS__REDIRECT_HOSTS", "claude, chatgpt"),
        (
            "VESTIBULE__CLIENTS__INITIAL_ACCESS_TOKEN",
            "an initial access token",
        ),
        ("VESTIBULE__CLIENTS__METADATA_DOCUMENTS", "false"),
        ("VESTIBULE__CLIENTS__EGRESS_PROXY", "http://proxy.corp:3128"),
        ("VESTIBULE__CLIENT__0__CLIENT_ID", "desk"),
        ("VESTIBULE__CLIENT__0__REDIRECT_URIS", "http://localhost/cb"),
        ("VESTIBULE__CLIENT__0__JWKS", KEY),
    ]);
    let file = format!("public_url = \"https://m.example\"\n{PROVIDER}{RESOURCE}{RING}");
    let settings = Settings::from_toml(&file, "v.toml", &variables)
        .unwrap()
        .clients;
    assert_eq!(settings.policy.redirects.len(), 4);
    assert!(!settings.metadata_documents && settings.egress_proxy.is_some());
    assert!(matches!(
        settings.preregistered[0].credential,
        ClientCredential::Keys(_)
    ));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    refused(
        clients("registration = false\ninitial_access_token = \"an initial access token\""),
        &["clients.initial_access_token", "`registration` is false"],
    );
    refused(
        clients(
            "metadata_documents = false\ndocument_hosts = [\"a.example\"]\ndocument_max_bytes = \"5KiB\"",
        ),
        &[
            "clients.document_hosts: says what",
            "clients.document_max_bytes: says what",
        ],
    );
    refused(
        client(&format!(
            "secret = \"a long enough secret\"\njwks = '{KEY}'"
        )),
        &["client[0].jwks: a client proves itself in one way"],
    );
    refused(
        client("secret = \"a long enough secret\"\nsecret_file = \"x\""),
        &["both `secret` and `secret_file` are set"],
    );
}

#[test]
fn weak_and_malformed_values_are_refused() {
    refused(
        clients("initial_access_token = \"short\""),
        &["can be guessed"],
    );
    refused(
        client("secret = \"short\""),
        &["client[0].secret", "can be guessed"],
    );
    refused(
        clients("document_max_bytes = \"1MiB\""),
        &["between 1 and 64 KiB"],
    );
    refused(
        clients("redirect_hosts = [\"claud\"]"),
        &["neither a host nor one of `claude`"],
    );
    refused(
        clients("redirect_hosts = [\"https://claude.ai\"]"),
        &["has a scheme"],
    );
    refused(clients("refuse_names = [\"*\"]"), &["fits every name"]);
    refused(clients("refuse_hosts = [\"a b\"]"), &["is not a host"]);
    refused(
        clients("documents_dir = \"/nonexistent\""),
        &["cannot read /nonexistent"],
    );
    refused(
        clients("document_host = [\"a.example\"]"),
        &["did you mean `document_hosts`?"],
    );
    refused(
        client("jwks = \"{}\""),
        &["client[0].jwks: jwks must be a JWK set"],
    );
    refused(client("jwks = \"x\""), &["is not JSON"]);
    refused(
        client(r#"jwks = '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'"#),
        &["private or symmetric"],
    );
    refused(
        client("jwks_uri = \"http://keys.example/\""),
        &["must use https"],
    );
    let id = "[[client]]\nclient_id = \"http://localhost/c\"\nredirect_uris = [\"http://localhost/cb\"]\n";
    refused(with("", "", "", id), &["must not begin with `http://`"]);
}

#[test]
fn a_proxy_is_plain_http_and_its_password_is_not_printed() {
    for wrong in [
        "https://proxy:3128",
        "socks5://proxy:1080",
        "proxy:3128",
        "http://user:hush@proxy:3128/path",
    ] {
        let error = clients(&format!("egress_proxy = \"{wrong}\""))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("clients.egress_proxy: must be `http://host:port`"),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn a_pinned_document_is_held_to_the_rules_and_named_when_it_breaks_them() {
    for (text, says) in [
        ("{", "app.json"),
        ("{}", "client_id"),
        (
            r#"{"client_id":"http://app.example/c","client_name":"A","redirect_uris":["http://localhost/"]}"#,
            "must use https",
        ),
        (
            r#"{"client_id":"https://app.example/c","client_name":"A","redirect_uris":["http://evil.example/"]}"#,
            "none of its redirect_uris",
        ),
    ] {
        let directory = TestDirectory::new("pinned");
        directory.write("app.json", text);
        let path = directory.path("");
        refused(
            clients(&format!("documents_dir = \"{}\"", path.display())),
            &["clients.documents_dir", says],
        );
    }
    let directory = TestDirectory::new("pinned");
    directory.write("a.json", DOCUMENT);
    directory.write("b.json", DOCUMENT);
    let setting = format!("documents_dir = \"{}\"", directory.path("").display());
    refused(
        clients(&setting),
        &["b.json", "another file has the client_id"],
    );
    let empty = TestDirectory::new("pinned");
    let setting = format!("documents_dir = \"{}\"", empty.path("").display());
    refused(clients(&setting), &["holds no *.json file"]);
}

#[test]
fn consent_is_remembered_for_whole_days_or_not_at_all() {
    let read = |consent: &str| with("", "", "", &format!("[consent]\n{consent}\n"));
    let consent = with("", "", "", "").unwrap().consent;
    assert_eq!((consent.remember, consent.from_anywhere.len()), (None, 0));
    let consent = read("remember = \"30d\"").unwrap().consent;
    assert_eq!(consent.remember, Some(Duration::from_secs(30 * 24 * 3600)));
    for span in ["\"0s\"", "\"12h\"", "\"36h\"", "\"91d\"", "3600"] {
        refused(
            read(&format!("remember = {span}")),
            &["consent.remember", "whole days, 1d to 90d"],
        );
    }
}

#[test]
fn clients_whose_consent_counts_from_anywhere_are_clients_that_can_be_named() {
    let client =
        "[[client]]\nclient_id = \"desk\"\nredirect_uris = [\"https://desk.example/cb\"]\n";
    let read = |consent: &str| with("", "", "", &format!("{client}[consent]\n{consent}\n"));
    let ids = "from_anywhere = [\"desk\", \"https://app.example/client.json\"]";
    let consent = read(&format!("remember = \"1d\"\n{ids}")).unwrap().consent;
    assert_eq!(consent.from_anywhere.len(), 2);
    refused(
        read(ids),
        &["consent.from_anywhere", "`remember` is not set"],
    );
    for id in ["desks", "vcl_x", ""] {
        refused(
            read(&format!("remember = \"1d\"\nfrom_anywhere = [\"{id}\"]")),
            &["consent.from_anywhere[0]", "neither the URL"],
        );
    }
}
