//! What we know of providers beyond the standards, as data: never `match vendor` in a handler (design §1).

use vestibule_oauth::url::Issuer;

/// Facts about one kind of provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name in the settings (`provider.preset`).
    pub name: &'static str,
    /// What people call it, for buttons.
    pub label: &'static str,
    /// Issuer hosts that mean this preset when none is configured; `*` stands for any text.
    pub issuer_hosts: &'static [&'static str],
    /// The issuer when none is configured, for a provider that there is one of.
    pub issuer: Option<&'static str>,
    /// The first segment of the issuer's path is the tenant and must be its id: the document of a shared tenant names
    /// an issuer that no token has.
    pub tenant_in_path: bool,
    /// Where we learn who signed in.
    pub identity: IdentitySource,
    /// Endpoints of a provider without discovery.
    pub endpoints: KnownEndpoints,
    /// What we ask for unless the settings say otherwise.
    pub scopes: &'static str,
    /// What becomes of the scope `offline_access`.
    pub offline_access: OfflineAccess,
    /// Parameters added to every authorization request unless the settings replace them.
    pub authorize_params: &'static [(&'static str, &'static str)],
    /// Those of them without which there is no refresh token: left out where none is wanted.
    pub offline_params: &'static [(&'static str, &'static str)],
    /// The word of `prompt` that lets a user who is signed in choose another account; `None` where there is none.
    pub another_account: Option<&'static str>,
    /// What goes with a refresh token that is revoked.
    pub revocation: Revocation,
    /// The `resource` parameter (RFC 8707) is understood or at least passed over.
    pub resource_parameter: bool,
    /// Where our claims come from by default: (ours, the provider's claim).
    pub claims: &'static [(&'static str, &'static str)],
    /// `provider.userinfo = "auto"` asks the userinfo endpoint for mapped claims that the ID token lacks.
    pub userinfo_has_more: bool,
    /// How a browser is signed out.
    pub end_session: EndSession,
    /// Errors of the token endpoint that mean `invalid_grant`.
    pub dead_grant_errors: &'static [&'static str],
    /// Error descriptions of the provider's callback that mean "try again later" although the code says otherwise
    /// (facts/cognito §2.3).
    pub transient_descriptions: &'static [&'static str],
    /// How we prove ourselves at the token endpoint unless discovery or the settings say otherwise.
    pub token_auth_default: TokenEndpointAuth,
}

/// Where we learn who signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// From the ID token (OpenID Connect).
    IdToken,
    /// From the userinfo endpoint, asked with the access token: OAuth without OpenID Connect. An access token that never
    /// ends then takes the place of a refresh token.
    Api {
        /// The member that is the user's lasting id.
        subject: &'static str,
    },
}

/// What becomes of the scope `offline_access`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineAccess {
    /// The provider fails the whole sign-in over it, and gives refresh tokens anyway.
    Refused,
    /// It may be asked for.
    Allowed,
    /// There is no refresh token without it.
    Needed,
}

/// Endpoints of a provider without discovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownEndpoints {
    /// RFC 6749 §3.1.
    pub authorization: Option<&'static str>,
    /// RFC 6749 §3.2.
    pub token: Option<&'static str>,
    /// Who is signed in.
    pub userinfo: Option<&'static str>,
}

/// What goes with a refresh token that is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The access tokens that came with it, and nothing else.
    Alone,
    /// Perhaps the user's session, or every token of the application: a token that nobody needs is better dropped.
    More,
    /// Every token that the application has of this user. A token is revoked there only with the last grant of the user.
    Everything,
}

/// How a browser is signed out at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSession {
    /// There is no way that an application may use.
    None,
    /// OpenID Connect RP-Initiated Logout 1.0, at the endpoint that discovery names.
    RpInitiated,
    /// A way of the provider's own.
    Own {
        /// Its path at the host of the authorization endpoint, when discovery names no endpoint.
        path: &'static str,
        /// The parameter that says where the browser goes afterwards.
        return_parameter: &'static str,
    },
}

/// How we prove ourselves at the provider's token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEndpointAuth {
    /// HTTP Basic (RFC 6749 §2.3.1).
    Basic,
    /// In the form.
    Post,
}

/// Claims that OpenID Connect Core §5.1 defines and upstreams ask for.
const STANDARD_CLAIMS: &[(&str, &str)] = &[
    ("email", "email"),
    ("email_verified", "email_verified"),
    ("name", "name"),
    ("username", "preferred_username"),
    ("groups", "groups"),
];

const WITH_OFFLINE_ACCESS: &str = "openid profile email offline_access";

/// Any provider that keeps to the standards.
pub static GENERIC: Profile = STANDARD;

/// What every other preset begins with.
const STANDARD: Profile = Profile {
    name: "generic",
    label: "your account",
    issuer_hosts: &[],
    issuer: None,
    tenant_in_path: false,
    identity: IdentitySource::IdToken,
    endpoints: NO_ENDPOINTS,
    scopes: "openid",
    offline_access: OfflineAccess::Allowed,
    authorize_params: &[],
    offline_params: &[],
    another_account: Some("login"),
    revocation: Revocation::More,
    resource_parameter: true,
    claims: STANDARD_CLAIMS,
    // OpenID Connect Core §5.4: with an access token, the claims of `profile` and `email` may be there alone.
    userinfo_has_more: true,
    end_session: EndSession::RpInitiated,
    dead_grant_errors: &[],
    transient_descriptions: &[],
    token_auth_default: TokenEndpointAuth::Basic,
};

const NO_ENDPOINTS: KnownEndpoints = KnownEndpoints {
    authorization: None,
    token: None,
    userinfo: None,
};

/// Amazon Cognito user pools (facts/cognito-and-agentcore.md §2).
pub static COGNITO: Profile = Profile {
    name: "cognito",
    label: "Amazon Cognito",
    issuer_hosts: &[
        "cognito-idp.*.amazonaws.com",
        "cognito-idp.*.amazonaws.com.cn",
        "cognito-idp-fips.*.amazonaws.com",
        "issuer-cognito-idp.*.amazonaws.com",
        "issuer-cognito-idp.*.amazonaws.com.cn",
    ],
    offline_access: OfflineAccess::Refused,
    // Managed login only; the classic hosted UI passes it over (facts §2.2).
    another_account: Some("select_account"),
    revocation: Revocation::Alone,
    claims: &[
        ("email", "email"),
        ("email_verified", "email_verified"),
        ("name", "name"),
        ("username", "cognito:username"),
        ("groups", "cognito:groups"),
    ],
    // The ID token has every attribute; userinfo has no groups (facts §2.5).
    userinfo_has_more: false,
    // Not RP-initiated logout: `client_id` and a registered `logout_uri` (facts §2.5).
    end_session: EndSession::Own {
        path: "/logout",
        return_parameter: "logout_uri",
    },
    transient_descriptions: &[
        "IdP Error",
        "Timeout occurred",
        "Connection reset",
        "Read timed out",
    ],
    // In the form nothing is encoded twice: whether Cognito form-decodes the halves of HTTP Basic is not documented.
    token_auth_default: TokenEndpointAuth::Post,
    ..STANDARD
};

/// Microsoft Entra ID, workforce and external tenants.
pub static ENTRA: Profile = Profile {
    name: "entra",
    label: "Microsoft",
    issuer_hosts: &[
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "*.ciamlogin.com",
    ],
    tenant_in_path: true,
    scopes: WITH_OFFLINE_ACCESS,
    offline_access: OfflineAccess::Needed,
    another_account: Some("select_account"),
    // The v2.0 endpoint fails a request that has both `scope` and `resource` (AADSTS901002).
    resource_parameter: false,
    // Microsoft's userinfo answers less than the ID token says.
    userinfo_has_more: false,
    token_auth_default: TokenEndpointAuth::Post,
    ..STANDARD
};

/// Okta, org and custom authorization servers.
pub static OKTA: Profile = Profile {
    name: "okta",
    label: "Okta",
    issuer_hosts: &["*.okta.com", "*.oktapreview.com", "*.okta-emea.com"],
    scopes: WITH_OFFLINE_ACCESS,
    offline_access: OfflineAccess::Needed,
    // RP-initiated logout needs an ID token there, which we do not keep; the sign-out page of the org does not.
    end_session: EndSession::Own {
        path: "/login/signout",
        return_parameter: "fromURI",
    },
    ..STANDARD
};

/// Auth0. `provider.authorize_params.audience` decides whether its access token is a JWT for an API.
pub static AUTH0: Profile = Profile {
    name: "auth0",
    label: "Auth0",
    issuer_hosts: &["*.auth0.com"],
    scopes: WITH_OFFLINE_ACCESS,
    offline_access: OfflineAccess::Needed,
    claims: &[
        ("email", "email"),
        ("email_verified", "email_verified"),
        ("name", "name"),
        ("username", "nickname"),
        ("groups", "groups"),
    ],
    // Every claim of the scopes is in the ID token, and userinfo is rate limited for each user.
    userinfo_has_more: false,
    // In tenants with "Refresh Token Revocation Deletes Grant".
    revocation: Revocation::Everything,
    token_auth_default: TokenEndpointAuth::Post,
    ..STANDARD
};

/// Google accounts and Workspace.
pub static GOOGLE: Profile = Profile {
    name: "google",
    label: "Google",
    issuer_hosts: &["accounts.google.com"],
    issuer: Some("https://accounts.google.com"),
    scopes: "openid email profile",
    offline_access: OfflineAccess::Refused,
    // A refresh token comes with `access_type=offline`, and a second one only when the user is asked again.
    authorize_params: &[("access_type", "offline"), ("prompt", "consent")],
    offline_params: &[("access_type", "offline"), ("prompt", "consent")],
    another_account: Some("select_account"),
    claims: &[
        ("email", "email"),
        ("email_verified", "email_verified"),
        ("name", "name"),
        ("username", "email"),
    ],
    userinfo_has_more: false,
    // What is revoked is the user's consent for the application.
    revocation: Revocation::Everything,
    end_session: EndSession::None,
    token_auth_default: TokenEndpointAuth::Post,
    ..STANDARD
};

/// Keycloak. A realm's host says nothing; the preset is written in the settings.
pub static KEYCLOAK: Profile = Profile {
    name: "keycloak",
    label: "Keycloak",
    // With a refresh token it ends what the client has in every session of the user, and the user's consent.
    revocation: Revocation::Everything,
    ..STANDARD
};

/// GitHub: OAuth without OpenID Connect. Error codes of its own, in answers with status 200.
pub static GITHUB: Profile = Profile {
    name: "github",
    label: "GitHub",
    issuer_hosts: &["github.com"],
    // What GitHub sends as `iss` (RFC 9207) since 2026.
    issuer: Some("https://github.com/login/oauth"),
    identity: IdentitySource::Api { subject: "id" },
    endpoints: KnownEndpoints {
        authorization: Some("https://github.com/login/oauth/authorize"),
        token: Some("https://github.com/login/oauth/access_token"),
        userinfo: Some("https://api.github.com/user"),
    },
    scopes: "read:user",
    offline_access: OfflineAccess::Refused,
    another_account: Some("select_account"),
    resource_parameter: false,
    claims: &[("email", "email"), ("name", "name"), ("username", "login")],
    end_session: EndSession::None,
    dead_grant_errors: &["bad_verification_code", "bad_refresh_token"],
    token_auth_default: TokenEndpointAuth::Post,
    ..STANDARD
};

/// Every preset.
pub static ALL: [&Profile; 8] = [
    &GENERIC, &COGNITO, &ENTRA, &OKTA, &AUTH0, &GOOGLE, &KEYCLOAK, &GITHUB,
];

/// The preset that an issuer suggests; the generic one otherwise.
pub fn of(issuer: &Issuer) -> &'static Profile {
    let url = url::Url::parse(issuer.as_str()).ok();
    let host = url
        .as_ref()
        .and_then(url::Url::host_str)
        .unwrap_or_default();
    let known = |profile: &&Profile| {
        profile
            .issuer_hosts
            .iter()
            .any(|pattern| fits(pattern, host))
    };
    ALL.into_iter().find(known).unwrap_or(&GENERIC)
}

/// The tenant of an issuer whose path begins with it, when that is a tenant id (a UUID) and not a name shared by
/// everybody such as `common`.
pub fn tenant_id(issuer: &Issuer) -> Option<String> {
    let url = url::Url::parse(issuer.as_str()).ok()?;
    let tenant = url.path_segments()?.next()?;
    let parts: Vec<usize> = tenant.split('-').map(str::len).collect();
    let hexadecimal = tenant
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    (hexadecimal && parts == [8, 4, 4, 4, 12]).then(|| tenant.to_owned())
}

fn fits(pattern: &str, host: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == host,
        Some((start, end)) => {
            host.len() > start.len() + end.len() && host.starts_with(start) && host.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(issuer: &str) -> &'static str {
        of(&Issuer::parse(issuer).unwrap()).name
    }

    #[test]
    fn both_forms_of_the_cognito_issuer_are_recognised() {
        assert_eq!(
            name("https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Abc"),
            "cognito"
        );
        assert_eq!(
            name("https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_Abc"),
            "cognito"
        );
        assert_eq!(
            name("https://cognito-idp.amazonaws.com.evil.example/x"),
            "generic"
        );
        assert_eq!(name("https://sts.amazonaws.com/x"), "generic");
        assert_eq!(name("https://login.example.com"), "generic");
    }

    #[test]
    fn well_known_issuers_need_no_preset() {
        for (issuer, preset) in [
            ("https://login.microsoftonline.com/x/v2.0", "entra"),
            ("https://contoso.ciamlogin.com/x/v2.0", "entra"),
            ("https://dev-1.okta.com/oauth2/default", "okta"),
            ("https://x.eu.auth0.com/", "auth0"),
            ("https://accounts.google.com", "google"),
            ("https://github.com/login/oauth", "github"),
            ("https://github.evil.com/login/oauth", "generic"),
            ("https://okta.com.evil.example", "generic"),
            ("https://evilokta.com", "generic"),
            ("https://id.example/realms/main", "generic"),
        ] {
            assert_eq!(name(issuer), preset, "{issuer}");
        }
    }

    #[test]
    fn a_shared_tenant_is_no_tenant_id() {
        let tenant = |issuer: &str| tenant_id(&Issuer::parse(issuer).unwrap());
        let own = "9188040d-6c67-4c5b-b112-36a304b66dad";
        assert_eq!(
            tenant(&format!("https://login.microsoftonline.com/{own}/v2.0")).as_deref(),
            Some(own)
        );
        for shared in ["common", "organizations", "consumers", "contoso.com", ""] {
            assert_eq!(
                tenant(&format!("https://login.microsoftonline.com/{shared}/v2.0")),
                None
            );
        }
    }

    #[test]
    fn what_a_preset_presets_is_well_formed() {
        for profile in ALL {
            let openid = profile.scopes.split(' ').any(|scope| scope == "openid");
            assert_eq!(
                openid,
                profile.identity == IdentitySource::IdToken,
                "{}",
                profile.name
            );
            if let Some(issuer) = profile.issuer {
                assert_eq!(of(&Issuer::parse(issuer).unwrap()), profile);
            }
            let asks = profile.scopes.contains("offline_access");
            assert_eq!(
                asks,
                profile.offline_access == OfflineAccess::Needed,
                "{}",
                profile.name
            );
        }
    }
}
