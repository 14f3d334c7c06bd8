//! The origin lock: behind CloudFront or a load balancer, a request that did not come through it is refused
//! (facts/deployment-and-operations.md §6 "Origin lock").

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderName};

use vestibule_oauth::secret::Secret;

/// The header that the front adds. It is never passed on to an MCP server.
pub const ORIGIN_HEADER: HeaderName = HeaderName::from_static("x-vestibule-origin");

/// The secrets that open the lock: the current one, and the previous one while it is being replaced. Only digests are
/// kept.
#[derive(Debug)]
pub(crate) struct OriginLock(Vec<[u8; 32]>);

impl OriginLock {
    /// Without a secret everybody may come in.
    pub(crate) fn new(secrets: &[Secret]) -> Self {
        Self(
            secrets
                .iter()
                .map(|secret| hash(secret.expose().as_bytes()))
                .collect(),
        )
    }

    /// True when the request may come in. Liveness and readiness are asked for by machines beside us, not through the
    /// front; they say nothing worth hiding.
    pub(crate) fn admits(&self, path: &str, headers: &HeaderMap) -> bool {
        if self.0.is_empty() || matches!(path, "/healthz" | "/readyz") {
            return true;
        }
        let mut values = headers.get_all(ORIGIN_HEADER).iter();
        let (Some(only), None) = (values.next(), values.next()) else {
            return false;
        };
        let presented = hash(only.as_bytes());
        // All are compared, whichever matches, in constant time.
        let matching = self
            .0
            .iter()
            .filter(|own| verify_slices_are_equal(own.as_slice(), &presented).is_ok());
        matching.count() > 0
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (ORIGIN_HEADER, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn an_attacker_who_goes_around_the_front_stays_outside() {
        let lock = OriginLock::new(&[Secret::new("current"), Secret::new("previous")]);
        assert!(lock.admits("/token", &headers(&["current"])));
        assert!(lock.admits("/token", &headers(&["previous"])));
        for wrong in [
            &[][..],
            &[""],
            &["curren"],
            &["current "],
            &["Current"],
            &["wrong", "current"],
            &["current", "current"],
        ] {
            assert!(!lock.admits("/token", &headers(wrong)), "{wrong:?}");
        }
        assert!(lock.admits("/healthz", &HeaderMap::new()));
        assert!(!lock.admits("/healthz/..", &HeaderMap::new()));
        assert!(OriginLock::new(&[]).admits("/token", &HeaderMap::new()));
    }
}
