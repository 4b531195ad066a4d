//! Whether enough people said yes to a release: thresholds by role, and whose yes counts.
//!
//! A person counts once for a role, however many keys and tags they have, and in one role only unless that is allowed. Whoever
//! made the release does not approve it. Asked when a release is looked at, and again when its first write begins: approvals
//! run out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use tk8s_core::{ApprovedBy, TagRef, Timestamp};

use crate::verify::Role;

/// Who has to say yes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalRules {
    /// How many people in each role. Never 0: a role that nobody has to have is not listed.
    pub required: BTreeMap<Role, usize>,
    /// Whose yes does not count.
    pub exclude: Exclusion,
    /// Whether one person may count in several roles.
    pub several_roles: bool,
    /// Whether somebody with the role `break-glass` may let a release in without those who are missing.
    pub break_glass: bool,
}

/// Whose yes does not count, as too near to what they approve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// Whoever signed the release's tag.
    #[default]
    TagSigner,
    /// And whoever signed the commit.
    Head,
    /// And whoever signed any commit that is new in it. There must be none that nobody is known to have signed.
    Range,
}

/// A release that people still have to say yes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unapproved {
    /// The release's tag.
    pub tag: TagRef,
    /// The roles in which somebody is still missing. There is at least one.
    pub missing: Vec<Missing>,
    /// Who said yes.
    pub given: Vec<ApprovedBy>,
}

/// A release that somebody let in without those who are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetIn {
    /// The release's tag.
    pub tag: TagRef,
    /// The roles in which somebody is missing.
    pub missing: Vec<Missing>,
    /// Who let it in, by which tag.
    pub by: ApprovedBy,
}

/// A role in which somebody is still missing. For people: `security-officer (1 of 2)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The role.
    pub role: Role,
    /// How many are there.
    pub have: usize,
    /// How many there have to be.
    pub need: usize,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} of {})", self.role.name(), self.have, self.need)
    }
}

impl ApprovalRules {
    /// The roles in which somebody is still missing; none if the release is approved. `makers`: whose yes does not count.
    ///
    /// Where people have several roles and may count in one of them only, they are counted where they are needed most: that is
    /// a matching of people and places, found by augmenting paths.
    pub fn missing(&self, approvals: &[ApprovedBy], makers: &BTreeSet<String>, now: Timestamp) -> Vec<Missing> {
        let mut people: BTreeMap<&str, BTreeSet<Role>> = BTreeMap::new();
        for approval in approvals.iter().filter(|approval| !makers.contains(&approval.signer)) {
            let role = self.required.keys().find(|role| role.name() == approval.role);
            if let Some(&role) = role.filter(|_| approval.expires.is_none_or(|expires| now < expires)) {
                people.entry(&approval.signer).or_default().insert(role);
            }
        }
        let filled = if self.several_roles { every(&people) } else { one_each(&people, &self.required) };
        let missing = self.required.iter().filter_map(|(&role, &need)| {
            let have = filled.get(&role).copied().unwrap_or(0);
            (have < need).then_some(Missing { role, have, need })
        });
        missing.collect()
    }
}

/// How many people are in each role.
fn every(people: &BTreeMap<&str, BTreeSet<Role>>) -> BTreeMap<Role, usize> {
    let mut filled = BTreeMap::new();
    people.values().flatten().for_each(|&role| *filled.entry(role).or_insert(0) += 1);
    filled
}

/// How many places of each role are filled when everybody takes one at most, and as many as can be are.
fn one_each(people: &BTreeMap<&str, BTreeSet<Role>>, required: &BTreeMap<Role, usize>) -> BTreeMap<Role, usize> {
    let mut placed: BTreeMap<Role, Vec<&str>> = BTreeMap::new();
    for person in people.keys() {
        place(person, people, required, &mut placed, &mut BTreeSet::new());
    }
    placed.into_iter().map(|(role, people)| (role, people.len())).collect()
}

/// Finds a place for a person, moving others to other roles that they have where that makes room.
fn place<'a>(
    person: &'a str,
    people: &BTreeMap<&'a str, BTreeSet<Role>>,
    required: &BTreeMap<Role, usize>,
    placed: &mut BTreeMap<Role, Vec<&'a str>>,
    tried: &mut BTreeSet<Role>,
) -> bool {
    for &role in &people[person] {
        if !tried.insert(role) {
            continue;
        }
        let there = placed.entry(role).or_default().clone();
        if there.len() < required[&role] {
            placed.entry(role).or_default().push(person);
            return true;
        }
        for other in there {
            if place(other, people, required, placed, tried) {
                let places = placed.entry(role).or_default();
                places.retain(|name| *name != other);
                places.push(person);
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Role {
        Role::ALL.into_iter().find(|role| role.name() == name).unwrap()
    }

    const LEAD: &str = "technical-lead";
    const SECURITY: &str = "security-officer";
    const OWNER: &str = "product-owner";

    fn rules(required: &[(&str, usize)]) -> ApprovalRules {
        let required = required.iter().map(|(name, need)| (role(name), *need)).collect();
        ApprovalRules { required, ..ApprovalRules::default() }
    }

    fn yes(name: &str, signer: &str) -> ApprovedBy {
        let (role, signer, tag) = (name.to_owned(), signer.to_owned(), "1".repeat(40).parse().unwrap());
        ApprovedBy { role, signer, fingerprint: "SHA256:x".into(), tag, expires: None }
    }

    fn missing(rules: &ApprovalRules, approvals: &[ApprovedBy]) -> Vec<(&'static str, usize, usize)> {
        let makers = BTreeSet::from(["maker".to_owned()]);
        let missing = rules.missing(approvals, &makers, "2026-06-01T00:00:00Z".parse().unwrap());
        missing.iter().map(|missing| (missing.role.name(), missing.have, missing.need)).collect()
    }

    #[test]
    fn every_role_needs_its_people() {
        let rules = rules(&[(LEAD, 1), (SECURITY, 2)]);
        assert_eq!(missing(&rules, &[]), [(SECURITY, 0, 2), (LEAD, 0, 1)]);
        assert_eq!(missing(&rules, &[yes(LEAD, "alice"), yes(SECURITY, "bob")]), [(SECURITY, 1, 2)]);
        assert_eq!(missing(&rules, &[yes(LEAD, "alice"), yes(SECURITY, "bob"), yes(SECURITY, "carol")]), []);
    }

    /// A43, threshold cheating: two keys, two tags, two roles of one person.
    #[test]
    fn a_person_is_counted_once() {
        let two = rules(&[(SECURITY, 2)]);
        assert_eq!(missing(&two, &[yes(SECURITY, "bob"), yes(SECURITY, "bob")]), [(SECURITY, 1, 2)]);
        let one_each = rules(&[(LEAD, 1), (SECURITY, 1)]);
        let both = [yes(LEAD, "bob"), yes(SECURITY, "bob")];
        assert_eq!(missing(&one_each, &both).len(), 1);
        assert_eq!(missing(&ApprovalRules { several_roles: true, ..one_each }, &both), []);
    }

    #[test]
    fn people_with_several_roles_are_counted_where_they_are_needed() {
        let rules = rules(&[(LEAD, 1), (SECURITY, 1), (OWNER, 1)]);
        // Whoever is asked first must not take the only place that somebody else can take.
        let approvals = [
            yes(LEAD, "alice"),
            yes(SECURITY, "alice"),
            yes(OWNER, "alice"),
            yes(LEAD, "bob"),
            yes(SECURITY, "bob"),
            yes(LEAD, "carol"),
        ];
        assert_eq!(missing(&rules, &approvals), []);
        assert_eq!(missing(&rules, &approvals[..5]).len(), 1);
    }

    #[test]
    fn who_makes_room_for_somebody_else_is_counted_where_they_go_and_nowhere_else() {
        let two = rules(&[(LEAD, 1), (SECURITY, 1)]);
        let bob = [yes(SECURITY, "bob"), yes(LEAD, "bob")];
        assert_eq!(missing(&two, &[&[yes(SECURITY, "alice")][..], &bob].concat()), [], "the first place is taken");
        assert_eq!(missing(&two, &[&bob[..], &[yes(SECURITY, "carol")]].concat()), [], "bob goes where carol can't");
        assert_eq!(missing(&two, &[yes(SECURITY, "alice"), yes(SECURITY, "carol")]), [(LEAD, 0, 1)]);
        let three = rules(&[(LEAD, 1), (SECURITY, 1), (OWNER, 1)]);
        let alice = [yes(LEAD, "alice"), yes(SECURITY, "alice"), yes(OWNER, "alice")];
        for only in [LEAD, SECURITY, OWNER] {
            let approvals = [&alice[..], &[yes(only, "bob"), yes(only, "carol")]].concat();
            assert_eq!(missing(&three, &approvals).len(), 1, "two of them are there, whoever comes first: {only}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_numbers() {
        let missing = rules(&[(SECURITY, 2)]).missing(&[yes(SECURITY, "bob")], &BTreeSet::new(), Timestamp::now());
        assert_eq!(missing[0].to_string(), "security-officer (1 of 2)");
    }

    /// A43, threshold cheating: one approves their own.
    #[test]
    fn whoever_made_the_release_does_not_approve_it() {
        assert_eq!(missing(&rules(&[(LEAD, 1)]), &[yes(LEAD, "maker")]), [(LEAD, 0, 1)]);
    }

    /// A43, threshold cheating: role mix-up, and what has run out.
    #[test]
    fn what_has_run_out_does_not_count_and_what_nobody_asks_for_is_no_help() {
        let late = |expires: &str| ApprovedBy { expires: Some(expires.parse().unwrap()), ..yes(LEAD, "alice") };
        let rules = rules(&[(LEAD, 1)]);
        assert_eq!(missing(&rules, &[late("2026-06-01T00:00:00Z")]), [(LEAD, 0, 1)]);
        assert_eq!(missing(&rules, &[late("2026-06-01T00:00:01Z")]), []);
        assert_eq!(missing(&rules, &[yes(OWNER, "alice")]), [(LEAD, 0, 1)]);
    }
}
