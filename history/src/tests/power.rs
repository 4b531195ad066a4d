//! The power fails: of what was written, only what was flushed is there. Or its names are, and not its contents.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use super::*;
use crate::disk::hook;
use crate::verify;

type Content = Rc<RefCell<Vec<u8>>>;

/// What a disk that keeps nothing it was not made to would hold.
#[derive(Default)]
struct Disk {
    /// The flushed content of each file that has a name, by inode.
    contents: HashMap<u64, Content>,
    /// The flushed entries of each directory.
    entries: BTreeMap<PathBuf, BTreeMap<PathBuf, Content>>,
}

/// Every file of the truth under `dir`.
fn truth(dir: &Path) -> Vec<PathBuf> {
    files(dir).into_iter().map(|(path, _)| dir.join(path)).filter(|path| !path.starts_with(dir.join("view"))).collect()
}

impl Disk {
    /// Before a step is made.
    fn before(&mut self, act: &str, path: &Path, dir: &Path) {
        // A number may be given to another file once its file has no name.
        let named: Vec<u64> = truth(dir).iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.ino())).collect();
        self.contents.retain(|inode, _| named.contains(inode));
        if act == "write" && path.is_file() && !path.ends_with("journal") {
            // Written anew: what it held is gone, and what it will hold is not there yet.
            self.content(path).borrow_mut().clear();
        }
        if act != "flush" {
            return;
        }
        if path.is_file() {
            let content = self.content(path);
            *content.borrow_mut() = std::fs::read(path).unwrap();
        } else {
            let inside = truth(dir).into_iter().filter(|file| file.parent() == Some(path));
            let entries = inside.map(|file| (file.clone(), self.content(&file))).collect();
            self.entries.insert(path.into(), entries);
        }
    }

    fn content(&mut self, path: &Path) -> Content {
        self.contents.entry(std::fs::metadata(path).unwrap().ino()).or_default().clone()
    }

    /// What is left: of the names that were flushed, or of all names there are.
    fn after_the_power_failed(&mut self, dir: &Path, all_names: bool, to: &Path) {
        let mut left: BTreeMap<PathBuf, Content> = BTreeMap::new();
        if all_names {
            truth(dir).into_iter().for_each(|path| drop(left.insert(path.clone(), self.content(&path))));
        } else {
            left.extend(self.entries.values().flatten().map(|(path, content)| (path.clone(), content.clone())));
        }
        for (path, content) in left {
            let path = to.join(path.strip_prefix(dir).unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &*content.borrow()).unwrap();
        }
        // The view may have come further than anything else.
        copy(&dir.join("view"), &to.join("view"), true);
    }
}

/// Releases and what becomes of them, with the power failing before every step. The files of the ledger are written after each
/// append, if they are to be `published`.
fn power_fails(before: u64, all_names: bool, published: bool) {
    let (dir, pictures) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk: Rc<RefCell<Disk>> = Rc::default();
    let acknowledged = Rc::new(RefCell::new(0));
    let taken: Rc<RefCell<Vec<(PathBuf, u64, String)>>> = Rc::default();
    let watching = Rc::new(RefCell::new(false));
    let guard = {
        let (disk, acknowledged, taken, watching) = (disk.clone(), acknowledged.clone(), taken.clone(), watching.clone());
        let (dir, pictures) = (dir.path().to_owned(), pictures.path().to_owned());
        hook::set(move |act, path| {
            if *watching.borrow() {
                let picture = pictures.join(taken.borrow().len().to_string());
                disk.borrow_mut().after_the_power_failed(&dir, all_names, &picture);
                let what = format!("before {act} of {}", path.strip_prefix(&dir).unwrap_or(path).display());
                taken.borrow_mut().push((picture, *acknowledged.borrow(), what));
            }
            disk.borrow_mut().before(act, path, &dir);
            Ok(())
        })
    };
    let history = open(dir.path());
    while history.size_and_root().size < before {
        let number = history.size_and_root().size;
        history.accept(&revision(number as u32), &trust(), at(0)).unwrap();
    }
    let done = || {
        *acknowledged.borrow_mut() = history.size_and_root().size;
        if published {
            history.publish().unwrap();
        }
    };
    done();
    *watching.borrow_mut() = true;
    for value in ["one", "two"] {
        let release = stage(&history, "web", value).release.id.clone();
        done();
        let begun = history.begin(intent(release, &["b", "c"]), at(2)).unwrap();
        done();
        applied(&history, &begun, &["b", "c"]);
        done();
        let _ = history.record(begun, outcome(Status::Healthy), at(4)).unwrap();
        done();
    }
    // Closing takes steps too.
    drop(history);
    drop(guard);
    assert!(taken.borrow().len() > 40, "{}", taken.borrow().len());
    for (picture, acknowledged, what) in taken.borrow().iter() {
        let proven = verify(picture, None).unwrap_or_else(|error| panic!("{what}: {error}"));
        // Before anything was opened as after it.
        let history = History::open(options(picture), at(9)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let size = history.size_and_root().size;
        assert_eq!(size, proven.size, "{what}");
        assert!((*acknowledged..=acknowledged + 1).contains(&size), "{what}: {size} events, {acknowledged} acknowledged");
        history.check_view().unwrap_or_else(|difference| panic!("{what}: {difference}"));
        for view in history.releases(&name("web")) {
            history.recall(&view.release.id).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        stage(&history, "web", "after");
        drop(history);
        assert_eq!(verify(picture, None).unwrap_or_else(|error| panic!("{what}: {error}")).size, size + 1);
        assert!(!picture.join("ledger/journal").exists());
    }
}

#[test]
fn whenever_the_power_fails_what_was_acknowledged_is_there_if_only_what_was_flushed_is() {
    for published in [true, false] {
        power_fails(1, false, published);
    }
}

#[test]
fn whenever_the_power_fails_what_was_acknowledged_is_there_if_files_were_left_empty() {
    for published in [true, false] {
        power_fails(1, true, published);
    }
}

#[test]
fn the_power_may_fail_while_a_tile_becomes_full_and_the_journal_too() {
    // The journal holds 256 appends: it is emptied on the way.
    for published in [true, false] {
        power_fails(252, false, published);
        power_fails(252, true, published);
    }
}

#[test]
fn an_append_torn_at_any_place_of_the_journal_is_there_or_not() {
    let (dir, pictures) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    for number in 1..4 {
        history.accept(&revision(number), &trust(), at(0)).unwrap();
    }
    let (before, after) = (pictures.path().join("before"), pictures.path().join("after"));
    copy(dir.path(), &before, false);
    stage(&history, "web", "one");
    copy(dir.path(), &after, false);
    let journal = |dir: &Path| std::fs::read(dir.join("ledger/journal")).unwrap();
    let (old, new) = (journal(&before), journal(&after));
    let first = (0..old.len()).find(|at| old[*at] != new[*at]).unwrap();
    let last = (0..old.len()).rfind(|at| old[*at] != new[*at]).unwrap();
    for end in (first..=last + 1).step_by(37).chain([last + 1]) {
        let scratch = tempfile::tempdir().unwrap();
        copy(&before, scratch.path(), false);
        copy(&after.join("blobs"), &scratch.path().join("blobs"), false);
        let torn = [&new[..end], &old[end..]].concat();
        std::fs::write(scratch.path().join("ledger/journal"), torn).unwrap();
        let history = open(scratch.path());
        assert_eq!(history.size_and_root().size, if end > last { 5 } else { 4 }, "{end}");
        history.check_view().unwrap();
    }
}

#[test]
fn a_wrong_bit_in_the_journal_loses_nothing_that_was_acknowledged() {
    let (dir, picture) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    for number in 1..6 {
        history.accept(&revision(number), &trust(), at(0)).unwrap();
    }
    history.publish().unwrap();
    copy(dir.path(), picture.path(), false);
    let file = picture.path().join("ledger/journal");
    let sound = std::fs::read(&file).unwrap();
    for position in (0..5 * 4096).step_by(4096).flat_map(|block| [block, block + 20, block + 60, block + 300]) {
        let damaged = |files: bool| {
            let scratch = tempfile::tempdir().unwrap();
            copy(picture.path(), scratch.path(), false);
            let mut bytes = sound.clone();
            bytes[position] ^= 1;
            std::fs::write(scratch.path().join("ledger/journal"), bytes).unwrap();
            if !files {
                // The files of the ledger did not reach the disk.
                std::fs::write(scratch.path().join("ledger/checkpoint"), b"").unwrap();
            }
            History::open(options(scratch.path()), at(0)).map(|history| history.size_and_root().size)
        };
        assert_eq!(damaged(true).unwrap(), 6, "{position}");
        // Without the files, only the last append can't be told from one that was cut off.
        match damaged(false) {
            Ok(size) => assert!(position >= 4 * 4096 && size == 5, "{position}: {size}"),
            Err(error) => assert!(
                position < 4 * 4096 && matches!(error, crate::Error::Damaged { .. } | crate::Error::Foreign { .. }),
                "{position}: {error}"
            ),
        }
    }
}

#[test]
fn an_append_costs_one_flush() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    // The first one makes the journal.
    let release = stage(&history, "web", "one").release.id.clone();
    let flushes = Rc::new(RefCell::new(Vec::new()));
    let guard = {
        let flushes = flushes.clone();
        hook::set(move |act, path| {
            if act == "flush" {
                flushes.borrow_mut().push(path.to_owned());
            }
            Ok(())
        })
    };
    let taken = || flushes.borrow_mut().drain(..).count();
    let begun = history.begin(intent(release, &["b"]), at(2)).unwrap();
    assert_eq!(taken(), 1);
    applied(&history, &begun, &["b"]);
    assert_eq!(taken(), 1);
    let _ = history.record(begun, outcome(Status::Healthy), at(4)).unwrap();
    assert_eq!(taken(), 1);
    // The blob is there, and a kept release names it.
    stage(&history, "web", "one");
    assert_eq!(taken(), 1);
    // A new blob: its file, its directory and, the first time, that directory's.
    stage(&history, "web", "two");
    assert!((3..=4).contains(&taken()));
    // Three hundred more fill the journal once: the files of the ledger, their directories, the checkpoint.
    for number in 1..=300 {
        history.accept(&revision(number), &trust(), at(5)).unwrap();
    }
    let taken = taken();
    assert!((301..=330).contains(&taken), "{taken}");
    drop(guard);
}
