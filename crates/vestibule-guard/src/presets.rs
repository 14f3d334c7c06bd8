//! What we know of the access tokens of certain issuers beyond RFC 9068, as data: no code asks for a name.

/// How the access tokens of an issuer look. Change a field to fit an issuer that is not here:
///
/// ```
/// use vestibule_guard::Preset;
///
/// let mut preset = Preset::STANDARD;
/// preset.group_claims = &["https://example.com/roles"];
/// assert_eq!(Preset::named("cognito"), Some(Preset::COGNITO));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// Its name, for settings.
    pub name: &'static str,
    /// Where the client's id is; the first claim that is there counts.
    pub client_claims: &'static [&'static str],
    /// Where scopes are: a text with spaces or a list; the first claim that is there counts.
    pub scope_claims: &'static [&'static str],
    /// Where groups or roles are; all of them count. A name that begins with `/` is a path (RFC 6901 without escapes).
    pub group_claims: &'static [&'static str],
    /// A claim and its value that only access tokens have.
    pub mark: (&'static str, &'static str),
    /// The mark must be there even when the audience already tells an access token from an ID token.
    pub always_marked: bool,
}

impl Preset {
    /// Any issuer that keeps to the standards, Vestibule among them.
    pub const STANDARD: Self = Self {
        name: "standard",
        client_claims: &["client_id", "azp"],
        scope_claims: &["scope", "scp"],
        group_claims: &["groups"],
        mark: ("token_use", "access"),
        always_marked: false,
    };

    /// Amazon Cognito user pools. Without resource binding their access tokens have no `aud`
    /// (facts/cognito-and-agentcore.md §2.9): name the app clients with
    /// [`TrustedIssuer::client_ids`](crate::TrustedIssuer::client_ids).
    pub const COGNITO: Self = Self {
        name: "cognito",
        client_claims: &["client_id"],
        scope_claims: &["scope"],
        group_claims: &["cognito:groups"],
        always_marked: true,
        ..Self::STANDARD
    };

    /// Microsoft Entra ID. `groups` are ids; `roles` are names.
    pub const ENTRA: Self = Self {
        name: "entra",
        client_claims: &["azp", "appid"],
        scope_claims: &["scp"],
        group_claims: &["groups", "roles"],
        ..Self::STANDARD
    };

    /// Okta custom authorization servers.
    pub const OKTA: Self = Self {
        name: "okta",
        client_claims: &["cid", "client_id"],
        scope_claims: &["scp", "scope"],
        ..Self::STANDARD
    };

    /// Keycloak: the payload's own `typ` tells access tokens from ID and refresh tokens.
    pub const KEYCLOAK: Self = Self {
        name: "keycloak",
        client_claims: &["azp", "client_id"],
        group_claims: &["groups", "/realm_access/roles"],
        mark: ("typ", "Bearer"),
        always_marked: true,
        ..Self::STANDARD
    };

    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::STANDARD,
        Self::COGNITO,
        Self::ENTRA,
        Self::OKTA,
        Self::KEYCLOAK,
    ];

    /// The preset of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name == name)
    }
}

impl Default for Preset {
    fn default() -> Self {
        Self::STANDARD
    }
}
