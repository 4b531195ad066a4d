//! Which components have to be looked at, and nothing else is: looking at ten thousand objects at each change in the cluster
//! would cost more than everything that is done about the change.

use std::collections::BTreeSet;

use tk8s_core::{ComponentName, ObjectKey};
use tk8s_diff::live::Touched;

/// Components that something may have happened to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Attention {
    #[default]
    None,
    Some(BTreeSet<ComponentName>),
    All,
}

impl Attention {
    /// Those to which what the watches told belongs. What belongs to none is nobody's drift.
    pub(super) fn to(touched: Touched, owner: impl Fn(&ObjectKey) -> Option<ComponentName>) -> Attention {
        match touched {
            Touched::Nothing => Attention::None,
            Touched::Objects(keys) => Attention::Some(keys.iter().filter_map(owner).collect()),
            Touched::Anything => Attention::All,
        }
    }

    /// These as well.
    pub(super) fn extend(&mut self, other: Attention) {
        match (&mut *self, other) {
            (_, Attention::None) | (Attention::All, _) => {}
            (Attention::Some(names), Attention::Some(more)) => names.extend(more),
            (_, other) => *self = other,
        }
    }

    pub(super) fn is_for(&self, name: &ComponentName) -> bool {
        match self {
            Attention::None => false,
            Attention::Some(names) => names.contains(name),
            Attention::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_touched_is_looked_at_unless_anything_may_have_been() {
        let name = |name: &str| name.parse::<ComponentName>().unwrap();
        let key = |name: &str| ObjectKey { group: String::new(), kind: "A".into(), namespace: None, name: name.into() };
        let owner = |key: &ObjectKey| (key.name != "nobodys").then(|| key.name.parse().unwrap());
        let mut attention = Attention::to(Touched::Objects([key("web"), key("nobodys")].into()), owner);
        assert!(attention.is_for(&name("web")) && !attention.is_for(&name("nobodys")) && !attention.is_for(&name("db")));
        attention.extend(Attention::None);
        attention.extend(Attention::Some([name("db")].into()));
        assert_eq!(attention, Attention::Some([name("db"), name("web")].into()));
        attention.extend(Attention::to(Touched::Anything, owner));
        attention.extend(Attention::Some([name("db")].into()));
        assert!(attention.is_for(&name("any")));
        assert_eq!(Attention::to(Touched::Nothing, owner), Attention::None);
        let mut none = Attention::None;
        none.extend(Attention::Some([name("db")].into()));
        assert!(none.is_for(&name("db")));
    }
}
