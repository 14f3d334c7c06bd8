//! Claims (RFC 7519 §4.1): what is expected is stated, what is missing or of the wrong type is refused, time is handed in.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::time::UnixTime;

/// How far two clocks may differ, in seconds.
pub const SKEW_SECONDS: u64 = 30;

/// Why a verified payload is still not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimsError {
    /// A claim is absent or has the wrong JSON type.
    #[error("the claim '{0}' is missing or has the wrong type")]
    Missing(&'static str),
    /// Somebody else's token.
    #[error("the issuer is '{0}', which is not the expected one")]
    Issuer(String),
    /// Meant for somebody else.
    #[error("the token is meant for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("the token expired at {0}")]
    Expired(UnixTime),
    /// `nbf` or `iat` lies ahead.
    #[error("the token is not valid before {0}")]
    NotYetValid(UnixTime),
    /// A claim with a required value has another one.
    #[error("the claim '{0}' does not have the expected value")]
    Value(&'static str),
}

/// Whom the token must be meant for.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// `aud` (a string or an array of strings) must contain this.
    Contains(&'a str),
    /// The token carries no useful `aud`; the caller checks `client_id` instead (Cognito access tokens).
    Unchecked,
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Exactly this `iss`.
    pub issuer: &'a str,
    /// Whom it is meant for.
    pub audience: Audience<'a>,
    /// The current moment.
    pub now: UnixTime,
}

/// Where claims are found by their names.
pub trait Members {
    /// The claim of this name.
    fn claim(&self, name: &str) -> Option<&Value>;
}

impl Members for Map<String, Value> {
    fn claim(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

/// Claims that met what was expected of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims<M = Map<String, Value>> {
    members: M,
    expires_at: UnixTime,
}

impl<M: Members> Claims<M> {
    /// Checks `iss`, `aud`, `exp` (required), `nbf` and `iat` (when present).
    pub fn check(members: M, expected: &Expected<'_>) -> Result<Self, ClaimsError> {
        let issuer = members
            .claim("iss")
            .and_then(Value::as_str)
            .ok_or(ClaimsError::Missing("iss"))?;
        if issuer != expected.issuer {
            return Err(ClaimsError::Issuer(issuer.to_owned()));
        }
        if let Audience::Contains(audience) = expected.audience {
            check_audience(members.claim("aud"), audience)?;
        }
        let expires_at = time(&members, "exp")?.ok_or(ClaimsError::Missing("exp"))?;
        if expires_at.plus(SKEW_SECONDS) <= expected.now {
            return Err(ClaimsError::Expired(expires_at));
        }
        for claim in ["nbf", "iat"] {
            if let Some(start) =
                time(&members, claim)?.filter(|start| *start > expected.now.plus(SKEW_SECONDS))
            {
                return Err(ClaimsError::NotYetValid(start));
            }
        }
        Ok(Self {
            members,
            expires_at,
        })
    }

    /// `exp`.
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// A claim that is text and not empty.
    pub fn text(&self, name: &'static str) -> Result<&str, ClaimsError> {
        self.members
            .claim(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or(ClaimsError::Missing(name))
    }

    /// Refuses unless `name` is the text `value`.
    pub fn require(&self, name: &'static str, value: &str) -> Result<(), ClaimsError> {
        if self.text(name)? == value {
            Ok(())
        } else {
            Err(ClaimsError::Value(name))
        }
    }

    /// Any claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.claim(name)
    }

    /// All of them.
    pub fn members(&self) -> &M {
        &self.members
    }

    /// The same, for whoever keeps them.
    pub fn into_members(self) -> M {
        self.members
    }
}

fn check_audience(claim: Option<&Value>, audience: &str) -> Result<(), ClaimsError> {
    let named = match claim {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) if !several.is_empty() => {
            if !several.iter().all(Value::is_string) {
                return Err(ClaimsError::Missing("aud"));
            }
            several.iter().any(|one| one.as_str() == Some(audience))
        }
        _ => return Err(ClaimsError::Missing("aud")),
    };
    if named {
        Ok(())
    } else {
        Err(ClaimsError::Audience)
    }
}

/// A `NumericDate`: whole or fractional seconds, never negative.
fn time(members: &impl Members, name: &'static str) -> Result<Option<UnixTime>, ClaimsError> {
    match members.claim(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be in range"
            )]
            let fraction = |number: f64| ((0.0..1e15).contains(&number)).then_some(number as u64);
            let seconds = number
                .as_u64()
                .or_else(|| number.as_f64().and_then(fraction));
            seconds
                .map(|seconds| Some(UnixTime(seconds)))
                .ok_or(ClaimsError::Missing(name))
        }
        Some(_) => Err(ClaimsError::Missing(name)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn check(claims: &Value) -> Result<Claims, ClaimsError> {
        let expected = Expected {
            issuer: "https://i",
            audience: super::Audience::Contains("A"),
            now: NOW,
        };
        Claims::check(claims.as_object().unwrap().clone(), &expected)
    }

    fn with(name: &str, value: impl Into<Value>) -> Value {
        let mut claims = json!({ "iss": "https://i", "aud": "A", "exp": NOW.0 + 60, "sub": "ada" });
        claims[name] = value.into();
        claims
    }

    #[test]
    fn t23_every_claim_that_jsonwebtoken_lets_through_is_refused() {
        use ClaimsError::{Audience, Expired, Issuer, Missing, NotYetValid};
        assert!(check(&with("x", json!(1))).is_ok());
        assert!(check(&with("aud", json!(["B", "A"]))).is_ok());
        for (claims, error) in [
            (with("aud", Value::Null), Missing("aud")),
            (with("aud", json!(1)), Missing("aud")),
            (with("aud", json!([])), Missing("aud")),
            (with("aud", json!(["A", 1])), Missing("aud")),
            (with("aud", json!("B")), Audience),
            (with("iss", json!(["evil", "https://i"])), Missing("iss")),
            (with("iss", json!(7)), Missing("iss")),
            (
                with("iss", json!("https://i/")),
                Issuer("https://i/".into()),
            ),
            (with("exp", Value::Null), Missing("exp")),
            (with("exp", json!("1900000000")), Missing("exp")),
            (with("exp", json!(-1)), Missing("exp")),
            (
                with("exp", json!(NOW.0 - SKEW_SECONDS)),
                Expired(NOW.minus(SKEW_SECONDS)),
            ),
            (
                with("nbf", json!(NOW.0 + 3600)),
                NotYetValid(NOW.plus(3600)),
            ),
            (
                with("iat", json!(NOW.0 + 3600)),
                NotYetValid(NOW.plus(3600)),
            ),
        ] {
            assert_eq!(check(&claims).unwrap_err(), error, "{claims}");
        }
    }

    #[test]
    fn clocks_may_differ_a_little() {
        assert!(check(&with("exp", json!(NOW.0 - SKEW_SECONDS + 1))).is_ok());
        assert!(check(&with("iat", json!(NOW.0 + SKEW_SECONDS))).is_ok());
        assert!(check(&with("exp", json!(1_800_000_060.5))).is_ok());
    }
}
