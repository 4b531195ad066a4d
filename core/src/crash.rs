//! Named points at which a test can kill the process, as `kill -9` would: nothing is flushed, nothing is unwound.
//!
//! A point does nothing unless the crate is built with the feature `crash-points` (the tests' package turns it on; an
//! image does not) *and* `TK8S_CRASH_AT` names it, optionally with the number of the visit: `P5` or `P5:3`.

/// Every point, in the order in which a run passes them. Tests go through this list.
pub const POINTS: &[(&str, &str)] = &[
    ("P1", "blobs of a release are on disk, its `staged` event is not"),
    ("P2", "the `staged` event is in the ledger, the view does not know it"),
    ("P3", "the `begun` event is in the ledger, the view does not know it"),
    ("P4", "begun, nothing was written to the cluster"),
    ("P5", "an object was written to the cluster, its answer was not remembered"),
    ("P6", "all objects were written, nothing of it was recorded"),
    ("P7", "applied and recorded, not settled"),
    ("P8", "settled, nothing was pruned"),
    ("P9", "an object was deleted, the inventory still lists it"),
    ("P10", "pruned, the outcome was not recorded"),
    ("P11", "the `finished` event is in the ledger, the view does not know it"),
    ("P12", "a rollback was asked for and recorded, nothing was done"),
    ("P13", "an append was prepared, the journal does not have it"),
    ("P14", "a hook's end is in the ledger, the view does not know it"),
];

/// Dies here, without a word, when a test asked for it.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static VISITS: AtomicU64 = AtomicU64::new(0);
    debug_assert!(POINTS.iter().any(|(known, _)| *known == name), "{name} is not in the list");
    let Ok(wanted) = std::env::var("TK8S_CRASH_AT") else { return };
    let (wanted, visit) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if wanted == name && VISITS.fetch_add(1, Ordering::SeqCst) + 1 == visit.parse().unwrap_or(1) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// Stays here for ever, with the processor busy, when a test asked for it: `TK8S_SPIN_AT=view:20`, for the twentieth visit.
#[cfg(feature = "crash-points")]
pub fn spin(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static VISITS: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("TK8S_SPIN_AT") else { return };
    let (wanted, visit) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if wanted == name && VISITS.fetch_add(1, Ordering::SeqCst) + 1 == visit.parse().unwrap_or(1) {
        loop {
            std::hint::spin_loop();
        }
    }
}

/// Does nothing: the crate is built without `crash-points`.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn spin(_name: &str) {}

/// Does nothing: the crate is built without `crash-points`.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &str) {}
