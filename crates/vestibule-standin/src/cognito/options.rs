//! What a stand-in pool is made of and which of Cognito's variants it plays (facts/cognito §4.3).

use std::net::{Ipv4Addr, SocketAddr};

/// Everything about a pool. Start from [`CognitoOptions::default`] and change fields.
#[derive(Clone)]
pub struct CognitoOptions {
    /// The pool id, which is the issuer's path.
    pub pool_id: String,
    /// Where the issuer host listens. Loopback only; port 0 picks a free one.
    pub issuer_address: SocketAddr,
    /// Where the domain host listens. Loopback only; port 0 picks a free one.
    pub domain_address: SocketAddr,
    /// Who can sign in.
    pub users: Vec<User>,
    /// The app clients. The first is the one [`super::Cognito::client_id`] names.
    pub clients: Vec<AppClient>,
    /// The resource servers; a URL identifier makes that URL a registered `resource` (§2.6).
    pub resource_servers: Vec<ResourceServer>,
    /// Refresh token rotation: `None` is off, `Some(n)` lets a replaced token live `n` seconds more (0 to 60 in Cognito).
    pub rotation: Option<u64>,
    /// For load: the refreshes of one sign-in within so many seconds give the same access and ID token, because signing is
    /// nearly all that a refresh takes here. `None`, as in Cognito: each gives its own.
    pub same_tokens: Option<u64>,
    /// Token, code and session lifetimes.
    pub lifetimes: Lifetimes,
    /// How a scope that is not allowed is reported.
    pub scope_error: ScopeErrorForm,
    /// Which form of the issuer the pool uses.
    pub issuer_form: IssuerForm,
    /// Which sign-in pages the domain has; decides over `prompt` and `resource`.
    pub managed_login_version: ManagedLoginVersion,
    /// What becomes of a `resource` that is no resource server's identifier.
    pub unregistered_resource: UnregisteredResource,
    /// A pool without a domain has no endpoints but discovery and JWKS.
    pub pool_has_domain: bool,
    /// Whether app clients may read `email_verified`. If not, a code with the `email` scope cannot be exchanged (§2.4).
    pub email_verified_readable: bool,
    /// Whether `/oauth2/revoke` works (`EnableTokenRevocation`).
    pub revocation_enabled: bool,
}

/// A user of the pool.
#[derive(Clone)]
pub struct User {
    /// The name typed into the form; also the `username` and `cognito:username` claims.
    pub username: String,
    /// The password typed into the form.
    pub password: String,
    /// The e-mail address, always verified.
    pub email: String,
    /// Groups, for the `cognito:groups` claim.
    pub groups: Vec<String>,
}

/// An app client. The default is a public client that can do nothing.
#[derive(Clone, Default)]
pub struct AppClient {
    /// The client id.
    pub client_id: String,
    /// The secret of a confidential client; `None` makes the client public.
    pub client_secret: Option<String>,
    /// Callback URLs, compared as strings (§2.7).
    pub callback_urls: Vec<String>,
    /// Allowed sign-out URLs, compared as strings.
    pub logout_urls: Vec<String>,
    /// Allowed scopes, OIDC and `identifier/name`.
    pub scopes: Vec<String>,
    /// `true` plays an app client whose code grant is not enabled.
    pub code_grant_disabled: bool,
}

/// A resource server: an identifier and its scope names.
#[derive(Clone)]
pub struct ResourceServer {
    /// The identifier; any string, or a URL.
    pub identifier: String,
    /// Scope names; `read` of `mcp` is the scope `mcp/read`.
    pub scopes: Vec<String>,
}

/// Lifetimes, all in seconds.
#[derive(Clone, Copy)]
pub struct Lifetimes {
    /// Of an access token.
    pub access: u64,
    /// Of an ID token.
    pub id: u64,
    /// Of a refresh token, counted from the sign-in, rotation or not.
    pub refresh: u64,
    /// Of an authorization code.
    pub code: u64,
    /// Of the browser session.
    pub session: u64,
}

/// How an authorize request with a scope that is not allowed fails (§2.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ScopeErrorForm {
    /// As recorded: `?error_description=invalid_scope&state=…&error=invalid_request`.
    Observed,
    /// As AWS documents: `?error=invalid_scope&state=…`.
    Documented,
}

/// Which issuer the pool names (`IssuerConfiguration`, §2.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IssuerForm {
    /// The host of the issuer listener.
    Original,
    /// Another host name (`localhost`) for the same listener, so that an issuer built from the
    /// address by hand is wrong.
    Updated,
}

/// The version of the domain's sign-in pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ManagedLoginVersion {
    /// The classic pages: `prompt` is ignored, `resource` fails.
    Classic,
    /// Managed login.
    Managed,
}

/// What happens to a `resource` that is not registered: sources disagree (§2.6), so both are offered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum UnregisteredResource {
    /// It becomes the `aud`, as the newer AWS text says.
    Accept,
    /// The code cannot be exchanged, as older reports say.
    InvalidGrant,
}

/// The default client's id, in the shape of Cognito's.
const CLIENT_ID: &str = "3n4b5urk1ft4fl3mg5e62d9ado";

/// The default client's secret, in the shape of Cognito's. It protects nothing.
const CLIENT_SECRET: &str = "1standin0secret0guards0nothing0a7k2m9q4v8x3c6t1p5rz";

impl Default for CognitoOptions {
    /// Users `ada` / `lovelace` (groups `admins`, `staff`) and `bob` / `builder` (`staff`), one
    /// confidential client without callback URLs, a resource server `mcp`, rotation off.
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            pool_id: "us-east-1_EXAMPLE1".to_owned(),
            issuer_address: loopback,
            domain_address: loopback,
            users: vec![
                user("ada", "lovelace", &["admins", "staff"]),
                user("bob", "builder", &["staff"]),
            ],
            clients: vec![AppClient {
                client_id: CLIENT_ID.to_owned(),
                client_secret: Some(CLIENT_SECRET.to_owned()),
                scopes: strings(&["openid", "email", "profile", "mcp/read", "mcp/write"]),
                ..AppClient::default()
            }],
            resource_servers: vec![ResourceServer {
                identifier: "mcp".to_owned(),
                scopes: strings(&["read", "write"]),
            }],
            rotation: None,
            same_tokens: None,
            lifetimes: Lifetimes::default(),
            scope_error: ScopeErrorForm::Observed,
            issuer_form: IssuerForm::Original,
            managed_login_version: ManagedLoginVersion::Managed,
            unregistered_resource: UnregisteredResource::Accept,
            pool_has_domain: true,
            email_verified_readable: true,
            revocation_enabled: true,
        }
    }
}

impl Default for Lifetimes {
    /// Cognito's defaults: one hour, one hour, thirty days, five minutes, one hour.
    fn default() -> Self {
        Self {
            access: 3600,
            id: 3600,
            refresh: 30 * 24 * 3600,
            code: 300,
            session: 3600,
        }
    }
}

fn user(name: &str, password: &str, groups: &[&str]) -> User {
    User {
        username: name.to_owned(),
        password: password.to_owned(),
        email: format!("{name}@example.com"),
        groups: strings(groups),
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
