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

/// The text without what could be the login of a URL in it: `https://user:password@host/x` is told as `https://***@host/x`,
/// `git:password@host:x` as `***@host:x`. For whatever quotes what people wrote; a URL of ours can't hold one.
pub fn redacted(text: &str) -> String {
    let ends = |letter: char| letter.is_whitespace() || "\"'`<>,;{}[]()|".contains(letter);
    let pieces = text.split_inclusive(ends);
    let shown = pieces.map(|piece| match piece.char_indices().last() {
        Some((at, last)) if ends(last) => format!("{}{last}", without_login(&piece[..at])),
        _ => without_login(piece),
    });
    shown.collect()
}

/// One word without its login, if it could have one.
fn without_login(word: &str) -> String {
    let (scheme, rest) = word.split_once("://").map_or(("", word), |(before, rest)| (&word[..before.len() + 3], rest));
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let plain = rest.replace("%40", "@").replace("%3A", ":").replace("%3a", ":");
    // A slash may be part of a password that nobody encoded: then what stands before it is no host and port.
    let odd_port = rest[..authority].rsplit_once(':').is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit()));
    let login = match rest.rfind('@') {
        _ if scheme.is_empty() && !holds_login(&plain) => None,
        Some(at) if scheme.is_empty() || odd_port => Some(at),
        _ => rest[..authority].rfind('@'),
    };
    // Encoded marks hide a login from programs, and from nobody who reads it.
    match (login, holds_login(&plain)) {
        (Some(at), _) => format!("{scheme}***{}", &rest[at..]),
        (None, true) => format!("{scheme}***"),
        (None, false) => word.to_owned(),
    }
}

/// Whether a text could be, or begin with, `user:password@host`.
pub(crate) fn holds_login(text: &str) -> bool {
    text.split('/').any(|part| part.split_once(':').is_some_and(|(_, after)| after.contains('@')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_a_url_is_never_told() {
        for (text, shown) in [
            ("https://user:hunter2@host/x", "https://***@host/x"),
            ("see `https://user:hunter2@host:8443/x?y`: no", "see `https://***@host:8443/x?y`: no"),
            ("https://user:hun%40ter2@host/x", "https://***@host/x"),
            ("https://user:p@hunter2@host/x", "https://***@host/x"),
            ("https://user:p/hunter2@host/x", "https://***@host/x"),
            ("https://hunter2@host", "https://***@host"),
            ("https://user%3Ahunter2%40host/x", "https://***"),
            ("https://proxy/https://user:hunter2@host/x", "https://***"),
            ("git:hunter2@host:org/x", "***@host:org/x"),
            ("me@example.com:hunter2@host:org/x", "***@host:org/x"),
            ("url:https://user:hunter2@host", "url:https://***@host"),
            ("{url:https://user:hunter2@host}", "{url:https://***@host}"),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
    }

    #[test]
    fn what_holds_no_login_stays_as_it_is() {
        for text in [
            "",
            "apps/web.yaml:3: ConfigMap shop/web names no namespace",
            "ssh://host:22/x",
            "https://host:8443/org/x@v2",
            "git@host:org/x.git",
            "registry.example.com:5000/web@sha256:0123",
            "write `user@host:path` or `ssh://host/path`",
            "a: b@c, 12:30 me@example.com",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_twice_is_once(text in "\\PC{0,60}", near in "(https|ssh)?(://|:)?[a-c:@/%40ü '`,]{0,40}") {
            for text in [text, near] {
                let once = redacted(&text);
                proptest::prop_assert_eq!(redacted(&once), once);
            }
        }
    }
}
