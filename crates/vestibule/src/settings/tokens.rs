//! `[tokens]`: the form, lifetime and claims of the tokens we issue (RFC 9068 for the `jwt` format).

use std::time::Duration;

use vestibule_oauth::jose::SigningAlg;

use super::section::Section;
use crate::keys::rotation::LONGEST_TOKEN;
use crate::provider::profile::Profile;

/// The tokens we issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// The form of access tokens, for resources that do not say.
    pub format: TokenFormat,
    /// What we sign with. There must be a key for it in the ring.
    pub signing_alg: SigningAlg,
    /// How long an access token lives: 2 minutes to 24 hours.
    pub access_ttl: Duration,
    /// How long a refresh token lives.
    pub refresh_ttl: Duration,
    /// Which claims of the provider's tokens go into ours.
    pub claims: Vec<ClaimMapping>,
}

/// The form of an access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// Opaque to everyone but us; the default for resources that we proxy.
    #[default]
    Sealed,
    /// A signed JWT (RFC 9068) that others can verify.
    Jwt,
}

/// One claim of ours and the provider's claim it is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMapping {
    /// The claim's name in our tokens.
    pub name: String,
    /// Its name in the provider's.
    pub from: String,
}

pub(super) const TOKEN_FORMATS: [(&str, TokenFormat); 2] =
    [("sealed", TokenFormat::Sealed), ("jwt", TokenFormat::Jwt)];

/// Claims that say what a token is. They are ours alone.
const OWN_CLAIMS: [&str; 11] = [
    "iss",
    "aud",
    "sub",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "azp",
    "scope",
    "cnf",
];

const SHORTEST_ACCESS: Duration = Duration::from_secs(2 * 60);
const LONGEST_ACCESS: Duration = Duration::from_secs(LONGEST_TOKEN);

impl TokenSettings {
    /// The defaults for a kind of provider.
    pub fn new(preset: &Profile) -> Self {
        Self {
            format: TokenFormat::default(),
            signing_alg: SigningAlg::default(),
            access_ttl: Duration::from_secs(3600),
            refresh_ttl: Duration::from_secs(30 * 24 * 3600),
            claims: ClaimMapping::defaults(preset),
        }
    }

    /// Reads the section; `preset` decides the default claims.
    pub(super) fn read(mut section: Section<'_>, preset: &Profile) -> Self {
        let problems = section.problems();
        let mut settings = Self::new(preset);
        if let Some(format) = section.choice("format", &TOKEN_FORMATS) {
            settings.format = format.value;
        }
        if let Some(alg) = section.choice(
            "signing_alg",
            &SigningAlg::ALL.map(|alg| (alg.as_str(), alg)),
        ) {
            settings.signing_alg = alg.value;
        }
        if let Some(access) = section.duration("access_ttl") {
            if access.value < SHORTEST_ACCESS {
                problems.add(
                    &access.spot,
                    "must be at least 2m: clients refresh ahead of time and would never stop",
                );
            }
            if access.value > LONGEST_ACCESS {
                problems.add(
                    &access.spot,
                    "must be at most 24h: an access token cannot be taken back",
                );
            }
            settings.access_ttl = access.value;
        }
        if let Some(refresh) = section.duration("refresh_ttl") {
            if refresh.value < settings.access_ttl {
                problems.add(&refresh.spot, "must not be shorter than `access_ttl`");
            }
            settings.refresh_ttl = refresh.value;
        }
        if let Some(claims) = section.optional_section("claims") {
            settings.claims = ClaimMapping::read_all(claims);
        }
        section.finish();
        settings
    }
}

impl ClaimMapping {
    /// What ships: who somebody is and which groups they are in.
    pub fn defaults(preset: &Profile) -> Vec<Self> {
        let pairs = preset.claims.iter();
        pairs
            .map(|&(name, from)| Self {
                name: name.to_owned(),
                from: from.to_owned(),
            })
            .collect()
    }

    /// Reads `our claim = "provider's claim"` pairs; they replace the defaults.
    pub(super) fn read_all(mut section: Section<'_>) -> Vec<Self> {
        let problems = section.problems();
        let mut claims = Vec::new();
        for (name, from) in section.all_texts() {
            if OWN_CLAIMS.contains(&name.as_str()) {
                problems.add(
                    &from.spot,
                    format!(
                        "`{name}` says what the token is; it cannot be taken from the provider"
                    ),
                );
            } else if from.value.trim().is_empty() {
                problems.add(&from.spot, "must name a claim of the provider's token");
            } else {
                claims.push(Self {
                    name,
                    from: from.value,
                });
            }
        }
        claims
    }
}
