//! Durations (`"1h"`, `"90s"`, `"30d"`) and sizes (`"64KiB"`, `"32MiB"`) as people write them.

use std::time::Duration;

/// Reads a whole number with one unit (`ms`, `s`, `m`, `h`, `d`), or seconds without a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "'{text}' is not a duration: write a whole number and s, m, h or d, as in \"90s\" or \"1h\""
        )
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// Reads a whole number of bytes with an optional `KiB` or `MiB` or `GiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let wrong = || {
        format!(
            "'{text}' is not a size: write a whole number of bytes, or one with KiB or MiB, as in \"64KiB\""
        )
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(factor)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(wrong)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("1h", 3600),
            ("30d", 2_592_000),
            ("5m", 300),
            ("45", 45),
            ("2 min", 120),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in [
            "",
            "h",
            "1h30m",
            "-1s",
            "1.5h",
            "1w",
            "99999999999999999999d",
            "9999999999999999999d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_count_in_powers_of_two() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("32 MiB"), Ok(33_554_432));
        assert_eq!(size("1024"), Ok(1024));
        for wrong in ["64KB", "64k", "", "MiB", "-1"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
