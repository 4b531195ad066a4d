//! Copies: whole or the one from before, whatever interrupts them; of the same history or refused; opened like the volume.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use super::*;
use crate::disk::hook;
use crate::{Copied, Error, Files, Hold, Source, Unread, copy as bring, verify};

fn files_of(dir: &Path) -> Files {
    Files::of(dir, None)
}

fn copied(from: &Path, to: &Path) -> Copied {
    bring(&mut files_of(from), to, None).unwrap()
}

type Before<'a> = Box<dyn FnMut(&History, &str) + 'a>;

/// As an agent serves it.
struct Served<'a> {
    history: &'a History,
    asked: Vec<String>,
    /// Happens before each question.
    before: Before<'a>,
}

impl<'a> Served<'a> {
    fn by(history: &'a History) -> Served<'a> {
        Served { history, asked: Vec::new(), before: Box::new(|_, _| ()) }
    }

    fn ask(&mut self, what: &str) {
        (self.before)(self.history, what);
        self.asked.push(what.to_owned());
    }
}

impl Source for Served<'_> {
    fn checkpoint(&mut self) -> Result<Vec<u8>, Unread> {
        self.ask("checkpoint");
        Ok(self.history.checkpoint())
    }
    fn tile(&mut self, path: &str) -> Result<Option<Vec<u8>>, Unread> {
        self.ask(path);
        Ok(self.history.tile(path))
    }
    fn blob(&mut self, blob: &Digest) -> Result<Result<Vec<u8>, String>, Unread> {
        self.ask("blob");
        Ok(self.history.blob(blob)?.map_err(str::to_owned))
    }
}

fn accept(history: &History, from: u32, until: u32) {
    (from..until).for_each(|number| history.accept(&revision(number), &trust(), at(6)).unwrap());
}

/// Three releases, one of them held, and so many revisions.
fn live(history: &History, revisions: u32) {
    for value in ["one", "two", "three"] {
        let release = stage(history, "web", value).release.id.clone();
        run(history, &release, Status::Healthy);
    }
    history.hold(&name("web"), Hold::at(ReleaseNumber(2), "3 am", "alice"), at(5)).unwrap();
    accept(history, 1, revisions);
}

fn truth(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let is_truth = |path: &str| path.starts_with("ledger/") && path != "ledger/journal" || path.starts_with("blobs/");
    files(dir).into_iter().filter(|(path, _)| is_truth(path)).collect()
}

#[test]
fn a_copy_is_what_the_volume_holds_and_nothing_else_and_is_only_added_to() {
    for revisions in [2, 240, 241, 242, 243, 700] {
        let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let history = open(dir.path());
        live(&history, revisions);
        let (size, what) = (history.size_and_root(), format!("{revisions} revisions"));
        let bring = || {
            let mut source = Served::by(&history);
            (bring(&mut source, to.path(), None).unwrap(), source.asked)
        };
        let (first, _) = bring();
        assert_eq!((first.events, first.new_events, &first.root), (size.size, size.size, &size.root), "{what}");
        assert_eq!((first.blobs, first.new_blobs), (3, 3), "{what}");
        // Nothing new: nothing is read but the checkpoint.
        let (again, asked) = bring();
        assert_eq!((again.new_events, again.new_blobs, asked), (0, 0, vec!["checkpoint".to_owned()]), "{what}");
        let release = stage(&history, "web", "four").release.id.clone();
        run(&history, &release, Status::Healthy);
        let (more, asked) = bring();
        assert_eq!((more.new_events, more.new_blobs, more.blobs), (5, 1, 3), "{what}: one is forgotten, one is new");
        assert!(asked.len() <= 5, "{what}: {asked:?}");
        drop(history);
        assert_eq!(truth(to.path()), truth(dir.path()), "{what}");
        let others: Vec<_> = files(to.path()).into_iter().map(|(path, _)| path).filter(|path| !path.contains('/')).collect();
        assert_eq!(others, ["lock"], "{what}");
    }
}

#[test]
fn a_copy_is_opened_like_the_volume_and_a_copy_of_it_is_one_too() {
    let (dir, to, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    live(&history, 300);
    // The agent runs on these files.
    copied(dir.path(), to.path());
    let (expected, key) = (history.size_and_root(), history.public_key());
    drop(history);
    std::fs::remove_dir_all(dir.path()).unwrap();
    copied(to.path(), volume.path());
    assert_eq!(verify(volume.path(), Some(&key)).unwrap().root, expected.root);
    let history = open(volume.path());
    assert_eq!(history.size_and_root(), expected);
    assert_eq!(history.component(&name("web")).unwrap().hold.unwrap().reason, "3 am");
    history.releases(&name("web")).iter().for_each(|view| drop(history.recall(&view.release.id).unwrap()));
    history.check_view().unwrap();
    // It goes on, and so do copies of it.
    history.resume(&name("web"), "me", at(9)).unwrap();
    assert_eq!(bring(&mut Served::by(&history), to.path(), None).unwrap().new_events, 1);
    // But nobody copies over what an agent has.
    let error = bring(&mut files_of(to.path()), volume.path(), None).unwrap_err().to_string();
    assert!(error.contains("the volume of an agent"), "{error}");
}

#[test]
fn what_a_killed_process_or_a_lost_power_left_is_copied_with_what_is_in_the_journal() {
    let (dir, behind, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    live(&history, 100);
    copy(dir.path(), behind.path(), true);
    history.publish().unwrap();
    copy(dir.path(), left.path(), true);
    let expected = history.size_and_root();
    drop(history);
    // The power took what was not flushed: all but what the journal goes on from.
    let lost = tempfile::tempdir().unwrap();
    copy(left.path(), lost.path(), true);
    std::fs::remove_file(lost.path().join("ledger/checkpoint")).unwrap();
    for tile in ["entries", "0"] {
        std::fs::remove_file(lost.path().join(format!("ledger/tile/{tile}/000.p/{}", expected.size))).unwrap();
    }
    for dir in [behind.path(), left.path(), lost.path()] {
        let to = tempfile::tempdir().unwrap();
        let copied = copied(dir, to.path());
        assert_eq!((copied.events, &copied.root), (expected.size, &expected.root));
        assert_eq!(open(to.path()).size_and_root(), expected);
    }
}

/// Photographs a directory before each step of what is done.
fn pictures(dir: &Path, run: impl FnOnce()) -> (tempfile::TempDir, Vec<(PathBuf, String)>) {
    let pictures = tempfile::tempdir().unwrap();
    let taken: Rc<RefCell<Vec<(PathBuf, String)>>> = Rc::default();
    let guard = {
        let (taken, dir, pictures) = (taken.clone(), dir.to_owned(), pictures.path().to_owned());
        hook::set(move |act, path| {
            let picture = pictures.join(taken.borrow().len().to_string());
            std::fs::create_dir_all(&picture).unwrap();
            copy(&dir, &picture, true);
            taken.borrow_mut().push((picture, format!("before {act} of {}", path.strip_prefix(&dir).unwrap_or(path).display())));
            Ok(())
        })
    };
    run();
    drop(guard);
    let taken = taken.borrow().clone();
    (pictures, taken)
}

#[test]
fn interrupted_at_any_step_the_copy_from_before_is_whole_and_the_next_one_goes_on() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    live(&history, 200);
    let (_first, first) = pictures(to.path(), || drop(bring(&mut Served::by(&history), to.path(), None).unwrap()));
    let before = history.size_and_root().size;
    accept(&history, 200, 300);
    stage(&history, "web", "four");
    let (_second, second) = pictures(to.path(), || drop(bring(&mut Served::by(&history), to.path(), None).unwrap()));
    let size = history.size_and_root().size;
    assert!(first.len() > 20 && second.len() > 15, "{} {}", first.len(), second.len());
    drop(history);
    for (was, pictures) in [(None, first), (Some(before), second)] {
        for (picture, what) in pictures {
            let found = verify(&picture, None);
            match was {
                // Until there is a first copy there is none, and no agent takes it for a new volume.
                None if found.is_err() && !files(&picture.join("ledger/tile")).is_empty() => {
                    assert!(matches!(History::open(options(&picture), at(1)), Err(Error::Damaged { .. })), "{what}");
                }
                None => assert!(found.is_err() || found.unwrap().size == before, "{what}"),
                Some(before) => {
                    let found = found.unwrap_or_else(|error| panic!("{what}: {error}")).size;
                    assert!([before, size].contains(&found), "{what}: {found}");
                }
            }
            copied(dir.path(), &picture);
            assert_eq!(truth(&picture), truth(dir.path()), "{what}");
        }
    }
}

#[test]
fn what_an_interrupted_copy_left_is_flushed_before_the_next_one_states_it() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    live(&history, 260);
    for stopped_at in 0.. {
        let to = tempfile::tempdir().unwrap();
        let step = std::cell::Cell::new(0);
        let guard = hook::set(move |_, _| {
            step.set(step.get() + 1);
            if step.get() > stopped_at { Err(std::io::Error::other("it is stopped")) } else { Ok(()) }
        });
        let stopped = bring(&mut Served::by(&history), to.path(), None).is_err();
        drop(guard);
        let is_stated = to.path().join("ledger/checkpoint").exists();
        let flushed: Rc<RefCell<(bool, Vec<PathBuf>)>> = Rc::default();
        let guard = {
            let flushed = flushed.clone();
            hook::set(move |act, path| {
                let (stated, paths) = &mut *flushed.borrow_mut();
                *stated |= act == "rename" && path.ends_with("checkpoint.new");
                if act == "flush" && !*stated {
                    paths.push(path.into());
                }
                Ok(())
            })
        };
        bring(&mut Served::by(&history), to.path(), None).unwrap();
        drop(guard);
        let (_, flushed) = flushed.take();
        for (path, _) in truth(to.path()).into_iter().filter(|(path, _)| path != "ledger/checkpoint" && !is_stated) {
            let path = to.path().join(path);
            for above in path.ancestors().skip(1).take_while(|above| above.starts_with(to.path())) {
                assert!(
                    flushed.contains(&above.to_owned()),
                    "stopped at {stopped_at}: {} of {}",
                    above.display(),
                    path.display()
                );
            }
        }
        if !stopped {
            assert!(stopped_at > 30, "{stopped_at}");
            return;
        }
    }
}

#[test]
fn what_happens_while_it_is_copied_is_in_the_copy_or_not_and_never_in_half() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    live(&history, 300);
    let mut number = 1000;
    let mut source = Served::by(&history);
    // A release is forgotten, and its blob is gone, between the checkpoint and the blob.
    source.before = Box::new(|history, what| {
        if what == "blob" && number < 1002 {
            number += 1;
            let release = stage(history, "web", &format!("v{number}")).release.id.clone();
            run(history, &release, Status::Healthy);
        } else {
            history.accept(&revision(number * 7 + what.len() as u32), &trust(), at(6)).unwrap();
        }
    });
    let copied = bring(&mut source, to.path(), None).unwrap();
    let restored = open(to.path());
    assert_eq!((copied.new_events, copied.blobs), (copied.events, restored.releases(&name("web")).len() as u64));
    assert!(copied.events > 318 && restored.releases(&name("web"))[0].release.id.number > ReleaseNumber(4), "{copied:?}");
    restored.releases(&name("web")).iter().for_each(|view| drop(restored.recall(&view.release.id).unwrap()));
    restored.check_view().unwrap();
}

/// How many events a copy states.
fn stated(copy: &Path) -> u64 {
    let note = std::fs::read_to_string(copy.join("ledger/checkpoint")).unwrap();
    note.lines().nth(1).unwrap().parse().unwrap()
}

#[test]
fn another_history_an_older_one_or_one_that_was_rewritten_never_becomes_part_of_a_copy() {
    let (dir, older, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    live(&history, 20);
    let key = history.public_key();
    copied(dir.path(), older.path());
    accept(&history, 20, 30);
    copied(dir.path(), to.path());
    let size = history.size_and_root().size;
    drop(history);
    let before = truth(to.path());
    let refused = |from: &Path, key: Option<&str>, words: &[&str]| {
        let error = tk8s_core::chain(&bring(&mut Files::of(from, None), to.path(), key).unwrap_err());
        words.iter().for_each(|word| assert!(error.contains(word), "{word}: {error}"));
        let now = truth(to.path());
        assert!(before.iter().all(|file| now.contains(file)), "{error}");
        assert_eq!((verify(to.path(), None).unwrap().size, stated(to.path())), (size, size), "{error}");
    };
    refused(older.path(), None, &["older, or another one", "copy into another directory"]);
    // The older one goes on by itself: more events, and not the same.
    let history = open(older.path());
    accept(&history, 100, 120);
    drop(history);
    refused(older.path(), None, &["does not go on from them", "keep this copy"]);
    let other = tempfile::tempdir().unwrap();
    drop(History::open(Options { origin: "tk8s.io/other/tk8s".into(), ..options(other.path()) }, at(0)).unwrap());
    refused(other.path(), None, &["is not signed by `tk8s.io/test/tk8s+"]);
    let wrong = crate::note::Verifier::of(ORIGIN, &ed25519_dalek::SigningKey::from_bytes(&[1; 32])).to_string();
    refused(dir.path(), Some(&wrong), &["not signed"]);
    refused(dir.path(), Some("nonsense"), &["the public key is not of the form `origin+id+key`"]);
    // What was left behind by those that were refused is gone after the next one, and the copy is as it was.
    assert_eq!(bring(&mut files_of(dir.path()), to.path(), Some(&key)).unwrap().new_events, 0);
    assert_eq!(truth(to.path()), before);
    // A copy in which a bit is wrong is not gone on with.
    let file = to.path().join(&before.iter().find(|(path, _)| path.contains("entries")).unwrap().0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = tk8s_core::chain(&bring(&mut files_of(dir.path()), to.path(), None).unwrap_err());
    assert!(error.contains("can't be gone on with") && error.contains("copy anew"), "{error}");
}

#[test]
fn a_blob_that_is_lost_is_told_and_everything_else_is_copied_and_one_that_the_copy_has_is_not_missed() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    live(&history, 20);
    copied(dir.path(), to.path());
    let blobs = || files(&dir.path().join("blobs"));
    let known = dir.path().join("blobs").join(&blobs()[0].0);
    std::fs::remove_file(known).unwrap();
    copied(dir.path(), to.path());
    let (old, release) = (blobs(), stage(&history, "api", "new").release.id.clone());
    let new = blobs().into_iter().find(|file| !old.contains(file)).unwrap().0;
    std::fs::write(dir.path().join("blobs").join(&new), b"cut").unwrap();
    let error = bring(&mut files_of(dir.path()), to.path(), None).unwrap_err();
    assert!(matches!(&error, Error::Blob { release: of, .. } if *of == release), "{error}");
    assert!(verify(to.path(), None).unwrap_err().to_string().contains("api"));
    // Of the ledger nothing is missing: it is the blob alone that whoever restores this will not have.
    let restored = open(to.path());
    assert_eq!(restored.size_and_root(), history.size_and_root());
    restored.recall(&id("web", 1)).unwrap();
    assert!(restored.recall(&release).is_err());
}
