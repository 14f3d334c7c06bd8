//! The token issuer: mints and verifies our access tokens in both formats, and the tokens an upstream may verify.
//!
//! `sealed`: opaque to everybody else, opened here without a store. `jwt`: RFC 9068, verified by anyone through
//! `/jwks.json`. A token of either format is good for exactly one resource (law 10).

mod payload;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use thiserror::Error;

use vestibule_guard::Caller;
use vestibule_oauth::jose::{
    Audience, Claims, ClaimsError, Expected, JwkSet, Jws, JwsError, SigningAlg, SigningKey,
    SigningKeyError,
};
use vestibule_oauth::random::Random;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url::Origin;

use self::payload::Payload;
use crate::grants::Access;
use crate::keys::{KeyRing, KeyState, SigningKeyEntry};
use crate::seal::{Kind, SealError, Sealer};
use crate::settings::TokenFormat;

/// `typ` of an access token (RFC 9068 §2.1).
const ACCESS_TOKEN_TYPE: &str = "at+jwt";
/// `typ` of what an upstream receives. Another type than `at+jwt`, so that it can never be used at our own door.
const UPSTREAM_TOKEN_TYPE: &str = "vestibule-upstream+jwt";
/// Seconds an upstream token lives. It is used again for half of that.
pub(crate) const UPSTREAM_TOKEN_LIFETIME: u64 = 300;

/// Why the issuer cannot be built.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// A key of the ring does not sign.
    #[error("a signing key of the ring is unusable: {0}")]
    Key(#[from] SigningKeyError),
    /// The ring has no key for the configured algorithm.
    #[error(
        "the key ring has no {0} key; run `vestibule keys add FILE --alg {0}` or change tokens.signing_alg"
    )]
    NoKey(SigningAlg),
    /// Verifiers may not know it yet.
    #[error(
        "the {0} key of the ring is published and not in use yet; leave tokens.signing_alg as it is until \
         `vestibule keys rotate` has promoted it"
    )]
    NotInUse(SigningAlg),
}

/// Why a token was not minted.
#[derive(Debug, Error)]
#[error("signing failed: {0}")]
pub struct MintError(#[from] SigningKeyError);

/// Whom a token is about: what any of ours says of the holder of an access token.
#[derive(Clone, Copy)]
pub struct About<'a> {
    token_id: &'a str,
    subject: &'a str,
    client_id: &'a str,
    scope: &'a ScopeSet,
    expires_at: UnixTime,
    claims: &'a Map<String, Value>,
}

impl<'a> From<&'a Access> for About<'a> {
    fn from(access: &'a Access) -> Self {
        Self {
            token_id: &access.id,
            subject: &access.subject,
            client_id: &access.client_id,
            scope: &access.scope,
            expires_at: access.expires_at,
            claims: &access.claims,
        }
    }
}

impl<'a, X> From<&'a Caller<X>> for About<'a> {
    fn from(caller: &'a Caller<X>) -> Self {
        Self {
            token_id: caller.token_id(),
            subject: caller.subject(),
            client_id: caller.client_id(),
            scope: caller.scope(),
            expires_at: caller.expires_at(),
            claims: caller.claims(),
        }
    }
}

impl About<'_> {
    /// When the access token ends.
    pub(crate) fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// The mapped claim of this name.
    pub(crate) fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }
}

/// Why a token is not one of ours, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// A sealed token that does not open.
    #[error("sealed token: {0}")]
    Seal(#[from] SealError),
    /// A JWT whose signature or header is wrong.
    #[error("JWT: {0}")]
    Jws(#[from] JwsError),
    /// A JWT whose claims are wrong.
    #[error("JWT claims: {0}")]
    Claims(#[from] ClaimsError),
    /// A sealed token of another resource.
    #[error("the token is for another resource")]
    Audience,
}

/// Mints and verifies.
#[derive(Debug)]
pub struct TokenIssuer {
    issuer: Origin,
    sealer: Arc<Sealer>,
    keys: Vec<SigningKey>,
    current: usize,
    verifying: JwkSet,
    jwks: Value,
    random: Arc<dyn Random>,
}

impl TokenIssuer {
    /// Takes every signing key of the ring; the first of the configured algorithm, which is the current one, signs.
    pub fn new(
        issuer: Origin,
        sealer: Arc<Sealer>,
        ring: &KeyRing,
        alg: SigningAlg,
        random: Arc<dyn Random>,
    ) -> Result<Self, IssuerError> {
        let keys = ring
            .signing
            .iter()
            .map(|entry| SigningKey::from_pem(entry.alg, &entry.pem));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let own = |key: &SigningKeyEntry| key.alg == alg;
        let in_use = |key: &SigningKeyEntry| own(key) && key.life.state == KeyState::Current;
        let current = ring.signing.iter().position(in_use);
        let current = current.ok_or(if ring.signing.iter().any(own) {
            IssuerError::NotInUse(alg)
        } else {
            IssuerError::NoKey(alg)
        })?;
        let public = keys.iter().map(|key| key.public_jwk().clone());
        let retired = ring.retired.iter().map(|key| key.jwk.clone());
        let public: Vec<Value> = public.chain(retired).collect();
        let verifying = JwkSet::from_values(&public);
        Ok(Self {
            issuer,
            sealer,
            keys,
            current,
            verifying,
            jwks: json!({ "keys": public }),
            random,
        })
    }

    /// What seals its tokens.
    pub(crate) fn sealer(&self) -> &Arc<Sealer> {
        &self.sealer
    }

    /// The document behind `/jwks.json` (RFC 7517 §5).
    pub fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// A fresh token id of a family.
    pub fn token_id(&self, family: &str) -> String {
        format!("{family}.{}", self.random.token(9))
    }

    /// Writes an access token. The JWT format drops the provider's token: a JWT is readable by whoever holds it.
    pub fn mint(&self, access: &Access, format: TokenFormat) -> Result<String, MintError> {
        match format {
            TokenFormat::Sealed => {
                Ok(self
                    .sealer
                    .seal(access, Some(access.expires_at), self.random.as_ref()))
            }
            TokenFormat::Jwt => {
                let mut claims = access.claims.clone();
                claims.insert("aud".into(), json!(access.audience));
                claims.insert("iat".into(), json!(access.issued_at));
                claims.insert("exp".into(), json!(access.expires_at));
                self.fill(&mut claims, &About::from(access));
                self.sign(ACCESS_TOKEN_TYPE, &claims)
            }
        }
    }

    /// Writes the token that an upstream receives instead of the client's (credential `vestibule-token`).
    pub fn mint_for_upstream(
        &self,
        about: &About<'_>,
        audience: &str,
        now: UnixTime,
    ) -> Result<String, MintError> {
        let mut claims = about.claims.clone();
        claims.insert("aud".into(), json!(audience));
        claims.insert("iat".into(), json!(now));
        claims.insert(
            "exp".into(),
            json!(about.expires_at.min(now.plus(UPSTREAM_TOKEN_LIFETIME))),
        );
        self.fill(&mut claims, about);
        self.sign(UPSTREAM_TOKEN_TYPE, &claims)
    }

    /// Signs another kind of token; `claims` has its audience and times.
    pub(crate) fn sign_about(
        &self,
        typ: &str,
        mut claims: Map<String, Value>,
        about: &About<'_>,
    ) -> Result<String, MintError> {
        self.fill(&mut claims, about);
        self.sign(typ, &claims)
    }

    /// Reads an access token of either format for the resource `audience`.
    pub fn verify(&self, token: &str, audience: &str, now: UnixTime) -> Result<Access, TokenError> {
        if token.starts_with(Kind::Access.prefix()) {
            let access: Access = self.sealer.open(token, now)?;
            return if access.audience == audience {
                Ok(access)
            } else {
                Err(TokenError::Audience)
            };
        }
        let claims: Payload = Jws::parse(token)?
            .expect_type(&[Some(ACCESS_TOKEN_TYPE)])?
            .verify_into(&self.verifying)?;
        let expected = Expected {
            issuer: self.issuer.as_str(),
            audience: Audience::Contains(audience),
            now,
        };
        let claims = Claims::check(claims, &expected)?;
        // We are the issuer, so no clock skew is due: the token ends when we said it does.
        if claims.expires_at() <= now {
            return Err(ClaimsError::Expired(claims.expires_at()).into());
        }
        Self::access_of(claims, audience.to_owned())
    }

    /// Reads one of our own tokens wherever it was meant for: for revocation.
    pub fn recognise(&self, token: &str, now: UnixTime) -> Result<Access, TokenError> {
        if token.starts_with(Kind::Access.prefix()) {
            return Ok(self.sealer.open(token, now)?);
        }
        let claims: Payload = Jws::parse(token)?
            .expect_type(&[Some(ACCESS_TOKEN_TYPE)])?
            .verify_into(&self.verifying)?;
        let expected = Expected {
            issuer: self.issuer.as_str(),
            audience: Audience::Unchecked,
            now,
        };
        let claims = Claims::check(claims, &expected)?;
        let audience = claims.text("aud").map(str::to_owned)?;
        Self::access_of(claims, audience)
    }

    fn access_of(claims: Claims<Payload>, audience: String) -> Result<Access, TokenError> {
        let expires_at = claims.expires_at();
        let mut payload = claims.into_members();
        let scope = payload.take("scope");
        let scope = scope.as_ref().and_then(Value::as_str);
        let issued_at = payload.take("iat").and_then(|time| time.as_u64());
        Ok(Access::new(
            payload.take_text("jti")?,
            payload.take_text("sub")?,
            payload.take_text("client_id")?,
            audience,
            scope.map(ScopeSet::parse).unwrap_or_default(),
            UnixTime(issued_at.ok_or(ClaimsError::Missing("iat"))?),
            expires_at,
            payload.mapped,
        ))
    }

    /// The claims that both kinds of JWT share. They are written last: a mapped claim never replaces one of them.
    fn fill(&self, claims: &mut Map<String, Value>, about: &About<'_>) {
        claims.insert("iss".into(), json!(self.issuer.as_str()));
        claims.insert("sub".into(), json!(about.subject));
        claims.insert("client_id".into(), json!(about.client_id));
        claims.insert("jti".into(), json!(about.token_id));
        claims.insert("scope".into(), json!(about.scope));
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "`current` is a position found in `keys`"
    )]
    fn sign(&self, typ: &str, claims: &Map<String, Value>) -> Result<String, MintError> {
        Ok(self.keys[self.current].sign(typ, claims)?)
    }
}
