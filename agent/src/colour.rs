//! Whether somebody sees colours.

use std::io::IsTerminal;

/// Whether this stream is a terminal that shows colours, whose user did not say no: <https://no-color.org>, where an empty
/// variable says nothing.
pub fn seen_on(stream: &impl IsTerminal) -> bool {
    let says_no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !says_no && !is_dumb
}
