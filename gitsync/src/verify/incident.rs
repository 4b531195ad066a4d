//! Refusals that mean that history was rewritten: what was accepted before is not where it was. Nobody can make one good by
//! signing again; a person puts the ref back, or accepts the incident.
//!
//! Accepting waives one rule for one ref at one object, compared with what was accepted before: each of them is in the
//! incident's id, and verification asks for exactly that id. Everything else is asked as ever, the signature first.

use tk8s_core::Digest;

use super::policy::{Accepted, SeenTag};
use super::tags::{target, tree_of};
use super::{Refusal, Rule};
use crate::sealed::Fetched;

/// How much of a ref's name is in an id.
const LONGEST_NAME: usize = 40;
/// How many digits tell one incident from another. Whoever may push chooses the objects, and must not find two that a person
/// would accept by the same id: 96 bits, of which half are to be guessed.
const DIGITS: usize = 24;

/// A ref that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The rule that refuses it.
    pub rule: Rule,
    /// The full ref.
    pub reference: String,
    /// What it names now; nothing if it is gone.
    pub object: Option<String>,
    /// What was accepted before, and is compared with.
    pub before: String,
    /// What exactly was found.
    pub message: String,
    /// Of a tag that moved: what it would be known as from now on. Nothing if it is no tag object any more.
    pub seen: Option<SeenTag>,
}

impl Incident {
    /// Its name: the same for the same rule, ref, object and past, and for nothing else.
    pub fn id(&self) -> String {
        id(self.rule, &self.reference, self.object.as_deref(), &self.before)
    }

    /// Whether a person may accept it: there has to be something that it can be from now on.
    pub fn is_acceptable(&self) -> bool {
        self.rule != Rule::TagMoved || self.seen.is_some()
    }
}

impl Accepted {
    /// Whether a person accepted that this ref is at this object now (or is gone), though that was accepted before.
    pub(super) fn waives(&self, rule: Rule, reference: &str, object: Option<&str>, before: &str) -> bool {
        !self.incidents.is_empty() && self.incidents.contains(&id(rule, reference, object, before))
    }

    /// Whether a tag is gone, is what was accepted last, and a person accepted that it is gone.
    pub(super) fn knows_it_is_gone(&self, reference: &str) -> bool {
        self.tag_object(reference).is_some_and(|before| self.waives(Rule::TagVanished, reference, None, &before))
    }

    /// The object of the release that was accepted last, if it is this one.
    fn tag_object(&self, reference: &str) -> Option<String> {
        let (revision, _) = self.stands(reference)?;
        revision.tag.as_ref().map(|tag| tag.id.to_string())
    }
}

/// What of these refusals means that history was rewritten.
pub(super) fn incidents(fetched: &Fetched, refused: &[Refusal], accepted: &Accepted) -> Vec<Incident> {
    refused.iter().filter_map(|refusal| incident(fetched, refusal, accepted)).collect()
}

fn incident(fetched: &Fetched, refusal: &Refusal, accepted: &Accepted) -> Option<Incident> {
    let Refusal { reference, rule, message, .. } = refusal;
    let object = refusal.object.clone().filter(|object| !object.is_empty());
    let (before, seen) = match rule {
        Rule::NotDescendant => (accepted.head.as_ref()?.to_string(), None),
        // Of a release that was never accepted it only says that it was made in the wrong place.
        Rule::NotOnReleaseBranch => {
            accepted.standing(reference, object.as_deref()?)?;
            (accepted.head.as_ref()?.to_string(), None)
        }
        Rule::TagVanished => (accepted.tag_object(reference)?, None),
        Rule::TagMoved => {
            let before = accepted.tags.get(reference.strip_prefix("refs/tags/")?)?;
            let id = object.as_deref()?;
            let seen = target(fetched, id).zip(id.parse().ok()).map(|(commit, tag)| SeenTag {
                tag,
                tree: tree_of(fetched, &commit),
                commit,
            });
            (before.tag.to_string(), seen)
        }
        _ => return None,
    };
    Some(Incident { rule: *rule, reference: reference.clone(), object, before, message: message.clone(), seen })
}

fn id(rule: Rule, reference: &str, object: Option<&str>, before: &str) -> String {
    let word = match rule {
        Rule::TagMoved => "moved",
        Rule::TagVanished => "vanished",
        Rule::NotOnReleaseBranch => "off-branch",
        _ => "rewritten",
    };
    let name = reference.rsplit_once("refs/heads/").or(reference.rsplit_once("refs/tags/")).map_or(reference, |(_, name)| name);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = name.chars().take(LONGEST_NAME).map(plain).collect();
    let all = serde_json::json!([rule.reason(), reference, object, before]).to_string();
    format!("{word}.{name}.{}", &Digest::of(all).hex()[..DIGITS])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_id_is_plain_and_stands_for_one_rule_one_ref_one_object_and_one_past() {
        let of = |rule, reference, object, before| id(rule, reference, object, before);
        let known = of(Rule::NotDescendant, "refs/heads/main", Some("a"), "b");
        assert!(known.starts_with("rewritten.main.") && known.len() == "rewritten.main.".len() + DIGITS, "{known}");
        for (rule, word) in
            [(Rule::TagMoved, "moved.v1"), (Rule::TagVanished, "vanished.v1"), (Rule::NotOnReleaseBranch, "off-branch.v1")]
        {
            assert!(of(rule, "refs/tags/v1", Some("a"), "b").starts_with(word));
        }
        let others = [
            of(Rule::TagMoved, "refs/heads/main", Some("a"), "b"),
            of(Rule::NotDescendant, "refs/heads/main2", Some("a"), "b"),
            of(Rule::NotDescendant, "refs/tags/main", Some("a"), "b"),
            of(Rule::NotDescendant, "refs/heads/main", Some("b"), "b"),
            of(Rule::NotDescendant, "refs/heads/main", None, "b"),
            of(Rule::NotDescendant, "refs/heads/main", Some("a"), "a"),
            of(Rule::NotDescendant, "refs/heads/main\",\"a", Some("a"), "b"),
        ];
        assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
        assert!(!others.contains(&known));
        let odd = of(Rule::TagMoved, "refs/tags/v1/../ä\u{1b}[2J\n%00", None, "b");
        assert!(odd.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')), "{odd}");
        assert!(of(Rule::TagMoved, &"x".repeat(5000), None, "b").len() < 100);
    }
}
