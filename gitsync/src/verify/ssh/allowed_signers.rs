//! OpenSSH's `allowed_signers` file (ssh-keygen(1), "ALLOWED SIGNERS"), read word by word as OpenSSH reads it, but for this:
//! a line that it would skip is an error here, so that whoever wrote it sees it; and times without `Z` are UTC and not of
//! wherever the program happens to run. The whole list is in `docs/security.md`.

use jiff::civil::DateTime;
use tk8s_core::Timestamp;

use super::Known;
use crate::Error;
use crate::verify::signers::{Credential, Key, Signer, with_release};

/// Reads the file.
pub(in crate::verify) fn parse(text: &str, name: &str) -> Result<Vec<Signer>, Error> {
    let mut signers = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        if is_blank(line) {
            continue;
        }
        let line = line_of(line).map_err(|why| Error::Signers { name: name.into(), line: Some(index + 1), why })?;
        let Line { principals, known, valid_after, valid_before } = line;
        let credential = Credential::Ssh(Known { open: true, ..known });
        signers.push(with_release(principals, Key { credential, valid_after, valid_before }));
    }
    Ok(signers)
}

/// White space, or a comment.
fn is_blank(line: &str) -> bool {
    let line = line.trim_matches(BLANKS);
    line.is_empty() || line.starts_with('#')
}

/// What a line says.
#[derive(Debug)]
pub(in crate::verify) struct Line {
    pub(in crate::verify) principals: String,
    pub(in crate::verify) known: Known,
    pub(in crate::verify) valid_after: Option<Timestamp>,
    pub(in crate::verify) valid_before: Option<Timestamp>,
}

/// What separates principals, options and key.
const BLANKS: [char; 3] = [' ', '\t', '\r'];

/// Reads one line: principals, options if there are any, a key; what follows is a comment.
pub(in crate::verify) fn line_of(line: &str) -> Result<Line, String> {
    let (principals, rest) = principals(line.trim_matches(BLANKS))?;
    let mut options = Options::default();
    let known = match Known::read(rest) {
        Some(known) => known,
        None => {
            let (given, after) = options_and_rest(rest)?;
            options = Options::read(given)?;
            Known::read(after).ok_or("its key can't be read")?
        }
    };
    let Options { authority, namespaces, valid_after, valid_before } = options;
    if let (Some(after), Some(before)) = (valid_after, valid_before)
        && before <= after
    {
        return Err("`valid-before` is not after `valid-after`".into());
    }
    let known = Known { authority, namespaces, principals: Some(principals.clone()), ..known };
    Ok(Line { principals, known, valid_after, valid_before })
}

/// The first word, and what follows. Quotes may stand in it, at its end (`alice,"bob builder"`), and hold blanks.
fn principals(line: &str) -> Result<(String, &str), String> {
    let end = line.find([' ', '\t', '\r', '"']).unwrap_or(line.len());
    let (principals, rest) = match line[end..].strip_prefix('"') {
        None => (line[..end].to_owned(), &line[end..]),
        Some(quoted) => {
            let (inside, rest) = quoted.split_once('"').ok_or("a quotation does not end")?;
            if !rest.is_empty() && !rest.starts_with(BLANKS) {
                return Err("a quotation of principals ends within a word".into());
            }
            (format!("{}{inside}", &line[..end]), rest)
        }
    };
    let rest = rest.trim_start_matches(BLANKS);
    if principals.is_empty() || rest.is_empty() {
        return Err("a line names principals and a key".into());
    }
    Ok((principals, rest))
}

/// The word of options, in which quotes may hold blanks and `\"` is no quote, and what follows.
fn options_and_rest(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' if escaped => {}
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok((&text[..at], text[at..].trim_start_matches(BLANKS))),
            _ => {}
        }
        escaped = character == '\\';
    }
    Err(if quoted { "a quotation does not end" } else { "its key can't be read" }.into())
}

/// What may stand between principals and key.
#[derive(Debug, Default)]
struct Options {
    authority: bool,
    namespaces: Option<String>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

impl Options {
    /// Each at most once: of two that contradict each other nobody could say which was meant.
    fn read(mut text: &str) -> Result<Options, String> {
        let mut options = Options::default();
        loop {
            let end = text.find(['=', ',']).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            let shown = tk8s_core::printable(name, 40);
            let name = name.to_ascii_lowercase();
            let twice = || Err(format!("the option `{shown}` occurs twice"));
            let rest = match (name.as_str(), rest.strip_prefix('=')) {
                ("cert-authority", None) => {
                    if std::mem::replace(&mut options.authority, true) {
                        return twice();
                    }
                    rest
                }
                ("namespaces" | "valid-after" | "valid-before", Some(value)) => {
                    let (value, rest) = quoted(value).map_err(|why| format!("the option `{shown}` {why}"))?;
                    let had = match name.as_str() {
                        "namespaces" => options.namespaces.replace(value).is_some(),
                        "valid-after" => options.valid_after.replace(time(&value)?).is_some(),
                        _ => options.valid_before.replace(time(&value)?).is_some(),
                    };
                    if had {
                        return twice();
                    }
                    rest
                }
                ("", _) => return Err("an option is empty".into()),
                _ => return Err(format!("the option `{shown}` is unknown, or not written as it has to be")),
            };
            match rest.strip_prefix(',') {
                Some(next) => text = next,
                None if rest.is_empty() => return Ok(options),
                None => return Err(format!("something follows the option `{shown}`")),
            }
        }
    }
}

/// A value in quotes, in which `\"` is a quote, and what follows.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let inside = text.strip_prefix('"').ok_or("has a value without quotes")?;
    let mut value = String::new();
    let mut characters = inside.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if characters.next_if(|(_, next)| *next == '"').is_some() => value.push('"'),
            '"' => return Ok((value, &inside[at + 1..])),
            other => value.push(other),
        }
    }
    Err("has a quotation that does not end")
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, optionally with `Z` or `UTC`.
fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{}` is not a time: write YYYYMMDD[HHMM[SS]][Z]", tk8s_core::printable(text, 40));
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let digits = match digits.len().checked_sub(3).and_then(|at| digits.split_at_checked(at)) {
        Some((digits, zone)) if zone.eq_ignore_ascii_case("utc") => digits,
        _ => digits,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return Err(wrong());
    }
    let number = |from: usize, to: usize| digits.get(from..to).map_or(Ok(0), str::parse::<i16>).map_err(|_| wrong());
    let small = |from, to| number(from, to).map(|number| number as i8);
    let time = DateTime::new(number(0, 4)?, small(4, 6)?, small(6, 8)?, small(8, 10)?, small(10, 12)?, small(12, 14)?, 0)
        .map_err(|_| wrong())?;
    // `99991231` is how people write `for ever`; it is some hours beyond the last time that there is here.
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).map_or(Timestamp::MAX, |time| time.timestamp());
    if time <= Timestamp::UNIX_EPOCH { Err(wrong()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn lines_are_read_as_openssh_reads_them() {
        for (before, principals) in [
            ("alice@example.com", "alice@example.com"),
            ("alice@example.com,*@example.org namespaces=\"git,file\"", "alice@example.com,*@example.org"),
            ("\"alice and bob\" namespaces=\"git\",valid-after=\"20240101\",valid-before=\"202501011200Z\"", "alice and bob"),
            ("alice,\"bob builder\" cert-authority", "alice,bob builder"),
            ("* NAMESPACES=\"git\"", "*"),
            ("*\tCert-Authority,namespaces=\"a\\\"b\" ", "*"),
            ("a valid-before=\"20250101utc\"", "a"),
        ] {
            let line = line_of(&format!(" \t{before} {KEY} a comment\r"));
            assert_eq!(line.map(|line| line.principals), Ok(principals.into()), "{before}");
        }
        for line in [
            "alice".to_owned(),
            format!("alice cert-authority=\"x\" {KEY}"),
            format!("alice cert-authority,cert-authority {KEY}"),
            format!("alice cert-authority, {KEY}"),
            format!("alice ,cert-authority {KEY}"),
            format!("alice cert-authority;x {KEY}"),
            format!("alice sparkle {KEY}"),
            format!("alice namespaces {KEY}"),
            format!("alice namespaces=git {KEY}"),
            format!("alice namespaces=\"git\"x {KEY}"),
            format!("alice namespaces=\"git {KEY}"),
            format!("alice namespaces=\"git\" namespaces=\"git\" {KEY}"),
            format!("alice namespaces=\"git\",namespaces=\"git\" {KEY}"),
            format!("alice valid-after=\"2024\" {KEY}"),
            format!("alice valid-after=\"20241301\" {KEY}"),
            format!("alice valid-after=\"20240230\" {KEY}"),
            format!("alice valid-after=\"19700101Z\" {KEY}"),
            format!("alice valid-after=\"20250101\",valid-before=\"20250101\" {KEY}"),
            format!("\"alice {KEY}"),
            format!("\"alice\"bob {KEY}"),
            format!("\"\" {KEY}"),
            "alice ssh-ed25519 AAAA".to_owned(),
            format!("alice {}", KEY.replace("ssh-ed25519", "ssh-rsa")),
        ] {
            assert!(line_of(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn blanks_and_quotes_within_quotes_belong_to_the_value() {
        for (written, read) in [("a b", "a b"), ("a\\\" b", "a\" b"), ("a,b\\\"\\\"\tc", "a,b\"\"\tc"), ("a\\b c", "a\\b c")] {
            let line = line_of(&format!("alice namespaces=\"{written}\",cert-authority {KEY}")).unwrap();
            assert_eq!((line.known.namespaces.as_deref(), line.known.authority), (Some(read), true), "{written}");
        }
    }

    #[test]
    fn a_line_that_openssh_would_skip_refuses_the_file_by_its_number() {
        let error = parse(&format!("# people\n\nalice {KEY}\nbob {KEY}x\n"), "signers").unwrap_err();
        assert!(matches!(error, Error::Signers { line: Some(4), .. }), "{error}");
    }

    #[test]
    fn a_time_without_a_zone_is_utc() {
        for (text, seconds) in [
            ("20250102", 1_735_776_000),
            ("20250102Z", 1_735_776_000),
            ("202501021230", 1_735_821_000),
            ("20250102123001z", 1_735_821_001),
            ("20250102123001UTC", 1_735_821_001),
        ] {
            assert_eq!(time(text).unwrap().as_second(), seconds, "{text}");
        }
        for text in ["", "2025010", "202501021", "2025010212", "2025010212300", "202501021230010", "2025010x"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
