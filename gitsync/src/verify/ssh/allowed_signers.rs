//! OpenSSH's `allowed_signers` file (ssh-keygen(1), "ALLOWED SIGNERS"), but for two things: a line that can't be read is an
//! error and not a line to skip, and times without `Z` are UTC, so that a verdict does not depend on where it is made.

use jiff::civil::DateTime;
use tk8s_core::Timestamp;

use super::Known;
use crate::Error;
use crate::known_hosts::glob;
use crate::verify::signers::{Credential, Key, Signer, with_release};

/// Reads the file.
pub(in crate::verify) fn parse(text: &str, name: &str) -> Result<Vec<Signer>, Error> {
    let mut signers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let signer = parse_line(line).map_err(|why| Error::Signers { name: name.into(), line: Some(index + 1), why })?;
        signers.push(signer);
    }
    Ok(signers)
}

fn parse_line(line: &str) -> Result<Signer, String> {
    let (principals, mut rest) = word(line)?;
    if principals.is_empty() || rest.is_empty() {
        return Err("a line names principals and a key".into());
    }
    let (mut namespaces, mut valid_after, mut valid_before) = (None, None, None);
    // One word of options, each at most once: of two that contradict each other nobody could say which was meant.
    if Known::read(rest).is_none() {
        let (options, after) = word_raw(rest)?;
        if after.is_empty() {
            return Err("its key can't be read".into());
        }
        let mut given = Vec::new();
        for option in split_options(options)? {
            let (option, value) =
                option.split_once('=').map_or((option, None), |(option, value)| (option, Some(value.trim_matches('"'))));
            if given.contains(&option.to_ascii_lowercase()) {
                return Err(format!("the option `{}` occurs twice", tk8s_core::printable(option, 40)));
            }
            given.push(option.to_ascii_lowercase());
            match (option.to_ascii_lowercase().as_str(), value) {
                ("cert-authority", None) => return Err("`cert-authority` is not supported yet: name the key itself".into()),
                ("namespaces", Some(list)) => namespaces = Some(list.to_owned()),
                ("valid-after", Some(time)) => valid_after = Some(read_time(time)?),
                ("valid-before", Some(time)) => valid_before = Some(read_time(time)?),
                (other, _) => return Err(format!("the option `{}` is unknown", tk8s_core::printable(other, 40))),
            }
        }
        rest = after;
    }
    let known = Known { namespaces, ..Known::read(rest).ok_or("its key can't be read")? };
    Ok(with_release(principals, Key { credential: Credential::Ssh(known), valid_after, valid_before }))
}

/// The first word, without its quotes, and what follows.
fn word(text: &str) -> Result<(String, &str), String> {
    match text.strip_prefix('"') {
        Some(quoted) => {
            let (inside, rest) = quoted.split_once('"').ok_or("a quotation does not end")?;
            Ok((inside.into(), rest.trim_start()))
        }
        None => {
            let end = text.find([' ', '\t']).unwrap_or(text.len());
            Ok((text[..end].into(), text[end..].trim_start()))
        }
    }
}

/// The first word, in which quotes may hold white space, and what follows.
fn word_raw(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok((&text[..at], text[at..].trim_start())),
            _ => {}
        }
    }
    if quoted { Err("a quotation does not end".into()) } else { Ok((text, "")) }
}

/// Options stand between commas; commas inside quotes belong to a value.
fn split_options(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut from, mut quoted) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    if parts.iter().any(|part| part.is_empty()) { Err("an option is empty".into()) } else { Ok(parts) }
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, optionally with `Z`.
fn read_time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{}` is not a time: write YYYYMMDD[HHMM[SS]][Z]", tk8s_core::printable(text, 40));
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return Err(wrong());
    }
    let number = |from: usize, to: usize| digits.get(from..to).map_or(Ok(0), str::parse::<i16>).map_err(|_| wrong());
    let small = |from, to| number(from, to).map(|number| number as i8);
    let time = DateTime::new(number(0, 4)?, small(4, 6)?, small(6, 8)?, small(8, 10)?, small(10, 12)?, small(12, 14)?, 0)
        .map_err(|_| wrong())?;
    time.to_zoned(jiff::tz::TimeZone::UTC).map(|time| time.timestamp()).map_err(|_| wrong())
}

/// Whether a comma-separated list of patterns names this text; a negated pattern that matches excludes it.
pub(super) fn list_matches(patterns: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(pattern, text) => return false,
            Some(_) => {}
            None => found |= glob(pattern, text),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn lines_are_read_as_openssh_reads_them() {
        for line in [
            format!("alice@example.com {KEY}"),
            format!("alice@example.com,*@example.org namespaces=\"git,file\" {KEY} comment"),
            format!("\"alice and bob\" namespaces=\"git\",valid-after=\"20240101\",valid-before=\"202501011200Z\" {KEY}"),
            format!("* NAMESPACES=\"git\" {KEY}"),
        ] {
            assert!(parse_line(&line).is_ok(), "{line}: {:?}", parse_line(&line).err());
        }
        for line in [
            "alice".to_owned(),
            format!("alice cert-authority {KEY}"),
            format!("alice sparkle {KEY}"),
            format!("alice valid-after=\"2024\" {KEY}"),
            format!("alice valid-after=\"20241301\" {KEY}"),
            format!("\"alice {KEY}"),
            "alice ssh-ed25519 AAAA".to_owned(),
        ] {
            assert!(parse_line(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn pattern_lists_exclude_before_they_include() {
        assert!(list_matches("git,file", "git"));
        assert!(list_matches("*", "git"));
        assert!(!list_matches("*,!git", "git"));
        assert!(!list_matches("file", "git"));
    }
}
