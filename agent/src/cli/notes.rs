//! What charts say to whoever installs them, made fit for a terminal.
//!
//! Notes are written by a template from values, so they may quote a password. What stands in a Secret of the chart is hidden
//! in its notes too; a value that stands in none can't be known. That is why notes are shown to who has the files and asks
//! for them, and are kept in no release.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tk8s_core::{Placed, printable};

/// More than anybody reads.
const LONGEST: usize = 64 * 1024;
/// Shorter values are words of everyday, and guessed as soon as hidden.
const SHORTEST: usize = 4;

/// The values of the Secrets among some objects, longest first: one may be part of another.
pub(super) fn secrets(objects: &[Placed]) -> Vec<String> {
    let secrets = objects.iter().filter(|placed| placed.manifest.is_secret());
    let data = secrets.filter_map(|placed| placed.manifest.object().get("data")?.as_object());
    let values = data.flat_map(|data| data.values()).filter_map(|value| STANDARD.decode(value.as_str()?).ok());
    let mut texts: Vec<_> = values.filter_map(|bytes| Some(String::from_utf8(bytes).ok()?.trim().to_owned())).collect();
    texts.retain(|text| text.len() >= SHORTEST);
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    texts.dedup();
    texts
}

/// The notes without these texts, in printable characters, cut where nobody reads on.
pub(super) fn shown(notes: &str, hidden: &[String]) -> String {
    let mut text = notes.to_owned();
    for secret in hidden {
        let encoded = STANDARD.encode(secret);
        text = text.replace(secret, "***").replace(&encoded, "***");
    }
    let cut: String = text.chars().take(LONGEST).collect();
    let mut lines: Vec<_> = cut.trim_end().lines().map(|line| printable(&line.replace('\t', "    "), LONGEST)).collect();
    if cut.len() < text.len() {
        lines.push("…".into());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_printable_bounded_and_without_the_values_of_secrets() {
        let hidden = ["hunter2-and-more".to_owned(), "hunter2".into()];
        let notes = "log in\twith hunter2-and-more\r\n\x1b[31mhunter2 or aHVudGVyMg==\n\n";
        assert_eq!(shown(notes, &hidden), "log in    with ***\n\u{fffd}[31m*** or ***");
        let long = shown(&"x\n".repeat(LONGEST), &[]);
        assert!(long.len() <= LONGEST + 4 && long.ends_with("\n…"));
    }
}
