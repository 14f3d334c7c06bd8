//! `[admin]` and `[introspection]`: off unless written, and never with a secret that can be guessed.

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn admin(text: &str) -> Result<Settings, SettingsError> {
    with("", "", "", &format!("[admin]\n{text}"))
}

fn client(text: &str) -> Result<Settings, SettingsError> {
    let secret = format!("secret = \"{TOKEN}\"\n");
    with(
        "",
        "",
        "",
        &format!("[[introspection.client]]\n{secret}{text}"),
    )
}

#[test]
fn there_is_no_interface_for_operators_without_a_token() {
    assert_eq!(with("", "", "", "").unwrap().admin, None);
    assert_eq!(admin("").unwrap().admin, None);
    let settings = admin(&format!("token = \"{TOKEN}\"")).unwrap();
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    let on = settings.admin.unwrap();
    assert_eq!(on.listen, AdminSettings::default_listen());
    assert_eq!(on.token, Secret::new(TOKEN));
    refused(
        admin("listen = [\"127.0.0.1:8081\"]"),
        &["admin.listen", "has no effect without `token`"],
    );
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    for weak in [
        &TOKEN[1..],
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "abababababababababababababababababab",
        "changemechangemechangemechangeme",
    ] {
        refused(
            admin(&format!("token = \"{weak}\"")),
            &["admin.token", "can be guessed"],
        );
    }
    refused(
        admin("token = \"0123456789 abcdef0123456789abcdef\""),
        &["printable ASCII without blanks"],
    );
    refused(admin("token = \"\""), &["the secret is empty"]);
    let directory = TestDirectory::new("admin-token");
    directory.write("token", &format!("{TOKEN}\n"));
    let file = directory.path("token");
    let settings = admin(&format!("token_file = \"{}\"", file.display())).unwrap();
    assert_eq!(settings.admin.unwrap().token, Secret::new(TOKEN));
    let both = format!("token = \"{TOKEN}\"\ntoken_file = \"{}\"", file.display());
    refused(admin(&both), &["keep one"]);
}

#[test]
fn the_interface_for_operators_is_on_this_computer_and_apart_from_the_public_one() {
    let listen = |addresses: &str| admin(&format!("token = \"{TOKEN}\"\nlisten = {addresses}"));
    let on = listen("[\"[::1]:9000\", \"127.0.0.1:0\", \"127.0.0.1:0\"]");
    assert_eq!(on.unwrap().admin.unwrap().listen.len(), 3);
    for open in ["0.0.0.0:8081", "10.0.0.1:8081", "[::]:8081"] {
        refused(
            listen(&format!("[\"{open}\"]")),
            &["admin.listen[0]", "can be reached from other computers"],
        );
    }
    refused(
        listen("[\"127.0.0.1:8080\"]"),
        &["is in `server.listen` as well"],
    );
    refused(
        listen("[\"127.0.0.1:9000\", \"127.0.0.1:9000\"]"),
        &["written twice"],
    );
    refused(listen("[]"), &["must name an address"]);
    refused(listen("[\"localhost:1\"]"), &["is not an address and port"]);
}

#[test]
fn a_resource_server_has_an_id_a_secret_and_resources_that_exist() {
    assert!(
        with("", "", "", "")
            .unwrap()
            .introspection
            .clients
            .is_empty()
    );
    let good = client("client_id = \"tools\"\nresources = [\"/mcp\"]").unwrap();
    let [tools] = good.introspection.clients.as_slice() else {
        panic!("{:?}", good.introspection);
    };
    assert_eq!(
        (tools.client_id.as_str(), tools.resources.len()),
        ("tools", 1)
    );
    for (text, says) in [
        ("resources = [\"/mcp\"]", "client_id: missing"),
        ("client_id = \"t\"", "resources: missing"),
        ("client_id = \"t\"\nresources = []", "must name a resource"),
        (
            "client_id = \"t\"\nresources = [\"/mpc\"]",
            "'/mpc' is not the `path` of a [[resource]]",
        ),
        (
            "client_id = \"a b\"\nresources = [\"/mcp\"]",
            "printable ASCII",
        ),
    ] {
        refused(client(text), &["introspection.client[0]", says]);
    }
    let again = format!(
        "client_id = \"t\"\nresources = [\"/mcp\"]\n[[introspection.client]]\nclient_id = \"t\"\nsecret = \"{TOKEN}\"\nresources = [\"/mcp\"]"
    );
    refused(client(&again), &["the client 't' is written twice"]);
    let bare = "[[introspection.client]]\nclient_id = \"t\"\nresources = [\"/mcp\"]\n";
    refused(with("", "", "", bare), &["secret: missing"]);
    let weak = format!("{bare}secret = \"short\"");
    refused(with("", "", "", &weak), &["can be guessed"]);
}
