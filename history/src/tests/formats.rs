//! What was written down once is read for ever. `former.jsonl` holds events as they were written before any of the fields was there
//! that came later; it grows, and no line of it is ever changed.

use super::*;
use crate::keys::identity;
use crate::ledger::Ledger;
use crate::{Limit, Ran, Scope};

/// F46: a newer version is put in the place of this one, in the middle of a release.
#[test]
fn what_former_versions_wrote_down_says_the_same_today() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let key = identity(&Secret::new(IDENTITY.into())).unwrap();
    let mut ledger = Ledger::open(&dir.path().join("ledger"), ORIGIN, key).unwrap();
    let lines: Vec<Vec<u8>> = include_str!("former.jsonl").lines().map(|line| line.as_bytes().to_vec()).collect();
    ledger.append(&lines).unwrap();
    drop(ledger);
    let history = open(dir.path());
    assert_eq!(history.accepted().head, Some(revision(1).commit));
    let web = history.component(&name("web")).unwrap();
    let removal = web.latest.removal.unwrap();
    assert_eq!((removal.budget, removal.layer, removal.windows.len()), (10, None, 0));
    assert_eq!((web.current, web.healthy), (Some(id("web", 1)), Some(id("web", 1))));
    let hold = web.hold.unwrap();
    assert_eq!((hold.release, hold.by.as_str(), hold.automatic, hold.rejected.len()), (ReleaseNumber(1), "alice", false, 0));
    assert_eq!(web.rollback.unwrap().reason, None);
    assert_eq!(web.latest_outcome.unwrap().status, Status::Denied);
    assert_eq!(history.inventory(&name("web"))[0].created, Some(true));
    assert_eq!(history.suspensions()[0].scope, Scope::All);
    // What was begun is known as begun, to be finished.
    assert_eq!(history.component(&name("db")).unwrap().unfinished.unwrap().release, id("db", 1));
    let limit = &history.as_it_is(&mut std::collections::BTreeMap::new())[&name("web")];
    assert!(matches!(
        limit,
        Limit { latest: ReleaseNumber(2), current: Some(Ran { release: ReleaseNumber(1), .. }), hold: Some(_) }
    ));
    history.check_view().unwrap();
    // And goes on from there: what is written now is read beside it.
    history.resume(&name("web"), "me", at(20)).unwrap();
    drop(history);
    assert_eq!(open(dir.path()).component(&name("web")).unwrap().hold, None);
}
