//! Dates as the AWS protocols write them: `20150830T123600Z` in signatures, RFC 3339 in credentials.

use vestibule_oauth::time::UnixTime;

const DAY: u64 = 86_400;

/// `20150830T123600Z`.
pub(super) fn amz_date(time: UnixTime) -> String {
    let (year, month, day) = date_of(time.0 / DAY);
    let seconds = time.0 % DAY;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Reads `2015-08-30T12:36:00Z`, with or without a fraction, with `Z` or an offset. A fraction is dropped.
pub(super) fn parse_rfc3339(text: &str) -> Option<UnixTime> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let bytes = text.as_bytes();
    if separators
        .iter()
        .any(|(at, wanted)| bytes.get(*at) != Some(wanted))
        || !matches!(bytes.get(10), Some(b'T' | b't' | b' '))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let days_in_month = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=days_in_month).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let local = days_until(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    let rest = text.get(19..)?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|character: char| character.is_ascii_digit()),
        None => rest,
    };
    if zone.eq_ignore_ascii_case("z") {
        return Some(UnixTime(local));
    }
    let at = text.len() - zone.len();
    if zone.len() != 6 || bytes.get(at + 3) != Some(&b':') {
        return None;
    }
    let offset = number(at + 1..at + 3)? * 3600 + number(at + 4..at + 6)? * 60;
    match bytes.get(at)? {
        b'+' => local.checked_sub(offset).map(UnixTime),
        b'-' => Some(UnixTime(local + offset)),
        _ => None,
    }
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Days from 1970-01-01 until that day; the inverse of [`date_of`].
fn days_until(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(amz_date(UnixTime(1_440_938_160)), "20150830T123600Z");
        assert_eq!(amz_date(UnixTime(951_782_400)), "20000229T000000Z");
        assert_eq!(
            parse_rfc3339("2015-08-30T12:36:00Z"),
            Some(UnixTime(1_440_938_160))
        );
        assert_eq!(
            parse_rfc3339("2015-08-30T14:36:00.123+02:00"),
            Some(UnixTime(1_440_938_160))
        );
        assert_eq!(
            parse_rfc3339("2015-08-30T07:06:00-05:30"),
            Some(UnixTime(1_440_938_160))
        );
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for wrong in [
            "",
            "2015-08-30",
            "2015-13-30T12:36:00Z",
            "2015-04-31T12:36:00Z",
            "2015-08-30T24:00:00Z",
            "2015-08-30T12:36:00",
            "2015-08-30T12:36:00+0200",
            "2015-08-30T12:36:0éZ",
            "+015-08-30T12:36:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(seconds in 0_u64..253_402_300_800) {
            let text = amz_date(UnixTime(seconds));
            let spread = format!(
                "{}-{}-{}T{}:{}:{}Z",
                &text[0..4], &text[4..6], &text[6..8], &text[9..11], &text[11..13], &text[13..15]
            );
            prop_assert_eq!(parse_rfc3339(&spread), Some(UnixTime(seconds)));
        }

        #[test]
        fn nothing_makes_the_reader_panic(text in "\\PC{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
