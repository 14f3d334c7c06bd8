//! Client id metadata documents: which URLs can be one, and what a fetched one says (facts/mcp-authorization.md §5).

use serde_json::{Map, Value};
use thiserror::Error;

use super::registration::{application_type, clean_name};
use super::{Client, ClientAuthMethod, ClientId, ClientKeys, KeysError};
use crate::url::{PrivateUseSchemes, RedirectUri, is_loopback_host};

/// Why a URL cannot name a metadata document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentUrlError {
    /// Not a URL, or longer than [`DocumentUrl::MAX_LENGTH`].
    #[error("it is not an absolute URL of at most {max} characters", max = DocumentUrl::MAX_LENGTH)]
    NotAUrl,
    /// Plain http to another computer, or any plain http outside development.
    #[error("it must use https")]
    NotHttps,
    /// A different spelling of the same URL: dot segments, capitals in the host, a default port, escapes.
    #[error("it is not in its normal form, which is '{0}'")]
    NotNormal(String),
    /// `user@host`, or a fragment.
    #[error("it must not contain user information or a fragment")]
    Forbidden,
    /// No path, or only `/`.
    #[error("it must have a path")]
    NoPath,
    /// An address instead of a name, or a name that no public server has.
    #[error("'{0}' is not the name of a public host")]
    Host(String),
    /// A port on which no web server for the public runs.
    #[error("the port must be 443 or above 1023, not {0}")]
    Port(u16),
}

/// A URL that can name a metadata document, or the key set of one. It is kept verbatim and is in its normal form, so
/// every parser on the way to the connection reads the same host and path in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DocumentUrl {
    text: String,
    host: String,
    loopback: bool,
}

/// Names that mean something else in every network (RFC 6761, 6762, 8375, and what home routers and clouds use).
const LOCAL_NAMES: [&str; 8] = [
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home.arpa",
    "invalid",
    "onion",
];

impl DocumentUrl {
    /// Longest URL looked at, in bytes.
    pub const MAX_LENGTH: usize = 2048;

    /// Reads a URL. `loopback` also allows plain http to this computer, for development.
    pub fn parse(text: &str, loopback: bool) -> Result<Self, DocumentUrlError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(DocumentUrlError::NotAUrl);
        }
        let url = url::Url::parse(text).map_err(|_| DocumentUrlError::NotAUrl)?;
        let host = url.host_str().ok_or(DocumentUrlError::NotAUrl)?;
        let on_this_computer = url.scheme() == "http" && is_loopback_host(host);
        if url.scheme() != "https" && !(loopback && on_this_computer) {
            return Err(DocumentUrlError::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(DocumentUrlError::Forbidden);
        }
        if matches!(url.path(), "" | "/") {
            return Err(DocumentUrlError::NoPath);
        }
        if url.as_str() != text {
            return Err(DocumentUrlError::NotNormal(url.into()));
        }
        if !on_this_computer {
            let literal = !matches!(url.host(), Some(url::Host::Domain(_)));
            if literal || !is_public_name(host) {
                return Err(DocumentUrlError::Host(host.to_owned()));
            }
            if let Some(port) = url.port().filter(|port| *port < 1024) {
                return Err(DocumentUrlError::Port(port));
            }
        }
        Ok(Self {
            host: host.to_owned(),
            text: text.to_owned(),
            loopback: on_this_computer,
        })
    }

    /// The URL, verbatim.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host without port, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// True when it leads to this computer.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

fn is_public_name(host: &str) -> bool {
    let local = |name: &str| {
        host.strip_suffix(name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    host.contains('.') && !host.ends_with('.') && !LOCAL_NAMES.iter().any(|name| local(name))
}

/// Why a document describes no client we accept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// Not a JSON object.
    #[error("it is not a JSON object")]
    Json,
    /// A member is missing or has the wrong type.
    #[error("the member '{0}' is missing or has the wrong type")]
    Member(&'static str),
    /// It names another client: a copy, or the answer to another URL.
    #[error("its client_id is '{}', not the URL it was read from", .0.escape_debug())]
    OtherClient(String),
    /// A secret that everybody can read is none.
    #[error("it must not contain '{}': everybody can read it", .0.escape_debug())]
    Secret(String),
    /// A method that needs a shared secret, or one we do not know.
    #[error("token_endpoint_auth_method must be none or private_key_jwt, not '{}'", .0.escape_debug())]
    AuthMethod(String),
    /// `private_key_jwt` without keys, or `jwks` and `jwks_uri` together (RFC 7591 §2).
    #[error("private_key_jwt needs exactly one of jwks and jwks_uri")]
    Keys,
    /// The keys themselves.
    #[error(transparent)]
    KeySet(#[from] KeysError),
    /// The code grant is not among its grants.
    #[error("grant_types must contain authorization_code")]
    GrantTypes,
    /// `code` is not among its response types.
    #[error("response_types must contain code")]
    ResponseTypes,
    /// None of the redirect URIs can be used here.
    #[error("none of its redirect_uris can be used here: {0}")]
    RedirectUris(String),
}

/// Reads metadata documents.
#[derive(Clone, Copy, Debug)]
pub struct MetadataDocument;

impl MetadataDocument {
    /// Most redirect URIs kept of one document.
    pub const MAX_REDIRECT_URIS: usize = 64;

    /// The client that the document at `url` describes.
    ///
    /// Redirect URIs that we would not register are left out, since a document is written once for all servers; at least
    /// one must remain. Unknown members are ignored.
    pub fn read(
        url: &str,
        json: &[u8],
        private_use: &PrivateUseSchemes,
    ) -> Result<Client, DocumentError> {
        let members: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| DocumentError::Json)?;
        let client_id = text(&members, "client_id")?.ok_or(DocumentError::Member("client_id"))?;
        if client_id != url {
            return Err(DocumentError::OtherClient(client_id.to_owned()));
        }
        if let Some(secret) = members.keys().find(|key| key.starts_with("client_secret")) {
            return Err(DocumentError::Secret(secret.clone()));
        }
        let offers = |name: &'static str, wanted: &str| {
            texts(&members, name).map(|list| list.is_none_or(|list| list.contains(&wanted)))
        };
        if !offers("grant_types", "authorization_code")? {
            return Err(DocumentError::GrantTypes);
        }
        if !offers("response_types", "code")? {
            return Err(DocumentError::ResponseTypes);
        }
        let keys = keys(&members)?;
        let auth_method = auth_method(&members, &keys)?;
        let name = text(&members, "client_name")?.and_then(clean_name);
        Ok(Client {
            id: ClientId::MetadataDocument(url.to_owned()),
            name: Some(name.ok_or(DocumentError::Member("client_name"))?),
            redirect_uris: redirect_uris(&members, private_use)?,
            auth_method,
            keys,
            application_type: application_type(text(&members, "application_type")?),
        })
    }
}

fn text<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, DocumentError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(DocumentError::Member(name)),
    }
}

fn texts<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<Vec<&'a str>>, DocumentError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.map(Some).ok_or(DocumentError::Member(name))
        }
        Some(_) => Err(DocumentError::Member(name)),
    }
}

fn keys(members: &Map<String, Value>) -> Result<ClientKeys, DocumentError> {
    let inline = members.get("jwks").filter(|jwks| !jwks.is_null());
    match (inline, text(members, "jwks_uri")?) {
        (Some(_), Some(_)) => Err(DocumentError::Keys),
        (Some(jwks), None) => Ok(ClientKeys::from_jwks(jwks)?),
        (None, Some(uri)) => Ok(ClientKeys::Uri(uri.to_owned())),
        (None, None) => Ok(ClientKeys::None),
    }
}

/// A declared method is binding. Without one, a list of methods (OpenID Connect RP Metadata Choices) that does not allow
/// `none` means `private_key_jwt`. The RFC's own default needs a secret, which a document cannot have.
fn auth_method(
    members: &Map<String, Value>,
    keys: &ClientKeys,
) -> Result<ClientAuthMethod, DocumentError> {
    let listed = texts(members, "token_endpoint_auth_methods_supported")?.unwrap_or_default();
    let method = match text(members, "token_endpoint_auth_method")? {
        Some(declared) => match ClientAuthMethod::parse(declared) {
            Some(method) if !method.is_secret() => method,
            _ => return Err(DocumentError::AuthMethod(declared.to_owned())),
        },
        None if listed.contains(&"private_key_jwt") && !listed.contains(&"none") => {
            ClientAuthMethod::PrivateKeyJwt
        }
        None => ClientAuthMethod::None,
    };
    if method == ClientAuthMethod::PrivateKeyJwt && *keys == ClientKeys::None {
        return Err(DocumentError::Keys);
    }
    Ok(method)
}

fn redirect_uris(
    members: &Map<String, Value>,
    private_use: &PrivateUseSchemes,
) -> Result<Vec<RedirectUri>, DocumentError> {
    let list = texts(members, "redirect_uris")?.ok_or(DocumentError::Member("redirect_uris"))?;
    let mut usable: Vec<RedirectUri> = Vec::new();
    let mut reason = "the list is empty".to_owned();
    for uri in list.into_iter().take(MetadataDocument::MAX_REDIRECT_URIS) {
        match RedirectUri::parse(uri, private_use) {
            Ok(uri) if !usable.contains(&uri) => usable.push(uri),
            Ok(_) => {}
            Err(error) => reason = error.to_string(),
        }
    }
    if usable.is_empty() {
        return Err(DocumentError::RedirectUris(reason));
    }
    Ok(usable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const URL: &str = "https://app.example/client.json";

    fn read(change: impl FnOnce(&mut Value)) -> Result<Client, DocumentError> {
        let mut document = json!({
            "client_id": URL,
            "client_name": "App",
            "redirect_uris": ["http://localhost/cb", "https://app.example/cb"],
        });
        change(&mut document);
        MetadataDocument::read(
            URL,
            document.to_string().as_bytes(),
            &PrivateUseSchemes::default(),
        )
    }

    fn public_key() -> Value {
        json!({"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    #[test]
    fn documents_of_real_clients_are_read() {
        let client = read(|_| {}).unwrap();
        assert_eq!(client.name.as_deref(), Some("App"));
        assert_eq!(client.redirect_uris.len(), 2);
        assert_eq!(client.auth_method, ClientAuthMethod::None);
        // A scheme that is not allowed here does not spoil the rest; unknown members are ignored.
        let client = read(|document| {
            document["redirect_uris"] = json!(["claude://cb", "http://127.0.0.1/cb"]);
            document["tos_uri"] = json!("https://app.example/tos");
            document["logo_uri"] = Value::Null;
        });
        assert_eq!(client.unwrap().redirect_uris.len(), 1);
    }

    #[test]
    fn a_document_that_breaks_a_rule_describes_nobody() {
        use DocumentError::{
            AuthMethod, GrantTypes, Keys, Member, OtherClient, ResponseTypes, Secret,
        };
        let cases: [(&str, Value, DocumentError); 14] = [
            (
                "client_id",
                json!("https://app.example/client.json/"),
                OtherClient(format!("{URL}/")),
            ),
            (
                "client_id",
                json!("https://victim.example/x"),
                OtherClient("https://victim.example/x".into()),
            ),
            ("client_id", Value::Null, Member("client_id")),
            ("client_name", json!(7), Member("client_name")),
            ("client_name", json!(" "), Member("client_name")),
            ("client_secret", json!("s"), Secret("client_secret".into())),
            (
                "client_secret_expires_at",
                json!(0),
                Secret("client_secret_expires_at".into()),
            ),
            (
                "token_endpoint_auth_method",
                json!("client_secret_basic"),
                AuthMethod("client_secret_basic".into()),
            ),
            (
                "token_endpoint_auth_method",
                json!("tls_client_auth"),
                AuthMethod("tls_client_auth".into()),
            ),
            ("token_endpoint_auth_method", json!("private_key_jwt"), Keys),
            (
                "redirect_uris",
                json!("https://app.example/cb"),
                Member("redirect_uris"),
            ),
            ("redirect_uris", json!([7]), Member("redirect_uris")),
            ("grant_types", json!(["implicit"]), GrantTypes),
            ("response_types", json!(["token"]), ResponseTypes),
        ];
        for (name, value, error) in cases {
            let result = read(|document| document[name] = value.clone());
            assert_eq!(result.unwrap_err(), error, "{name} = {value}");
        }
        for uris in [json!([]), json!(["http://evil.example/cb"])] {
            let result = read(|document| document["redirect_uris"] = uris);
            assert!(matches!(result, Err(DocumentError::RedirectUris(_))));
        }
        let array = MetadataDocument::read(URL, b"[]", &PrivateUseSchemes::default());
        assert_eq!(array.unwrap_err(), DocumentError::Json);
    }

    #[test]
    fn a_document_writes_no_line_of_its_own_into_a_log() {
        for name in [
            "client_id",
            "token_endpoint_auth_method",
            "client_secret\nforged",
        ] {
            let error = read(|document| document[name] = json!("x\r\n\u{1b}forged"));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("forged") && !error.contains(char::is_control));
        }
    }

    #[test]
    fn keys_are_public_and_in_one_place() {
        let with = |jwks: Value| read(|document| document["jwks"] = json!({ "keys": [jwks] }));
        assert!(matches!(
            with(public_key()).unwrap().keys,
            ClientKeys::Inline(_)
        ));
        let mut private = public_key();
        private["d"] = json!("AA");
        assert_eq!(
            with(private).unwrap_err(),
            DocumentError::KeySet(KeysError::Secret)
        );
        let symmetric = json!({"kty":"oct","k":"c2VjcmV0"});
        assert_eq!(
            with(symmetric).unwrap_err(),
            DocumentError::KeySet(KeysError::Secret)
        );
        let both = read(|document| {
            document["jwks"] = json!({ "keys": [public_key()] });
            document["jwks_uri"] = json!("https://app.example/jwks.json");
        });
        assert_eq!(both.unwrap_err(), DocumentError::Keys);
    }

    #[test]
    fn a_list_of_methods_without_none_means_that_the_client_authenticates() {
        let with = |list: Value| {
            let client = read(|document| {
                document["token_endpoint_auth_methods_supported"] = list;
                document["jwks_uri"] = json!("https://app.example/jwks.json");
            });
            client.unwrap().auth_method
        };
        assert_eq!(
            with(json!(["private_key_jwt"])),
            ClientAuthMethod::PrivateKeyJwt
        );
        assert_eq!(
            with(json!(["none", "private_key_jwt"])),
            ClientAuthMethod::None
        );
    }

    #[test]
    fn a_url_that_two_parsers_could_read_differently_is_refused() {
        assert!(DocumentUrl::parse(URL, false).is_ok());
        assert!(DocumentUrl::parse("https://app.example:8443/a?b=c", false).is_ok());
        for text in [
            "",
            "app.example/x",
            "https://",
            "http://app.example/x",
            "ftp://app.example/x",
            "https://app.example",
            "https://app.example/",
            "https://app.example/a/../b",
            "https://app.example/%2e%2e/b",
            "https://APP.example/x",
            "https://app.example:443/x",
            "https://user@app.example/x",
            "https://:@app.example/x",
            "https://app.example/x#f",
            "https://app.example\\@evil.example/x",
            "https://app.example/a b",
            "https://é.example/x",
            "https://127.0.0.1/x",
            "https://127.1/x",
            "https://0x7f000001/x",
            "https://[::1]/x",
            "https://93.184.216.34/x",
            "https://localhost/x",
            "https://a.localhost/x",
            "https://metadata.google.internal/x",
            "https://printer.local/x",
            "https://intranet/x",
            "https://app.example./x",
            "https://app.example:22/x",
            "http://localhost:1/x",
        ] {
            assert!(DocumentUrl::parse(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn plain_http_to_this_computer_is_for_development() {
        for text in [
            "http://localhost:4711/client.json",
            "http://127.0.0.1:1/x",
            "http://[::1]:1/x",
        ] {
            assert!(
                DocumentUrl::parse(text, true).unwrap().is_loopback(),
                "{text}"
            );
            assert!(DocumentUrl::parse(text, false).is_err(), "{text}");
        }
        for text in [
            "http://192.168.0.1/x",
            "http://app.example/x",
            "https://127.0.0.1/x",
            "http://127.1/x",
        ] {
            assert!(DocumentUrl::parse(text, true).is_err(), "{text}");
        }
        assert!(!DocumentUrl::parse(URL, true).unwrap().is_loopback());
    }
}
