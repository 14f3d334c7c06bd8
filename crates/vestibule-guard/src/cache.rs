//! Remembers good tokens for a while, so that a signature or an introspection is paid for once.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use vestibule_oauth::keyed_hash::{KeyedHash, TextHash};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::{Clock, UnixTime};
use vestibule_oauth::url::ResourceUri;

use crate::caller::{TokenRefusal, Verified, VerifyToken};
use crate::recent::{AsItIs, DEFAULT_LIMIT, Recent};

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// At most this many tokens; 0 remembers none. One takes two kilobytes, more when it has many claims.
    pub tokens: usize,
    /// At most this many seconds, and never longer than a token is good. A token that is revoked, or whose key is
    /// withdrawn, may pass this much longer.
    pub seconds: u64,
}

impl Default for CacheLimits {
    /// 4096 tokens for a minute.
    fn default() -> Self {
        Self {
            tokens: DEFAULT_LIMIT,
            seconds: 60,
        }
    }
}

/// A verifier that remembers what another one found good. Refusals are not remembered: they would let a stranger fill
/// the memory, and keep out a token whose key arrives a moment later.
///
/// Tokens are told apart by a keyed hash of the whole text with the resource, and not kept as text: a token whose signature
/// was cut off or exchanged is another token.
#[derive(Debug)]
pub struct Cached<V: VerifyToken> {
    inner: V,
    clock: Arc<dyn Clock>,
    seconds: u64,
    hashes: KeyedHash,
    names: RandomState,
    known: Recent<Name, Known<V::Extra>, AsItIs>,
    /// What came once; `None` where once is enough.
    seen: Option<Recent<Name, (), AsItIs>>,
}

/// Where a token is looked for. What is found there is the token only if the whole of it has the same hash.
type Name = u64;

/// A good token's hash, and what it says.
type Known<E> = (TextHash, Arc<Verified<E>>);

impl<V: VerifyToken> Cached<V> {
    /// Remembers what `inner` finds good.
    pub fn new(inner: V, clock: Arc<dyn Clock>, limits: CacheLimits) -> Self {
        Self {
            inner,
            clock,
            seconds: limits.seconds,
            // Not as parameters: nothing that anybody sees depends on which keys they are.
            hashes: KeyedHash::new(&SystemRandom),
            names: RandomState::new(),
            known: Recent::with_hasher(limits.tokens),
            seen: None,
        }
    }

    /// The same, remembering a token when it comes for the second time. For tokens that end in a signature or a tag, which
    /// costs no more to check than to remember all that such a token says: a crowd that comes once each takes neither time
    /// nor memory from those who stay. Not for a check that asks a server.
    #[must_use]
    pub fn at_second_sight(mut self) -> Self {
        self.seen = Some(Recent::with_hasher(self.known.limit()));
        self
    }

    /// A signature's end tells good tokens apart, and takes a tenth of the time that all of the token takes. Other tokens may
    /// all end alike.
    fn name(&self, token: &str, resource: &ResourceUri) -> Name {
        let whole = token.as_bytes();
        let told = match whole.last_chunk::<16>() {
            Some(end) if self.seen.is_some() => end.as_slice(),
            _ => whole,
        };
        self.names.hash_one((told, resource.as_str()))
    }

    /// Whether a good token is one to remember.
    fn comes_again(&self, name: Name, now: UnixTime, until: UnixTime) -> bool {
        let Some(seen) = &self.seen else {
            return true;
        };
        // Two with one name are remembered too early, and that is all.
        let came_before = seen.get(&name, now).is_some();
        if !came_before {
            seen.put(name, (), until);
        }
        came_before
    }
}

impl<V: VerifyToken> VerifyToken for Cached<V> {
    type Extra = V::Extra;

    async fn verify(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> Result<Verified<V::Extra>, TokenRefusal> {
        let verified = self.verify_shared(token, resource).await?;
        Ok(Arc::unwrap_or_clone(verified))
    }

    async fn verify_shared(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> Result<Arc<Verified<V::Extra>>, TokenRefusal> {
        let now = self.clock.now();
        let name = self.name(token, resource);
        if let Some((hash, verified)) = self.known.get(&name, now)
            && hash == self.hashes.of(token, resource.as_str())
        {
            return Ok(verified);
        }
        let verified = self.inner.verify_shared(token, resource).await?;
        // The moment before the check: what was good then is remembered from then.
        let until = now.plus(self.seconds).min(verified.expires_at);
        if until > now && self.comes_again(name, now, until) {
            let hash = self.hashes.of(token, resource.as_str());
            self.known.put(name, (hash, Arc::clone(&verified)), until);
        }
        Ok(verified)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use vestibule_oauth::time::ManualClock;

    use super::*;
    use crate::testing::{NOW, RESOURCE};

    /// Believes tokens that end in `ok`, and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Counting(Arc<AtomicUsize>);

    impl VerifyToken for Counting {
        type Extra = ();

        async fn verify(&self, token: &str, _: &ResourceUri) -> Result<Verified, TokenRefusal> {
            self.0.fetch_add(1, Ordering::SeqCst);
            if token.ends_with("ok") {
                Ok(Verified::new(token, "desktop", NOW.plus(50), ()))
            } else {
                Err(TokenRefusal::Signature)
            }
        }
    }

    fn cached(tokens: usize) -> (Cached<Counting>, Arc<AtomicUsize>, Arc<ManualClock>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let clock = Arc::new(ManualClock::new(NOW));
        let limits = CacheLimits {
            tokens,
            seconds: 30,
        };
        let inner = Counting(Arc::clone(&asked));
        (
            Cached::new(inner, Arc::clone(&clock) as Arc<dyn Clock>, limits),
            asked,
            clock,
        )
    }

    async fn ask(cached: &Cached<Counting>, token: &str) -> Result<Verified, TokenRefusal> {
        let resource = ResourceUri::parse(RESOURCE).unwrap();
        cached.verify(token, &resource).await
    }

    #[tokio::test]
    async fn a_good_token_is_checked_once_until_its_time_is_over() {
        let (cached, asked, clock) = cached(10);
        for _ in 0..5 {
            assert_eq!(ask(&cached, "ok").await.unwrap().subject, "ok");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        clock.advance(30);
        ask(&cached, "ok").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "the limit of the cache");
        clock.advance(20);
        ask(&cached, "ok").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 3, "the token's own end");
    }

    #[tokio::test]
    async fn refusals_other_resources_and_forged_neighbours_are_asked_every_time() {
        let (cached, asked, _clock) = cached(10);
        ask(&cached, "head.payload.ok").await.unwrap();
        for _ in 0..2 {
            assert!(ask(&cached, "head.payload.forged").await.is_err());
        }
        let other = ResourceUri::parse("https://other.example/mcp").unwrap();
        cached.verify("head.payload.ok", &other).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_flood_of_good_tokens_does_not_push_out_the_busy_one() {
        let (cached, asked, _clock) = cached(8);
        for n in 0..100 {
            ask(&cached, "busy-ok").await.unwrap();
            ask(&cached, &format!("{n}ok")).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 101);
    }

    #[tokio::test]
    async fn a_crowd_that_comes_once_each_pushes_out_nobody() {
        let (cached, asked, _clock) = cached(8);
        let cached = cached.at_second_sight();
        let mut expected = 2;
        for _ in 0..3 {
            ask(&cached, "quiet-ok").await.unwrap();
        }
        assert_eq!(
            asked.load(Ordering::SeqCst),
            expected,
            "known at second sight"
        );
        for n in 0..100 {
            ask(&cached, &format!("{n}ok")).await.unwrap();
            expected += 1;
        }
        ask(&cached, "quiet-ok").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), expected);
    }

    #[tokio::test]
    async fn a_token_with_the_end_of_a_known_one_is_not_taken_for_it() {
        let (cached, asked, _clock) = cached(8);
        let cached = cached.at_second_sight();
        let with_end = |beginning: &str| format!("{beginning}.0123456789abcdefok");
        for _ in 0..3 {
            ask(&cached, &with_end("alice")).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        for beginning in ["mallory", "alic", "alice.alice", ""] {
            let verified = ask(&cached, &with_end(beginning)).await.unwrap();
            assert_eq!(verified.subject, with_end(beginning));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 6, "each was checked itself");
    }

    #[tokio::test]
    async fn with_room_for_none_each_is_asked_again() {
        let (cached, asked, _clock) = cached(0);
        for _ in 0..3 {
            ask(&cached, "ok").await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}
