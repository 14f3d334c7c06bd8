//! `Answer` and `Rotation`: what a refresh gave, kept so that whoever presents the same refresh token again hears the
//! same, and nobody else can read it (design §5.2).

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use vestibule_oauth::base64url::BASE64URL;
use vestibule_oauth::random::Random;
use vestibule_oauth::secret::{AccessToken, RefreshToken, Secret};
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::token::{TokenResponse, TokenText};

use super::{Carried, fingerprint};

/// Seconds for which a refresh token that was replaced goes on giving the answer it gave, although its successor was
/// used: long enough for a slow sibling, too short for a thief.
pub const REPLAY_WINDOW: u64 = 60;

/// The tokens of one answer of `/token`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Answer {
    #[serde(rename = "a", with = "crate::seal::carried")]
    access: Secret,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    refresh: Option<Carried>,
    #[serde(rename = "o")]
    scope: String,
    #[serde(rename = "t")]
    issued_at: UnixTime,
    #[serde(rename = "e")]
    expires_at: UnixTime,
}

impl Answer {
    /// An answer given now.
    pub fn new(
        access: AccessToken,
        refresh: Option<RefreshToken>,
        scope: String,
        issued_at: UnixTime,
        expires_at: UnixTime,
    ) -> Self {
        Self {
            access: access.0,
            refresh: refresh.map(|token| Carried(token.0)),
            scope,
            issued_at,
            expires_at,
        }
    }

    /// As it goes over the wire. Within the window it is the same to the byte; told later, `expires_in` is what is left,
    /// because clients plan by it (and never zero, which some take for "does not say").
    pub fn response(&self, now: UnixTime) -> TokenResponse<'_> {
        let age = now.since(self.issued_at);
        let lifetime = self.expires_at.since(self.issued_at);
        TokenResponse {
            access_token: TokenText(self.access.expose()),
            token_type: "Bearer",
            expires_in: if age <= REPLAY_WINDOW {
                lifetime
            } else {
                lifetime.saturating_sub(age).max(1)
            },
            refresh_token: (self.refresh.as_ref()).map(|token| TokenText(token.0.expose())),
            scope: self.scope.clone(),
        }
    }

    /// What was granted.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Bytes that its JSON fits into: the tokens to the byte, and enough for names, numbers and a seal.
    pub(crate) fn room(&self) -> usize {
        let refresh = self.refresh.as_ref();
        let refresh = refresh.map_or(0, |token| token.0.expose().len());
        self.access.expose().len() + refresh + self.scope.len() + 160
    }

    /// Seals it with a key that is derived from the token it answers.
    ///
    /// # Panics
    ///
    /// Never: a few kilobytes serialise and encrypt.
    pub fn lock(&self, token: &RefreshToken, random: &dyn Random) -> String {
        BASE64URL.encode(self.lock_bytes(token, random))
    }

    /// The same as bytes, for who keeps it in memory.
    ///
    /// # Panics
    ///
    /// Never: a few kilobytes serialise and encrypt.
    #[expect(
        clippy::expect_used,
        reason = "in-memory serialisation and encryption of a few kilobytes cannot fail"
    )]
    pub(crate) fn lock_bytes(&self, token: &RefreshToken, random: &dyn Random) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut envelope = Vec::with_capacity(self.room());
        envelope.extend_from_slice(&nonce);
        serde_json::to_writer(&mut envelope, self).expect("answers serialise");
        let (_, body) = envelope.split_at_mut(NONCE_LEN);
        let tag = key_of(token)
            .and_then(|key| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_separate_tag(nonce, Aad::empty(), body)
                    .ok()
            })
            .expect("the plaintext is far below the cipher's limit");
        envelope.extend_from_slice(tag.as_ref());
        envelope
    }

    /// Opens what [`Answer::lock`] sealed for the same token.
    pub fn unlock(locked: &str, token: &RefreshToken) -> Option<Self> {
        Self::unlock_bytes(BASE64URL.decode(locked).ok()?, token)
    }

    /// Opens what [`Answer::lock_bytes`] sealed for the same token.
    pub(crate) fn unlock_bytes(locked: Vec<u8>, token: &RefreshToken) -> Option<Self> {
        let mut envelope = Zeroizing::new(locked);
        let (nonce, body) = envelope.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = key_of(token)?
            .open_in_place(nonce, Aad::empty(), body)
            .ok()?;
        serde_json::from_slice(plain).ok()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("scope", &self.scope)
            .field("issued_at", &self.issued_at)
            .finish_non_exhaustive()
    }
}

/// A refresh token that was replaced, and what it was replaced by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rotation {
    /// SHA-256 of the token that was replaced.
    #[serde(rename = "h")]
    pub(super) token: String,
    #[serde(rename = "t")]
    pub(super) at: UnixTime,
    #[serde(rename = "a")]
    pub(super) answer: String,
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) successor_used: bool,
}

impl Rotation {
    /// `token` was replaced by what `answer` holds.
    pub fn new(token: &RefreshToken, answer: &Answer, at: UnixTime, random: &dyn Random) -> Self {
        Self {
            token: fingerprint(token.expose()),
            at,
            answer: answer.lock(token, random),
            successor_used: false,
        }
    }

    /// The answer, for whoever has the token it was given for.
    pub fn answer(&self, token: &RefreshToken) -> Option<Answer> {
        Answer::unlock(&self.answer, token)
    }

    /// True while the token may still be presented.
    pub(super) fn is_open(&self, now: UnixTime) -> bool {
        !self.successor_used || self.is_recent(now)
    }

    /// True within the window.
    pub(super) fn is_recent(&self, now: UnixTime) -> bool {
        now.since(self.at) <= REPLAY_WINDOW
    }
}

/// A key that only the holder of the token can derive.
fn key_of(token: &RefreshToken) -> Option<LessSafeKey> {
    let mut bytes = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, b"vestibule")
        .extract(token.expose().as_bytes())
        .expand(&[b"vestibule kept answer v1"], &AES_256_GCM_SIV)
        .and_then(|okm| okm.fill(bytes.as_mut()))
        .ok()?;
    let key = UnboundKey::new(&AES_256_GCM_SIV, bytes.as_ref()).ok()?;
    Some(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::random::SystemRandom;

    use super::*;

    fn answer() -> Answer {
        Answer::new(
            AccessToken::new("vat_secret"),
            Some(RefreshToken::new("vrs_next")),
            "a b".to_owned(),
            UnixTime(1_000),
            UnixTime(4_600),
        )
    }

    fn wire(answer: &Answer, now: u64) -> String {
        serde_json::to_string(&answer.response(UnixTime(now))).unwrap()
    }

    #[test]
    fn only_the_token_that_was_answered_opens_the_answer() {
        let token = RefreshToken::new("vrs_mine");
        let locked = answer().lock(&token, &SystemRandom);
        assert!(!locked.contains("vat_") && !locked.contains("secret"));
        let opened = Answer::unlock(&locked, &token).unwrap();
        assert_eq!(wire(&opened, 1_000), wire(&answer(), 1_000));
        for other in ["vrs_next", "vrs_mine ", ""] {
            assert!(Answer::unlock(&locked, &RefreshToken::new(other)).is_none());
        }
        assert!(Answer::unlock("", &token).is_none());
        assert!(Answer::unlock(&locked[1..], &token).is_none());
    }

    #[test]
    fn an_answer_is_the_same_within_the_window_and_true_after_it() {
        let answer = answer();
        assert_eq!(wire(&answer, 1_000), wire(&answer, 1_060));
        assert_eq!(answer.response(UnixTime(1_061)).expires_in, 3_539);
        assert_eq!(answer.response(UnixTime(9_999)).expires_in, 1);
        // A replica whose clock is behind.
        assert_eq!(wire(&answer, 1_000), wire(&answer, 990));
    }
}
