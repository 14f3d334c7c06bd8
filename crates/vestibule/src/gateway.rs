//! `ANY /mcp` (journey 8): origin → guard → credential → proxy. No request reaches an upstream without a `Caller`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::Method;

use vestibule_guard::caller::{TokenRefusal, Verified, VerifyToken};
use vestibule_guard::{Guard, ProtectedResource};
use vestibule_oauth::jose::{ClaimsError, JwsError};
use vestibule_oauth::time::Clock;
use vestibule_oauth::url::ResourceUri;
use vestibule_oauth::well_known::{is_well_known, protected_resource_path};

use crate::authorization_server::not_found;
use crate::grants::{Access, RevokedTokens};
use crate::issuer::{TokenError, TokenIssuer};
use crate::seal::SealError;
use crate::{BuildError, House};

/// Verifies our own access tokens for the guard.
#[derive(Debug)]
pub struct OwnTokens {
    issuer: Arc<TokenIssuer>,
    revoked: Arc<RevokedTokens>,
    clock: Arc<dyn Clock>,
}

impl VerifyToken for OwnTokens {
    /// The whole access token's content: the credential may need the provider's token out of it.
    type Extra = Arc<Access>;

    async fn verify(&self, token: &str, resource: &ResourceUri) -> Result<Verified<Arc<Access>>, TokenRefusal> {
        let now = self.clock.now();
        let access = self.issuer.verify(token, resource.as_str(), now).map_err(|error| refusal(&error))?;
        if self.revoked.contains(&access.id, now) {
            return Err(TokenRefusal::Revoked);
        }
        Ok(Verified {
            subject: access.subject.clone(),
            client_id: access.client_id.clone(),
            scope: access.scope.clone(),
            expires_at: access.expires_at,
            token_id: access.id.clone(),
            claims: access.claims.clone(),
            extra: Arc::new(access),
        })
    }
}

fn refusal(error: &TokenError) -> TokenRefusal {
    match error {
        TokenError::Seal(SealError::Expired) | TokenError::Claims(ClaimsError::Expired(_) | ClaimsError::NotYetValid(_)) => {
            TokenRefusal::Expired
        }
        TokenError::Audience | TokenError::Claims(ClaimsError::Audience) => TokenRefusal::WrongAudience,
        TokenError::Claims(ClaimsError::Issuer(_)) => TokenRefusal::WrongIssuer,
        TokenError::Seal(SealError::Broken | SealError::UnknownKey)
        | TokenError::Jws(JwsError::Signature | JwsError::UnknownKey(_) | JwsError::KeyMismatch) => {
            TokenRefusal::Signature
        }
        TokenError::Seal(_) | TokenError::Jws(_) | TokenError::Claims(_) => TokenRefusal::Malformed,
    }
}
