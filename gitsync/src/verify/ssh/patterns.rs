//! Pattern lists, as OpenSSH matches them (ssh_config(5), "PATTERNS").

use crate::known_hosts::glob;

/// OpenSSH gives up on a list with a longer pattern.
const LONGEST: usize = 1023;

/// Whether a comma-separated list of patterns names this text; a negated pattern that matches excludes it.
pub(super) fn list_matches(patterns: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        let (negated, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |pattern| (true, pattern));
        if pattern.len() >= LONGEST {
            return false;
        }
        // An empty pattern matches empty text, which is nobody's name.
        if !pattern.is_empty() && glob(pattern, text) {
            if negated {
                return false;
            }
            found = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_lists_exclude_before_they_include() {
        for (patterns, text, is) in [
            ("git,file", "git", true),
            ("*", "git", true),
            ("g?t", "git", true),
            ("*,!git", "git", false),
            ("!git,*", "git", false),
            ("!file,*", "git", true),
            ("!file", "git", false),
            ("file", "git", false),
            ("GIT", "git", false),
            ("", "git", false),
            (",git,", "git", true),
            ("", "", false),
        ] {
            assert_eq!(list_matches(patterns, text), is, "{patterns} {text}");
        }
        assert!(!list_matches(&format!("git,{}", "a".repeat(LONGEST)), "git"), "as OpenSSH");
    }
}
