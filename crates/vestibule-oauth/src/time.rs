//! Time as the protocols count it: whole seconds, always handed in through a [`Clock`], and written as RFC 3339.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970-01-01T00:00:00Z (RFC 7519 `NumericDate` without fractions).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// This moment plus `seconds`, saturating.
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// This moment minus `seconds`, saturating at the epoch.
    #[must_use]
    pub fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` until this moment; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `2026-11-21T12:15:00Z` (RFC 3339). That form has four digits for the year: what lies beyond is the last second of
    /// 9999.
    pub fn rfc3339(self) -> String {
        i64::try_from(self.0.min(LAST_WRITTEN))
            .ok()
            .and_then(|seconds| UtcDateTime::from_unix_timestamp(seconds).ok())
            .and_then(|moment| moment.format(&Rfc3339).ok())
            .unwrap_or_default()
    }

    /// Reads `2015-08-30T12:36:00Z` (RFC 3339), with `Z` or an offset. A fraction of a second is dropped. `None` for what
    /// is no moment, and for what was before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        // The RFC leaves it to applications what stands between date and time; these are what is written.
        if !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
            return None;
        }
        let moment = UtcDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(moment.unix_timestamp()).ok().map(Self)
    }
}

/// 9999-12-31T23:59:59Z.
const LAST_WRITTEN: u64 = 253_402_300_799;

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where "now" comes from: the system in production, a hand-set value in tests.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current moment.
    fn now(&self) -> UnixTime;
}

/// The computer's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one home of the system clock"
    )]
    fn now(&self) -> UnixTime {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        UnixTime(elapsed.map_or(0, |elapsed| elapsed.as_secs()))
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::atomic::AtomicU64);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: UnixTime) -> Self {
        Self(std::sync::atomic::AtomicU64::new(start.0))
    }

    /// Moves the clock forward.
    pub fn advance(&self, seconds: u64) {
        self.0
            .fetch_add(seconds, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_440_938_160, "2015-08-30T12:36:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_262_400, "2026-11-21T12:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST_WRITTEN, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(UnixTime(seconds).rfc3339(), text);
            assert_eq!(UnixTime::parse_rfc3339(text), Some(UnixTime(seconds)));
        }
        assert_eq!(UnixTime(u64::MAX).rfc3339(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn offsets_fractions_and_blanks_are_read() {
        for text in [
            "2015-08-30T14:36:00.123+02:00",
            "2015-08-30T07:06:00-05:30",
            "2015-08-30T12:36:00.123456789123Z",
            "2015-08-30t12:36:00z",
            "2015-08-30 12:36:00Z",
        ] {
            let read = UnixTime::parse_rfc3339(text);
            assert_eq!(read, Some(UnixTime(1_440_938_160)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for wrong in [
            "",
            "2015-08-30",
            "2015-13-30T12:36:00Z",
            "2015-02-29T12:36:00Z",
            "2015-04-31T12:36:00Z",
            "2015-08-30T24:00:00Z",
            "2015-08-30T12:36:00",
            "2015-08-30T12:36:00.Z",
            "2015-08-30T12:36:00Z ",
            "2015-08-30T12:36:00+0200",
            "2015-08-30T12:36:00+24:00",
            "2015-08-30T12:36:0éZ",
            "2015-08-30_12:36:00Z",
            "2015-08-30é12:36:00Z",
            "+015-08-30T12:36:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
        ] {
            assert_eq!(UnixTime::parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(seconds in 0..=LAST_WRITTEN) {
            let text = UnixTime(seconds).rfc3339();
            prop_assert_eq!(UnixTime::parse_rfc3339(&text), Some(UnixTime(seconds)));
        }

        #[test]
        fn nothing_makes_the_reader_panic(text in "\\PC{0,40}") {
            let _ = UnixTime::parse_rfc3339(&text);
        }
    }
}
