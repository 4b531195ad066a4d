//! Which values of a file are encrypted: by the keys above them, as the file's metadata says (getsops/sops, `sops.go`).

use regex::{Regex, RegexBuilder};

use super::tree::Node;
use super::value::PREFIX;

/// A pattern may not become larger than this: a file is not trusted to mean well.
const LARGEST_PATTERN: usize = 1024 * 1024;

/// What SOPS takes if a file says nothing.
const DEFAULT_SUFFIX: &str = "_unencrypted";

pub(super) enum Rule {
    /// All, but what stands below a key that ends so.
    AllBut(String),
    /// Only what stands below a key that ends so.
    Only(String),
    /// All, but what stands below a key like this.
    AllButLike(Regex),
    /// Only what stands below a key like this.
    OnlyLike(Regex),
    /// By comments, which are not read here: what looks encrypted is. The MAC says whether that was right.
    ByLook,
}

impl Rule {
    /// The rule of a file, by its metadata.
    pub(super) fn of(metadata: &Node) -> Result<Rule, String> {
        let text = |key: &str| metadata.get(key).and_then(Node::as_str).filter(|text| !text.is_empty());
        let like = |key: &str, pattern: &str| {
            let built = RegexBuilder::new(pattern).size_limit(LARGEST_PATTERN).build();
            built.map_err(|_| format!("its `{key}` is no pattern that can be read: choose a simpler one when encrypting"))
        };
        let mut rules = Vec::new();
        rules.extend(text("unencrypted_suffix").map(|suffix| Rule::AllBut(suffix.into())));
        rules.extend(text("encrypted_suffix").map(|suffix| Rule::Only(suffix.into())));
        if let Some(pattern) = text("unencrypted_regex") {
            rules.push(Rule::AllButLike(like("unencrypted_regex", pattern)?));
        }
        if let Some(pattern) = text("encrypted_regex") {
            rules.push(Rule::OnlyLike(like("encrypted_regex", pattern)?));
        }
        rules.extend(["unencrypted_comment_regex", "encrypted_comment_regex"].into_iter().filter_map(text).map(|_| Rule::ByLook));
        match (rules.pop(), rules.is_empty()) {
            (None, _) => Ok(Rule::AllBut(DEFAULT_SUFFIX.into())),
            (Some(rule), true) => Ok(rule),
            (Some(_), false) => Err("its metadata has more than one rule of what is encrypted, which SOPS refuses too".into()),
        }
    }

    /// Whether the value below these keys is encrypted. `text`: the value, if it is a text.
    pub(super) fn encrypts(&self, path: &[String], text: Option<&str>) -> bool {
        match self {
            Rule::AllBut(suffix) => !path.iter().any(|key| key.ends_with(suffix.as_str())),
            Rule::Only(suffix) => path.iter().any(|key| key.ends_with(suffix.as_str())),
            Rule::AllButLike(pattern) => !path.iter().any(|key| pattern.is_match(key)),
            Rule::OnlyLike(pattern) => path.iter().any(|key| pattern.is_match(key)),
            Rule::ByLook => text.is_some_and(|text| text.starts_with(PREFIX)),
        }
    }
}
