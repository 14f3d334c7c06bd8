//! The one place of the rig that asks what time it is: events carry the moment at which they were sent between processes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vestibule_oauth::time::UnixTime;

/// Since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures real time, across processes"
)]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The same in nanoseconds.
pub(crate) fn nanoseconds() -> u128 {
    since_1970().as_nanos()
}

/// Today, `YYYY-MM-DD` in UTC.
pub(crate) fn today() -> String {
    let mut text = UnixTime(since_1970().as_secs()).rfc3339();
    text.truncate("YYYY-MM-DD".len());
    text
}
