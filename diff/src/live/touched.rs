//! Which objects the watches told something of since somebody looked the last time, so that whoever compares what is remembered
//! with what is there looks at those alone.

use std::collections::HashSet;

use tk8s_core::ObjectKey;

/// More than so many are told as "all".
const MOST: usize = 100_000;

/// What may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Touched {
    /// Nothing.
    #[default]
    Nothing,
    /// These objects.
    Objects(HashSet<ObjectKey>),
    /// Anything: a list was read, or a kind can't be watched any more.
    Anything,
}

impl Touched {
    pub(super) fn add(&mut self, key: &ObjectKey) {
        match self {
            Touched::Nothing => *self = Touched::Objects(HashSet::from([key.clone()])),
            Touched::Objects(keys) if keys.len() >= MOST => *self = Touched::Anything,
            Touched::Objects(keys) => drop(keys.insert(key.clone())),
            Touched::Anything => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_bounded() {
        let key = |number: usize| ObjectKey { group: String::new(), kind: "A".into(), namespace: None, name: number.to_string() };
        let mut touched = Touched::default();
        touched.add(&key(1));
        touched.add(&key(1));
        assert_eq!(touched, Touched::Objects(HashSet::from([key(1)])));
        for number in 0..=MOST {
            touched.add(&key(number));
        }
        assert_eq!(touched, Touched::Anything);
        touched.add(&key(1));
        assert_eq!(touched, Touched::Anything);
    }
}
