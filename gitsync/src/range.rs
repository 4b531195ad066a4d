//! The commits between two: those that can be reached from one and not from the other, as `git log A..B` lists them.
//!
//! Each commit on the way is read and hashed; no commit-graph file is asked. The dates in commits say only where to look first
//! and when to stop: one that lies may bring commits into the range that are older than it, and leaves none out.

use std::collections::{BinaryHeap, HashMap, HashSet};

use gix::objs::Kind;

use crate::Error;
use crate::store::{Store, time_and_parents};

/// The commits of `to` that are none of `from`'s, newest first.
pub(crate) fn between(store: &Store, from: &str, to: &str) -> Result<Vec<String>, Error> {
    let shallow = store.shallow(to)?;
    let mut walk = Walk::default();
    walk.meet(from, u64::MAX, true);
    walk.meet(to, u64::MAX, false);
    let (mut done, mut new, mut oldest) = (HashMap::new(), Vec::new(), u64::MAX);
    while let Some((time, id)) = walk.waiting.pop() {
        // What waits is old, and older than everything new: it says nothing more about that.
        if walk.new.is_empty() && time < oldest {
            break;
        }
        walk.new.remove(&id);
        let is_old = walk.old[&id];
        if done.insert(id.clone(), is_old) == Some(is_old) {
            continue;
        }
        if shallow.contains(&id) {
            if is_old {
                continue;
            }
            let why = "the history of this repository is cut off here, and what came before can't be judged: fetch all of it";
            return Err(Error::Object { id, why: why.into() });
        }
        let (kind, raw) = store.read(&id)?;
        if kind != Kind::Commit {
            return Err(Error::Object { id, why: "it is not a commit".into() });
        }
        let (time, parents) = time_and_parents(&raw);
        parents.iter().for_each(|parent| walk.meet(parent, time, is_old));
        if walk.old.len() > store.most_commits() {
            return Err(Error::LongHistory { commit: to.into(), limit: store.most_commits() });
        }
        if !is_old {
            oldest = oldest.min(time);
            new.push(id);
        }
    }
    new.retain(|id| !walk.old[id]);
    Ok(new)
}

/// Commits that were met.
#[derive(Default)]
struct Walk {
    /// Whether each can be reached from the old end of the range.
    old: HashMap<String, bool>,
    /// Those to look at, the newest first, by the date of whichever child was looked at.
    waiting: BinaryHeap<(u64, String)>,
    /// Those among them that are not known to be old.
    new: HashSet<String>,
}

impl Walk {
    /// Somebody names this commit as a parent. Once old it stays so, and one that was taken for new is looked at once more.
    fn meet(&mut self, id: &str, time: u64, is_old: bool) {
        match self.old.get(id) {
            Some(known) if *known || !is_old => return,
            _ => {}
        }
        self.old.insert(id.to_owned(), is_old);
        self.waiting.push((time, id.to_owned()));
        if is_old {
            self.new.remove(id);
        } else {
            self.new.insert(id.to_owned());
        }
    }
}
