//! What we know of providers beyond the standards, as data: never `match vendor` in a handler (design §1).

use vestibule_oauth::url::Issuer;

/// Facts about one kind of provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name in the settings (`provider.preset`).
    pub name: &'static str,
    /// Issuer hosts that mean this preset when none is configured: first label and the end of the name.
    pub issuer_hosts: &'static [(&'static str, &'static str)],
    /// `offline_access` may be asked for. Cognito refuses the whole sign-in over it.
    pub offline_access: bool,
    /// Where our claims come from by default: (ours, the provider's claim in the ID token).
    pub claims: &'static [(&'static str, &'static str)],
    /// Error descriptions of the provider's callback that mean "try again later" although the code says otherwise
    /// (facts/cognito §2.3).
    pub transient_descriptions: &'static [&'static str],
    /// How we prove ourselves at the token endpoint unless discovery or the settings say otherwise.
    pub token_auth_default: TokenEndpointAuth,
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

/// Any provider that keeps to the standards.
pub static GENERIC: Profile = Profile {
    name: "generic",
    issuer_hosts: &[],
    offline_access: true,
    claims: STANDARD_CLAIMS,
    transient_descriptions: &[],
    token_auth_default: TokenEndpointAuth::Basic,
};

/// Amazon Cognito user pools (facts/cognito-and-agentcore.md §2).
pub static COGNITO: Profile = Profile {
    name: "cognito",
    issuer_hosts: &[
        ("cognito-idp", ".amazonaws.com"),
        ("cognito-idp", ".amazonaws.com.cn"),
        ("cognito-idp-fips", ".amazonaws.com"),
        ("issuer-cognito-idp", ".amazonaws.com"),
        ("issuer-cognito-idp", ".amazonaws.com.cn"),
    ],
    offline_access: false,
    claims: &[
        ("email", "email"),
        ("email_verified", "email_verified"),
        ("name", "name"),
        ("username", "cognito:username"),
        ("groups", "cognito:groups"),
    ],
    transient_descriptions: &[
        "IdP Error",
        "Timeout occurred",
        "Connection reset",
        "Read timed out",
    ],
    // In the form nothing is encoded twice: whether Cognito form-decodes the halves of HTTP Basic is not documented.
    token_auth_default: TokenEndpointAuth::Post,
};

/// Every preset.
pub static ALL: [&Profile; 2] = [&GENERIC, &COGNITO];

/// The preset that an issuer suggests; the generic one otherwise.
pub fn of(issuer: &Issuer) -> &'static Profile {
    let url = url::Url::parse(issuer.as_str()).ok();
    let host = url
        .as_ref()
        .and_then(url::Url::host_str)
        .unwrap_or_default();
    let label = host.split('.').next().unwrap_or_default();
    let fits = |(first, end): &(&str, &str)| *first == label && host.ends_with(end);
    ALL.into_iter()
        .find(|profile| profile.issuer_hosts.iter().any(fits))
        .unwrap_or(&GENERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_cognito_issuer_are_recognised() {
        let of = |issuer: &str| of(&Issuer::parse(issuer).unwrap()).name;
        assert_eq!(
            of("https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Abc"),
            "cognito"
        );
        assert_eq!(
            of("https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_Abc"),
            "cognito"
        );
        assert_eq!(
            of("https://cognito-idp.amazonaws.com.evil.example/x"),
            "generic"
        );
        assert_eq!(of("https://sts.amazonaws.com/x"), "generic");
        assert_eq!(of("https://login.example.com"), "generic");
    }
}
