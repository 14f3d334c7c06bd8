//! `[tokens]`: the form, lifetime and claims of the tokens we issue (RFC 9068 for the `jwt` format).

use std::time::Duration;

use vestibule_oauth::jose::SigningAlg;

use super::problem::Problems;
use super::section::Section;
use crate::keys::rotation::LONGEST_TOKEN;
use crate::provider::profile::{GENERIC, Profile};

/// The tokens we issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// The form of access tokens, for resources that do not say.
    pub format: TokenFormat,
    /// What we sign with. There must be a key for it in the ring.
    pub signing_alg: SigningAlg,
    /// How long an access token lives: 2 minutes to 24 hours.
    pub access_ttl: Duration,
    /// How long a refresh token lives that nobody uses.
    pub refresh_ttl: Duration,
    /// How long a sign-in lasts at most, however often it is refreshed.
    pub refresh_absolute_ttl: Duration,
    /// How long the provider's word is taken before a refresh asks it again. Needs a store.
    pub provider_recheck: Duration,
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
const LONGEST_RECHECK: Duration = Duration::from_secs(3600);

impl TokenSettings {
    /// The defaults for a kind of provider.
    pub fn new(preset: &Profile) -> Self {
        Self {
            format: TokenFormat::default(),
            signing_alg: SigningAlg::default(),
            access_ttl: Duration::from_secs(3600),
            refresh_ttl: Duration::from_secs(30 * 24 * 3600),
            refresh_absolute_ttl: Duration::from_secs(365 * 24 * 3600),
            provider_recheck: Duration::from_secs(5 * 60),
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
        settings.read_ends(&mut section, problems);
        if let Some(claims) = section.optional_section("claims") {
            settings.claims = ClaimMapping::read_all(claims);
        }
        section.finish();
        settings
    }

    /// The hard end of a sign-in, and how often the provider is asked whether it still stands.
    fn read_ends(&mut self, section: &mut Section<'_>, problems: &Problems) {
        let default_idle = Self::new(&GENERIC).refresh_ttl;
        if let Some(absolute) = section.duration("refresh_absolute_ttl") {
            if absolute.value < self.access_ttl {
                problems.add(&absolute.spot, "must not be shorter than `access_ttl`");
            } else if absolute.value < self.refresh_ttl && self.refresh_ttl != default_idle {
                problems.add(
                    &absolute.spot,
                    "must not be shorter than `refresh_ttl`: a refresh token cannot outlive its sign-in",
                );
            }
            self.refresh_absolute_ttl = absolute.value;
            self.refresh_ttl = self.refresh_ttl.min(absolute.value);
        } else if self.refresh_ttl > self.refresh_absolute_ttl {
            self.refresh_absolute_ttl = self.refresh_ttl;
        }
        if let Some(recheck) = section.duration("provider_recheck") {
            if recheck.value > LONGEST_RECHECK {
                problems.add(
                    &recheck.spot,
                    "must be at most 1h: for so long a user whom the provider has removed goes on refreshing",
                );
            }
            self.provider_recheck = recheck.value;
        }
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
