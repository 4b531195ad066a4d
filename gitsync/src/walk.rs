//! Walks through history from two ends: what is new since a commit, and where two lines of history met last.
//!
//! As everywhere, each commit on the way is read and hashed; the time that a commit gives itself only says where to look
//! first, and changes no answer. What can't be decided within `repository.limits.commits` is an error.

use std::collections::{BinaryHeap, HashMap, HashSet};

use gix::ObjectId;
use gix::objs::Kind;

use crate::Error;
use crate::store::{Store, time_and_parents};

impl Store {
    /// The commits that can be reached from `head` and not from those that are known, as `git log KNOWN..HEAD` lists them: the
    /// newest first, `head` being the very first unless it is known itself.
    ///
    /// Whoever made the commits may have made their times, and with times that lie one of them may be known after all: ask
    /// [`Store::is_ancestor`] before holding anything against it. None that is new is ever left out.
    pub(crate) fn since(&self, head: &str, known: &[&str]) -> Result<Vec<String>, Error> {
        let mut walk = Walk::new(self, head, |from| from.left && !from.right)?;
        walk.paint(u64::MAX, read_id(head)?, From { left: true, ..From::default() });
        for known in known {
            walk.paint(u64::MAX, read_id(known)?, From { right: true, ..From::default() });
        }
        walk.finish()?;
        walk.sort_out()?;
        let new: Vec<ObjectId> = walk.order.iter().copied().filter(|id| !walk.seen[id].from.right).collect();
        if let Some(cut) = new.iter().find(|id| walk.shallow.contains(&id.to_string())) {
            let why = "history is cut off behind it, where more that is new may be: fetch all of it".into();
            return Err(Error::Object { id: cut.to_string(), why });
        }
        Ok(new.iter().map(ToString::to_string).collect())
    }

    /// The commits that both can be reached from, without those behind another of them.
    pub(crate) fn merge_bases(&self, one: &str, other: &str) -> Result<Vec<String>, Error> {
        let mut walk = Walk::new(self, one, |from| !from.behind)?;
        walk.paint(u64::MAX, read_id(one)?, From { left: true, ..From::default() });
        walk.paint(u64::MAX, read_id(other)?, From { right: true, ..From::default() });
        walk.finish()?;
        let met = walk.seen.iter().filter(|(_, seen)| seen.from.left && seen.from.right && !seen.from.behind);
        let met: Vec<String> = met.map(|(id, _)| id.to_string()).collect();
        // Where the times are wrong one may lie behind another without having been found to.
        let mut bases = Vec::new();
        for base in &met {
            let mut is_behind = false;
            for other in met.iter().filter(|other| *other != base) {
                is_behind = is_behind || self.is_ancestor(base, other)?;
            }
            if !is_behind {
                bases.push(base.clone());
            }
        }
        Ok(bases)
    }
}

fn read_id(id: &str) -> Result<ObjectId, Error> {
    ObjectId::from_hex(id.as_bytes()).map_err(|_| Error::Object { id: id.into(), why: "it is not an object id".into() })
}

/// From where a commit was reached.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct From {
    left: bool,
    right: bool,
    /// Through a commit that both sides reach.
    behind: bool,
}

impl From {
    fn and(self, other: From) -> From {
        From { left: self.left || other.left, right: self.right || other.right, behind: self.behind || other.behind }
    }
}

#[derive(Default)]
struct Seen {
    from: From,
    /// Its parents do not know yet.
    waits: bool,
    /// Once it was read: its time and its parents.
    read: Option<(u64, Vec<ObjectId>)>,
}

/// A walk from two sides at once.
struct Walk<'a> {
    store: &'a Store,
    start: &'a str,
    shallow: HashSet<String>,
    open: fn(From) -> bool,
    seen: HashMap<ObjectId, Seen>,
    waiting: BinaryHeap<(u64, ObjectId)>,
    open_waiting: usize,
    /// The oldest of the open ones that were read, as they say.
    oldest: u64,
    /// What was read when it was open, in this order.
    order: Vec<ObjectId>,
}

impl<'a> Walk<'a> {
    fn new(store: &'a Store, start: &'a str, open: fn(From) -> bool) -> Result<Walk<'a>, Error> {
        let shallow = store.shallow(start)?;
        let (seen, waiting) = (HashMap::new(), BinaryHeap::new());
        Ok(Walk { store, start, shallow, open, seen, waiting, open_waiting: 0, oldest: u64::MAX, order: Vec::new() })
    }

    /// A commit is reached. What was known of it already goes on from it once more, if there is more now.
    fn paint(&mut self, time: u64, id: ObjectId, from: From) {
        let seen = self.seen.entry(id).or_default();
        let (before, after) = (seen.from, seen.from.and(from));
        if before == after {
            return;
        }
        seen.from = after;
        if seen.waits && (self.open)(before) {
            self.open_waiting -= 1;
        }
        if !std::mem::replace(&mut seen.waits, true) {
            self.waiting.push((time, id));
        }
        if (self.open)(after) {
            self.open_waiting += 1;
        }
    }

    /// Until nothing that is open waits any more.
    fn finish(&mut self) -> Result<(), Error> {
        while self.open_waiting > 0 {
            let Some((_, id)) = self.waiting.pop() else { return Ok(()) };
            self.step(id)?;
            if self.seen.len() > self.store.most_commits() {
                return Err(Error::LongHistory { commit: self.start.into(), limit: self.store.most_commits() });
            }
        }
        Ok(())
    }

    /// Goes on with what is not open as long as it may still close what was: what is older than all of that can't, unless times
    /// lie.
    fn sort_out(&mut self) -> Result<(), Error> {
        while let Some((_, id)) = self.waiting.peek().copied().filter(|(time, _)| *time >= self.oldest) {
            self.waiting.pop();
            self.step(id)?;
            if self.seen.len() > self.store.most_commits() {
                break;
            }
        }
        Ok(())
    }

    /// Reads a commit, and tells its parents from where it was reached.
    fn step(&mut self, id: ObjectId) -> Result<(), Error> {
        let (time, parents) = self.take(id)?;
        let from = self.seen[&id].from;
        let from = From { behind: from.behind || (from.left && from.right), ..from };
        parents.into_iter().for_each(|parent| self.paint(time, parent, from));
        Ok(())
    }

    /// A commit's time and parents; it does not wait any more.
    fn take(&mut self, id: ObjectId) -> Result<(u64, Vec<ObjectId>), Error> {
        let seen = self.seen.entry(id).or_default();
        seen.waits = false;
        let is_open = (self.open)(seen.from);
        if is_open {
            self.open_waiting -= 1;
        }
        if let Some(read) = &seen.read {
            return Ok(read.clone());
        }
        let name = id.to_string();
        let (kind, raw) = self.store.read(&name)?;
        if kind != Kind::Commit {
            return Err(Error::Object { id: name, why: "it is not a commit".into() });
        }
        let (time, parents) = time_and_parents(&raw);
        let parents = if self.shallow.contains(&name) { Vec::new() } else { parents };
        let read = (time, parents.iter().map(|parent| read_id(parent)).collect::<Result<Vec<_>, _>>()?);
        seen.read = Some(read.clone());
        if is_open {
            self.oldest = self.oldest.min(time);
            self.order.push(id);
        }
        Ok(read)
    }
}
