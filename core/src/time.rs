//! Times as people write them.

use std::time::Duration;

/// `1h30m`, `5m`, `30s`, `500ms`: above zero, at most a year.
pub fn read_duration(text: &str) -> Option<Duration> {
    let mut left = text;
    let mut total = Duration::ZERO;
    while !left.is_empty() {
        let digits = left.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = left.get(..digits)?.parse().ok()?;
        left = &left[digits..];
        let unit = left.bytes().take_while(u8::is_ascii_alphabetic).count();
        let millis = match &left[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        left = &left[unit..];
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
    }
    // A year is longer than anything that is waited for here.
    (total > Duration::ZERO && total <= Duration::from_secs(366 * 24 * 3600)).then_some(total)
}
