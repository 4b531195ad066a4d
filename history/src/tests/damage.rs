//! Killed at any step, out of space, flushes that fail, wrong bits: either before or after, never in between, never silent.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use super::*;
use crate::disk::hook;
use crate::{Error, verify};

/// What a history says it holds.
fn state(history: &History) -> (u64, Vec<(ReleaseNumber, Option<Status>)>, usize) {
    let releases = history
        .releases(&name("web"))
        .into_iter()
        .map(|view| (view.release.id.number, view.outcome.map(|outcome| outcome.status)));
    (history.size_and_root().size, releases.collect(), history.inventory(&name("web")).len())
}

/// One of each kind of writing call. After each, the files of the ledger are written too, if they are to be `published`.
fn work(history: &History, acknowledged: &RefCell<u64>, published: bool) {
    let done = || {
        *acknowledged.borrow_mut() = history.size_and_root().size;
        if published {
            history.publish().unwrap();
        }
    };
    let release = stage(history, "web", "one").release.id.clone();
    done();
    let begun = history.begin(intent(release, &["b", "c"]), at(2)).unwrap();
    done();
    applied(history, &begun, &["b", "c"]);
    done();
    let _ = history.record(begun, outcome(Status::Healthy), at(4)).unwrap();
    done();
}

/// Photographs the directory before every step of a workload that starts with `before` events, and opens each picture.
fn kill_between_all_steps(before: u64, view: bool, published: bool) {
    let (dir, pictures) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let acknowledged = Rc::new(RefCell::new(0));
    let taken: Rc<RefCell<Vec<(PathBuf, u64, String)>>> = Rc::default();
    let history = open(dir.path());
    while history.size_and_root().size < before {
        let number = history.size_and_root().size;
        history.accept(&revision(number as u32), &trust(), at(0)).unwrap();
    }
    *acknowledged.borrow_mut() = history.size_and_root().size;
    let guard = {
        let (acknowledged, taken, dir, pictures) =
            (acknowledged.clone(), taken.clone(), dir.path().to_owned(), pictures.path().to_owned());
        hook::set(move |act, path| {
            let picture = pictures.join(taken.borrow().len().to_string());
            copy(&dir, &picture, view);
            let what = format!("before {act} of {}", path.strip_prefix(&dir).unwrap_or(path).display());
            taken.borrow_mut().push((picture, *acknowledged.borrow(), what));
            Ok(())
        })
    };
    work(&history, &acknowledged, published);
    drop(guard);
    drop(history);
    assert!(taken.borrow().len() > if published { 40 } else { 15 }, "{}", taken.borrow().len());
    for (picture, acknowledged, what) in taken.borrow().iter() {
        let history = open(picture);
        let (size, _, _) = state(&history);
        // Everything that was acknowledged, and at most the one append that was under way.
        assert!((*acknowledged..=acknowledged + 1).contains(&size), "{what}: {size} events, {acknowledged} acknowledged");
        history.check_view().unwrap_or_else(|difference| panic!("{what}: {difference}"));
        for view in history.releases(&name("web")) {
            history.recall(&view.release.id).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        // It goes on, and nothing of the interrupted step is left.
        let release = stage(&history, "web", "after").release.id.clone();
        run(&history, &release, Status::Healthy);
        drop(history);
        let verified = verify(picture, None).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(verified.size, size + 4, "{what}");
        let (full, rest) = (verified.size / 256, verified.size % 256);
        let bundles = files(&picture.join("ledger/tile/entries")).len() as u64;
        assert_eq!(bundles, full + u64::from(rest > 0), "{what}");
        assert!(verified.blobs <= 2, "{what}");
    }
}

#[test]
fn killed_between_any_two_steps_it_opens_before_or_after_and_loses_nothing_acknowledged() {
    kill_between_all_steps(1, true, true);
    kill_between_all_steps(1, true, false);
}

#[test]
fn killed_while_a_tile_becomes_full_it_opens_before_or_after() {
    kill_between_all_steps(254, false, true);
    kill_between_all_steps(254, false, false);
}

#[test]
fn killed_while_it_is_made_it_is_made_again() {
    let (dir, pictures) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let taken: Rc<RefCell<Vec<PathBuf>>> = Rc::default();
    let guard = {
        let (taken, dir, pictures) = (taken.clone(), dir.path().to_owned(), pictures.path().to_owned());
        hook::set(move |_, _| {
            let picture = pictures.join(taken.borrow().len().to_string());
            copy(&dir, &picture, true);
            taken.borrow_mut().push(picture);
            Ok(())
        })
    };
    drop(open(dir.path()));
    drop(guard);
    for picture in taken.borrow().iter() {
        std::fs::create_dir_all(picture).unwrap();
        assert_eq!(state(&open(picture)), (1, vec![], 0));
    }
}

/// A history with `work` done, and the same one event earlier.
fn before_and_after() -> (tempfile::TempDir, tempfile::TempDir) {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(after.path());
    work(&history, &RefCell::default(), true);
    copy(after.path(), before.path(), false);
    let _ = history.accept(&revision(1), &trust(), at(9));
    drop(history);
    (before, after)
}

/// F22: a torn last record.
#[test]
fn files_of_an_append_torn_at_any_length_are_dropped() {
    let (before, after) = before_and_after();
    let old: Vec<String> = files(before.path()).into_iter().map(|(path, _)| path).collect();
    let new: Vec<_> =
        files(after.path()).into_iter().filter(|(path, _)| path.starts_with("ledger/tile") && !old.contains(path)).collect();
    assert_eq!(new.len(), 2);
    let scratch = tempfile::tempdir().unwrap();
    copy(before.path(), scratch.path(), false);
    let mut opened = 0;
    for (path, bytes) in &new {
        for length in (0..=bytes.len()).filter(|length| length % 7 == 0 || *length + 40 > bytes.len()) {
            std::fs::write(scratch.path().join(path), &bytes[..length]).unwrap();
            let key = crate::keys::identity(&Secret::new(IDENTITY.into())).unwrap();
            let ledger = crate::ledger::Ledger::open(&scratch.path().join("ledger"), ORIGIN, key).unwrap();
            assert_eq!(ledger.size(), 5);
            ledger.drop_tail().unwrap();
            assert!(!scratch.path().join(path).exists());
            opened += 1;
        }
    }
    assert!(opened > 100);
    let history = open(scratch.path());
    assert_eq!(state(&history).0, 5);
    history.check_view().unwrap();
}

#[test]
fn a_wrong_bit_or_a_missing_end_in_any_file_of_the_ledger_is_found_and_named() {
    let (_, dir) = before_and_after();
    let sound = files(&dir.path().join("ledger"));
    let before = verify(dir.path(), None).unwrap();
    for (path, bytes) in &sound {
        let file = dir.path().join("ledger").join(path);
        let refused = |what: String| {
            let error = History::open(options(dir.path()), at(0)).unwrap_err();
            let named = match &error {
                Error::Damaged { file, .. } | Error::Foreign { file, .. } => file.clone(),
                other => panic!("{what}: {other}"),
            };
            assert!(named == file, "{what}: {error}");
        };
        let positions = (0..bytes.len()).filter(|position| position % 61 == 0 || *position < 40 || position + 3 > bytes.len());
        for position in positions {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            std::fs::write(&file, &damaged).unwrap();
            refused(format!("{path}, byte {position}"));
        }
        for length in [0, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&file, &bytes[..length]).unwrap();
            refused(format!("{path}, cut to {length}"));
        }
        std::fs::remove_file(&file).unwrap();
        refused(format!("{path}, removed"));
        std::fs::write(&file, bytes).unwrap();
    }
    // None of the refused starts changed anything.
    assert_eq!(files(&dir.path().join("ledger")), sound);
    assert_eq!(verify(dir.path(), Some(&before.key)).unwrap(), before);
    open(dir.path()).check_view().unwrap();
}

/// F22: a wrong bit in the ledger.
#[test]
fn the_position_of_a_wrong_bit_is_named() {
    let (_, dir) = before_and_after();
    let path = dir.path().join("ledger/tile/entries/000.p/6");
    let mut bytes = std::fs::read(&path).unwrap();
    let (records, _) = crate::tile::records(&bytes, 6).unwrap();
    let offset = records[..3].iter().map(|record| record.len() + 2).sum::<usize>() + 10;
    bytes[offset] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = verify(dir.path(), None).unwrap_err();
    assert!(matches!(error, Error::Damaged { position: 3, .. }), "{error}");
}

#[test]
fn a_damaged_or_missing_blob_is_named_and_nothing_else_suffers() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    stage(&history, "web", "one");
    let (path, bytes) = files(&dir.path().join("blobs")).remove(0);
    stage(&history, "web", "two");
    let file = dir.path().join("blobs").join(path);
    for position in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1;
        std::fs::write(&file, damaged).unwrap();
        let error = history.recall(&id("web", 1)).unwrap_err();
        assert!(
            matches!(error, Error::Blob { .. }) && error.to_string().contains(file.file_name().unwrap().to_str().unwrap()),
            "{error}"
        );
        assert!(matches!(verify(dir.path(), None), Err(Error::BlobFile { .. })));
    }
    std::fs::remove_file(&file).unwrap();
    assert!(history.recall(&id("web", 1)).unwrap_err().to_string().contains("is missing"));
    // Proving finds what no rollback asked for yet.
    let error = verify(dir.path(), None).unwrap_err();
    assert!(error.to_string().contains("is missing") && error.to_string().contains("web"), "{error}");
    history.recall(&id("web", 2)).unwrap();
    // Staging the same again heals it.
    stage(&history, "web", "one");
    history.recall(&id("web", 1)).unwrap();
}

#[test]
fn wrong_bits_in_the_view_are_harmless() {
    let (_, dir) = before_and_after();
    let (size, releases, inventory) = state(&open(dir.path()));
    let sound: Vec<_> = files(dir.path()).into_iter().filter(|(path, _)| path.starts_with("view/")).collect();
    assert!(!sound.is_empty());
    let mut flips = 0;
    for (path, bytes) in &sound {
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        for position in (0..=last).step_by(last / 40 + 1) {
            let scratch = tempfile::tempdir().unwrap();
            copy(dir.path(), scratch.path(), true);
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            std::fs::write(scratch.path().join(path), damaged).unwrap();
            let quick = Options {
                watchdog: Watchdog { deadline: Duration::from_millis(400), ..options(scratch.path()).watchdog },
                ..options(scratch.path())
            };
            let history = History::open(quick, at(1)).unwrap();
            assert_eq!(state(&history), (size, releases.clone(), inventory), "{path}, byte {position}");
            history.check_view().unwrap();
            flips += 1;
        }
    }
    assert!(flips > 10);
}

#[test]
fn an_older_view_catches_up_and_a_newer_one_than_the_ledger_is_an_alarm() {
    let (old, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = open(dir.path());
    stage(&history, "web", "one");
    drop(history);
    copy(dir.path(), old.path(), true);
    let history = open(dir.path());
    stage(&history, "web", "two");
    let now = state(&history);
    drop(history);

    let mixed = tempfile::tempdir().unwrap();
    copy(dir.path(), mixed.path(), false);
    copy(&old.path().join("view"), &mixed.path().join("view"), true);
    let history = open(mixed.path());
    assert_eq!(state(&history), now);
    history.check_view().unwrap();
    drop(history);

    let forked = tempfile::tempdir().unwrap();
    copy(old.path(), forked.path(), false);
    copy(&dir.path().join("view"), &forked.path().join("view"), true);
    let error = History::open(options(forked.path()), at(0)).unwrap_err();
    assert!(matches!(error, Error::Forked { ledger: 2, view: 3, .. }), "{error}");
    std::fs::remove_dir_all(forked.path().join("view")).unwrap();
    assert_eq!(state(&open(forked.path())).0, 2);
}

#[test]
fn a_lost_checkpoint_is_not_taken_for_a_new_history() {
    let (_, dir) = before_and_after();
    std::fs::remove_file(dir.path().join("ledger/checkpoint")).unwrap();
    for _ in 0..2 {
        let error = History::open(options(dir.path()), at(0)).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}

/// Lets the `number`th step of this kind fail, once.
fn fail(kind: &'static str, number: usize, error: io::ErrorKind) -> hook::Guard {
    let mut seen = 0;
    hook::set(move |act, _| {
        seen += usize::from(act == kind);
        if act == kind && seen == number { Err(error.into()) } else { Ok(()) }
    })
}

/// F20: the disk is full.
#[test]
fn a_full_disk_refuses_cleanly_and_writing_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    stage(&history, "web", "zero");
    // What is appended lies in a blob and in the journal, which has its full length.
    for number in 1..=2 {
        let before = (state(&history), history.checkpoint());
        let guard = fail("write", number, io::ErrorKind::StorageFull);
        let error = history.stage_parts(parts("web", &format!("v{number}")), at(1)).unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "step {number}: {error}");
        drop(guard);
        assert_eq!((state(&history), history.checkpoint()), before);
        history.check_view().unwrap();
        stage(&history, "web", &format!("v{number}"));
    }
    // The files of the ledger: bundle, tile, checkpoint. What is recorded does not need them.
    for number in 3..=5 {
        stage(&history, "web", &format!("v{number}"));
        let before = (state(&history), history.checkpoint());
        let guard = fail("write", number - 2, io::ErrorKind::StorageFull);
        assert!(matches!(history.publish(), Err(Error::DiskFull { .. })), "step {number}");
        drop(guard);
        assert_eq!((state(&history), history.checkpoint()), before);
        verify(dir.path(), None).unwrap();
        history.publish().unwrap();
        assert_eq!(std::fs::read(dir.path().join("ledger/checkpoint")).unwrap(), before.1);
    }
    drop(history);
    let history = open(dir.path());
    assert_eq!(history.component(&name("web")).unwrap().latest.id, id("web", 6));
    verify(dir.path(), None).unwrap();
}

/// F20: the disk is full, and the journal too.
#[test]
fn a_full_disk_refuses_what_the_journal_has_no_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    history.accept(&revision(1), &trust(), at(0)).unwrap();
    let full = || {
        hook::set(|act, path| match act {
            "write" if !path.ends_with("journal") => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        })
    };
    let accept = |number: u64| history.accept(&revision(number as u32), &trust(), at(number as i64));
    let guard = full();
    // The journal holds 256 appends.
    let refused = (2..300).find(|number| accept(*number).is_err()).unwrap();
    let before = (history.size_and_root(), history.checkpoint());
    assert!(before.0.size > 200, "{:?}", before.0);
    for _ in 0..3 {
        assert!(matches!(accept(refused), Err(Error::DiskFull { .. })));
        assert_eq!((history.size_and_root(), history.checkpoint()), before);
        assert_eq!(verify(dir.path(), None).unwrap().size, before.0.size);
    }
    drop(guard);
    for number in refused..600 {
        accept(number).unwrap();
    }
    let last = history.size_and_root();
    drop(history);
    assert_eq!(verify(dir.path(), None).unwrap().size, last.size);
    assert_eq!(open(dir.path()).size_and_root(), last);
}

/// F21: a flush fails.
#[test]
fn after_a_failed_flush_nothing_is_written_until_the_next_start() {
    // The first append makes the journal: file, directory, and what is appended.
    for number in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let history = open(dir.path());
        stage(&history, "web", "one");
        drop(history);
        let history = open(dir.path());
        let guard = fail("flush", number, io::ErrorKind::Other);
        let error = history.accept(&revision(1), &trust(), at(2)).unwrap_err();
        assert!(matches!(error, Error::Sync { .. }), "flush {number}: {error}");
        drop(guard);
        assert!(matches!(history.accept(&revision(2), &trust(), at(3)), Err(Error::Poisoned)));
        assert!(history.stage_parts(parts("web", "two"), at(3)).is_err());
        // Reading goes on.
        history.recall(&id("web", 1)).unwrap();
        assert_eq!(history.accepted().head, None);
        drop(history);
        let history = open(dir.path());
        history.check_view().unwrap();
        history.accept(&revision(2), &trust(), at(4)).unwrap();
    }
}

#[test]
fn a_release_whose_objects_may_not_be_on_disk_is_never_staged() {
    for number in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let history = open(dir.path());
        let guard = fail("flush", number, io::ErrorKind::Other);
        let error = history.stage_parts(parts("web", "one"), at(2)).unwrap_err();
        assert!(matches!(error, Error::Sync { .. }), "flush {number}: {error}");
        drop(guard);
        // The file is there by now, and asking again would find it.
        assert!(matches!(history.stage_parts(parts("web", "one"), at(3)), Err(Error::Poisoned)));
        drop(history);
        let history = open(dir.path());
        stage(&history, "web", "one");
        history.recall(&id("web", 1)).unwrap();
    }
}

#[test]
fn a_tile_damaged_while_it_runs_is_found_by_the_proof_of_a_recall() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path());
    stage(&history, "web", "one");
    // What is unfinished is not read from files.
    for number in 1..=300 {
        history.accept(&revision(number), &trust(), at(2)).unwrap();
    }
    let path = dir.path().join("ledger/tile/entries/000");
    let mut bytes = std::fs::read(&path).unwrap();
    let signer = bytes.windows(5).position(|window| window == b"alice").unwrap();
    bytes[signer..signer + 5].copy_from_slice(b"mallo");
    std::fs::write(&path, bytes).unwrap();
    let error = history.recall(&id("web", 1)).unwrap_err();
    assert!(matches!(error, Error::Damaged { position: 1, .. }), "{error}");
}

/// F46: a version before is put back.
#[test]
fn an_event_of_a_newer_version_is_named_at_the_start_whether_there_is_a_view_or_not() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let key = crate::keys::identity(&Secret::new(IDENTITY.into())).unwrap();
    let mut ledger = crate::ledger::Ledger::open(&dir.path().join("ledger"), ORIGIN, key).unwrap();
    let newer = r#"{"at":"2027-01-15T08:00:00Z","event":"teleported","sequence":1}"#;
    ledger.append(&[newer.as_bytes().to_vec()]).unwrap();
    drop(ledger);
    for view in [true, false] {
        if !view {
            std::fs::remove_dir_all(dir.path().join("view")).unwrap();
        }
        let aborts = Watchdog { on_hang: std::sync::Arc::new(|| panic!("aborted")), ..options(dir.path()).watchdog };
        let error = History::open(Options { watchdog: aborts, ..options(dir.path()) }, at(1)).unwrap_err();
        assert!(matches!(error, Error::Newer { position: 1, .. }), "{error}");
        assert!(error.to_string().contains("a later version"), "{error}");
    }
    assert!(matches!(verify(dir.path(), None), Err(Error::Newer { position: 1, .. })));
}
