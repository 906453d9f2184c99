//! Durations, sizes and places as people write them.

use std::time::Duration;

use hcube_api::clients::ResetTo;
use hcube_api::messages::Start;

/// A bound that may be lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// No bound any more: `none`.
    None,
    /// At most this.
    Some(u64),
}

impl Bound {
    /// As a merge patch wants it: null lifts the bound.
    pub fn to_patch(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Some(most) => Some(most),
        }
    }
}

/// A duration such as `1500ms`, `30s`, `5m`, `12h` or `7d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 500ms, 30s, 5m, 12h or 7d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit_ms: u64 = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// An age in milliseconds, at least one.
pub fn parse_age(text: &str) -> Result<u64, String> {
    let ms = u64::try_from(parse_duration(text)?.as_millis()).map_err(|_| "that is too long".to_owned())?;
    at_least_one(ms)
}

/// A size in bytes such as `4096`, `64KiB`, `10MB` or `1GiB`, at least one.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size such as 4096, 64KiB, 10MB or 1GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match &text[digits..] {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    at_least_one(number.checked_mul(unit).ok_or_else(wrong)?)
}

/// [`parse_age`], or `none`.
pub fn parse_age_or_none(text: &str) -> Result<Bound, String> {
    if text == "none" { Ok(Bound::None) } else { parse_age(text).map(Bound::Some) }
}

/// [`parse_bytes`], or `none`.
pub fn parse_bytes_or_none(text: &str) -> Result<Bound, String> {
    if text == "none" { Ok(Bound::None) } else { parse_bytes(text).map(Bound::Some) }
}

/// `earliest`, `latest` or `timestamp:MS`.
pub fn parse_reset(text: &str) -> Result<ResetTo, String> {
    match text.parse() {
        Ok(Start::Earliest) => Ok(ResetTo::Earliest),
        Ok(Start::Latest) => Ok(ResetTo::Latest),
        Ok(Start::Timestamp(ms)) => Ok(ResetTo::TimestampMs(ms)),
        _ => Err(format!("{text:?} is not earliest, latest or timestamp:MS")),
    }
}

fn at_least_one(number: u64) -> Result<u64, String> {
    if number == 0 { Err("nothing would be kept; delete the topic instead".into()) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "7", "d", "-1s", "1.5s", "7days", "99999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_tell_binary_from_decimal() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("1MB"), Ok(1_000_000));
        assert_eq!(parse_bytes("1MiB"), Ok(1 << 20));
        for wrong in ["", "0", "MB", "1mb", "99999999999TiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn none_lifts_a_bound_and_zero_is_no_bound() {
        assert_eq!(parse_age_or_none("none").map(Bound::to_patch), Ok(None));
        assert_eq!(parse_bytes_or_none("5").map(Bound::to_patch), Ok(Some(5)));
        assert!(parse_age("0s").is_err());
    }

    #[test]
    fn resets_lead_to_three_kinds_of_places() {
        assert_eq!(parse_reset("timestamp:5"), Ok(ResetTo::TimestampMs(5)));
        assert!(parse_reset("17").is_err());
    }
}
