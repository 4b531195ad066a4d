//! Text from outside, made fit for a terminal, a log line or an error message.

/// At most `limit` characters of `text`, control characters replaced, so that nothing from outside can move a cursor or
/// forge a log line.
pub fn printable(text: &str, limit: usize) -> String {
    let mut shown: String = text.chars().take(limit).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}
