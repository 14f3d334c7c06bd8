//! ID token validation (OpenID Connect Core §3.1.3.7): signature, issuer, audience, authorized party, time, nonce.

use vestibule_guard::keys::{JwksSource, VerifyError};
use vestibule_oauth::jose::{Audience, Claims, ClaimsError, Expected, Jws};
use vestibule_oauth::secret::IdToken;
use vestibule_oauth::time::UnixTime;

use super::{Identity, ProviderError};

/// What the ID token must say.
pub(super) struct ExpectedIdToken<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// Absent on refresh, where OpenID Connect Core §12.2 does not ask for one.
    pub(super) nonce: Option<&'a str>,
    pub(super) now: UnixTime,
}

/// Verifies the token and gives who signed in.
pub(super) async fn verify(
    token: &IdToken,
    keys: &JwksSource,
    expected: &ExpectedIdToken<'_>,
) -> Result<Identity, ProviderError> {
    // Cognito's tokens have no `typ`; an access token that came in the wrong member is told apart by `token_use` below.
    let jws =
        Jws::parse(token.expose())?.expect_type(&[None, Some("JWT"), Some("id_token+jwt")])?;
    let claims = keys.verify(&jws).await.map_err(|error| match error {
        VerifyError::Token(error) => ProviderError::from(error),
        VerifyError::Keys(error) => ProviderError::unavailable(error),
    })?;
    let claims = Claims::check(
        claims,
        &Expected {
            issuer: expected.issuer,
            audience: Audience::Contains(expected.client_id),
            now: expected.now,
        },
    )?;
    let several_audiences = claims
        .get("aud")
        .is_some_and(|aud| aud.as_array().is_some_and(|all| all.len() > 1));
    if several_audiences || claims.get("azp").is_some() {
        claims.require("azp", expected.client_id)?;
    }
    if let Some(nonce) = expected.nonce {
        claims.require("nonce", nonce)?;
    }
    if claims
        .get("token_use")
        .is_some_and(|token_use| token_use != "id")
    {
        return Err(ClaimsError::Value("token_use").into());
    }
    Ok(Identity {
        subject: claims.text("sub")?.to_owned(),
        claims: claims.into_members(),
        complete: true,
    })
}
