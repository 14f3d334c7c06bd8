//! The one place of the rig that asks what time it is: events carry the moment at which they were sent between processes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Today, `YYYY-MM-DD` in UTC (Howard Hinnant's `civil_from_days`).
pub(crate) fn today() -> String {
    date(since_1970().as_secs() / 86_400)
}

fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_names() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(19_782), "2024-02-29");
        assert_eq!(date(20_778), "2026-11-21");
    }
}
