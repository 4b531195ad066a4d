//! How old what is known of Git may be (`trust.freshness`). What is too old is an alarm and stands in the status; what runs stays,
//! and is repaired, however old it is.
//!
//! Two limits, because there are two ways to be kept from news. A server that can't be reached, or whose answers can't be judged, is
//! seen by the time of the last look that went well (`look`). A server that answers every look with what was there before (TUF calls
//! it an indefinite freeze) looks like one where nobody pushes: it can only be told by somebody who knows that there ought to be
//! news, and says within which time (`news`). That time is counted from when a revision was first accepted, by our own clock: dates
//! in commits and tags are written by whoever makes them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tk8s_config::FreshnessConfig;
use tk8s_core::Timestamp;
use tk8s_history::History;

use super::Engine;
use super::alarms::{Cause, Reason};
use crate::disk::disk;

/// The reason of components that are well, and of which nobody knows whether they are what Git has now.
pub(super) const STALE: &str = "SourceStale";
/// Where the last look is remembered, so that a restart does not make old things new.
const CACHE_KEY: &str = "freshness/looked";

/// A limit that is passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaleView {
    /// Which: `look` or `news`.
    pub limit: String,
    /// When it was passed.
    pub since: Timestamp,
    pub message: String,
}

/// What is known of when Git was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastLook {
    /// The last look that went well, also of the process before; that of the start, where none is known.
    at: Timestamp,
    /// Whether a look of this process has ended: before that nobody is told that the last one is long ago.
    ended: bool,
    /// When this process began.
    began: Timestamp,
}

impl LastLook {
    pub(super) fn remembered(history: &History, now: Timestamp) -> LastLook {
        let text = history.cache_get(CACHE_KEY);
        let read = |text: Vec<u8>| std::str::from_utf8(&text).ok()?.parse().ok();
        // A clock that was ahead shall not hide anything.
        let at = text.and_then(read).filter(|at| *at <= now).unwrap_or(now);
        LastLook { at, ended: false, began: now }
    }
}

/// Which limits are passed.
fn stale(limits: &FreshnessConfig, look: LastLook, accepted: Option<Timestamp>, now: Timestamp) -> Vec<StaleView> {
    let passed = |limit: Option<Duration>, from: Timestamp| {
        let end = from.checked_add(limit?).ok()?;
        (look.ended && now > end).then_some(end)
    };
    let look_passed = passed(limits.look, look.at).map(|since| StaleView {
        limit: "look".into(),
        since,
        message: format!("Git was last looked at with success at {}: nobody knows what is there now", look.at),
    });
    let from = accepted.unwrap_or(look.began);
    let news = passed(limits.news, from).map(|since| StaleView {
        limit: "news".into(),
        since,
        message: match accepted {
            Some(at) => format!(
                "the newest accepted revision is of {at}: nobody released anything since, or the Git server keeps it back"
            ),
            None => "no revision was accepted yet".into(),
        },
    });
    look_passed.into_iter().chain(news).collect()
}

impl Engine {
    /// A look at Git ended: whether it was fetched and judged.
    pub(super) fn looked(&self, well: bool) {
        let now = Timestamp::now();
        self.change_world(|world| {
            world.last_look.ended = true;
            if well {
                world.last_look.at = now;
            }
        });
        if well {
            self.metrics.looked.set(now.as_second());
            if self.config().trust.freshness.look.is_some() {
                disk(|| self.history.cache_put(CACHE_KEY, now.to_string().as_bytes()));
            }
        }
        self.look_for_staleness();
    }

    /// Which limits are passed now.
    pub(super) fn stale(&self) -> Vec<StaleView> {
        let limits = self.config().trust.freshness.clone();
        if limits == FreshnessConfig::default() {
            return Vec::new();
        }
        let accepted = limits.news.and_then(|_| disk(|| self.history.accepted_at()));
        let look = self.world().last_look;
        stale(&limits, look, accepted, Timestamp::now())
    }

    pub(super) fn look_for_staleness(&self) {
        let cause = |stale: StaleView| Cause { object: format!("trust.freshness.{}", stale.limit), message: stale.message };
        self.alarm(Reason::SourceStale, None, self.stale().into_iter().map(cause).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_limit_is_passed_by_itself_and_none_before_a_look_has_ended() {
        let limits = FreshnessConfig { look: Some(Duration::from_secs(10)), news: Some(Duration::from_secs(100)) };
        let looks = |last, ended| LastLook { at: at(last), ended, began: at(1000) };
        let told = |looks, accepted: Option<i64>, now| -> Vec<(String, i64)> {
            let all = stale(&limits, looks, accepted.map(at), at(now));
            all.into_iter().map(|one| (one.limit, one.since.as_second())).collect()
        };
        assert_eq!(told(looks(1000, true), Some(990), 1010), []);
        assert_eq!(told(looks(1000, true), Some(990), 1011), [("look".into(), 1010)]);
        assert_eq!(told(looks(1200, true), Some(990), 1200), [("news".into(), 1090)]);
        assert_eq!(told(looks(1000, true), None, 1101), [("look".into(), 1010), ("news".into(), 1100)]);
        assert_eq!(told(looks(1, false), Some(1), 5000), [], "the first look is waited for");
        // A clock that is set back makes nothing old.
        assert_eq!(told(looks(1000, true), Some(1000), 1), []);
        assert_eq!(stale(&FreshnessConfig::default(), looks(1, true), None, at(i64::from(u32::MAX))), []);
    }
}
