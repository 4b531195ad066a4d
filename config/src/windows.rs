//! Windows: when new releases may come in. Pure: the time is an argument.
//!
//! A window begins at each time of a cron expression in a time zone, and lasts for a while. Inside a `deny` window nothing
//! new comes in. Where there are `allow` windows, it comes in only inside one of them.

use std::time::Duration;

use jiff::tz::TimeZone;
use tk8s_core::{Timestamp, WrittenWindow};

use crate::cron::{self, Cron};
use crate::fields::Fields;

/// The windows of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    windows: Vec<Window>,
    /// Why there are others that nobody can read.
    unreadable: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    allows: bool,
    begins: Cron,
    lasts: Duration,
    zone: TimeZone,
    zone_name: String,
}

/// That nothing new may come in now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When it opens, if that is known.
    pub until: Option<Timestamp>,
    /// The window that denies it, or that there is no window that allows it.
    pub why: String,
}

/// The longest window; a window that lasts longer than its times are apart is always open.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);
const SHORTEST: Duration = Duration::from_secs(60);
/// How many windows one component may have.
const MOST: usize = 50;
/// How many beginnings and ends are looked at for the next opening.
const STEPS: usize = 2_000;

impl Window {
    /// When the window in which this moment lies began, if it lies in one.
    fn began(&self, now: Timestamp) -> Option<Timestamp> {
        let before = now.checked_sub(cron::span(self.lasts)).ok()?;
        self.begins.next_after(before, &self.zone).filter(|began| *began <= now)
    }

    fn end(&self, began: Timestamp) -> Timestamp {
        began.checked_add(cron::span(self.lasts)).unwrap_or(Timestamp::MAX)
    }

    fn sentence(&self) -> String {
        format!("`{}` ({}) for {}", self.begins, self.zone_name, words(self.lasts))
    }

    fn to_written(&self) -> WrittenWindow {
        WrittenWindow {
            allows: self.allows,
            begins: self.begins.as_str().into(),
            lasts_ms: u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX),
            zone: self.zone_name.clone(),
        }
    }

    fn of_written(written: &WrittenWindow) -> Result<Window, String> {
        Ok(Window {
            allows: written.allows,
            begins: written.begins.parse().map_err(|error: cron::CronError| error.to_string())?,
            lasts: Duration::from_millis(written.lasts_ms).clamp(SHORTEST, LONGEST),
            zone: cron::zone(&written.zone)?,
            zone_name: written.zone.clone(),
        })
    }
}

impl Windows {
    /// As they are written down.
    pub fn to_written(&self) -> Vec<WrittenWindow> {
        self.windows.iter().map(Window::to_written).collect()
    }

    /// What was written down. While one of them can't be read, by a version that knows its zone no more for one, all is closed.
    pub fn of_written(written: &[WrittenWindow]) -> Windows {
        match written.iter().map(Window::of_written).collect() {
            Ok(windows) => Windows { windows, unreadable: None },
            Err(problem) => Windows { windows: Vec::new(), unreadable: Some(problem) },
        }
    }

    /// Whether nothing new may come in now, why, and until when.
    pub fn closed(&self, now: Timestamp) -> Option<Closed> {
        let why = self.why_closed(now)?.0;
        let mut at = now;
        for _ in 0..STEPS {
            let Some((_, next)) = self.why_closed(at) else { return Some(Closed { until: Some(at), why }) };
            match next.filter(|next| *next > at) {
                Some(next) => at = next,
                None => break,
            }
        }
        Some(Closed { until: None, why })
    }

    /// Why it is closed at a moment, and the first moment after it at which that may be otherwise.
    fn why_closed(&self, at: Timestamp) -> Option<(String, Option<Timestamp>)> {
        if let Some(problem) = &self.unreadable {
            return Some((format!("a window can't be read: {problem}"), None));
        }
        let denies = self.windows.iter().filter(|window| !window.allows);
        if let Some((window, began)) = denies.filter_map(|window| Some((window, window.began(at)?))).next() {
            return Some((format!("the window {} denies it", window.sentence()), Some(window.end(began))));
        }
        let allows: Vec<&Window> = self.windows.iter().filter(|window| window.allows).collect();
        if allows.is_empty() || allows.iter().any(|window| window.began(at).is_some()) {
            return None;
        }
        let next = allows.iter().filter_map(|window| window.begins.next_after(at, &window.zone)).min();
        let sentences: Vec<_> = allows.iter().take(3).map(|window| window.sentence()).collect();
        Some((format!("no window allows it now: {}", sentences.join(", ")), next))
    }
}

/// `90m` as `1h30m`.
fn words(duration: Duration) -> String {
    let (seconds, mut text) = (duration.as_secs(), String::new());
    for (unit, length) in [("h", seconds / 3600), ("m", seconds / 60 % 60), ("s", seconds % 60)] {
        if length > 0 {
            text.push_str(&format!("{length}{unit}"));
        }
    }
    text
}

/// Reads `windows`; nothing if the key is not there.
pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Windows> {
    fields.node("windows")?;
    let nodes = fields.list("windows");
    if nodes.len() > MOST {
        fields.problem("windows", format!("at most {MOST}"));
    }
    let mut windows = Vec::new();
    for (index, node) in nodes.iter().take(MOST).enumerate() {
        let path = fields.join(&format!("windows[{index}]"));
        let mut inner = Fields::of(node, path, fields.problems);
        let (allow, deny) = (inner.parse::<Cron>("allow"), inner.parse::<Cron>("deny"));
        let (has_allow, has_deny) = (inner.node("allow").is_some(), inner.node("deny").is_some());
        if has_allow == has_deny {
            inner.problem("", "write either `allow` or `deny`, with the times at which it begins: `0 2 * * SAT`");
        }
        let lasts = inner.duration("duration");
        if inner.node("duration").is_none() {
            inner.problem("duration", "it is missing: say how long it lasts, for example `4h`");
        }
        if lasts.is_some_and(|lasts| !(SHORTEST..=LONGEST).contains(&lasts)) {
            inner.problem("duration", "at least `1m` and at most `744h`");
        }
        let zone_name = inner.text("timeZone").unwrap_or_else(|| "UTC".into());
        let zone = cron::zone(&zone_name).map_err(|problem| inner.problem("timeZone", problem)).ok();
        inner.finish(&[
            ("schedule", "write `allow` or `deny`"),
            ("kind", "write `allow` or `deny`"),
            ("timezone", "write `timeZone`"),
            ("for", "write `duration`"),
        ]);
        let allows = has_allow;
        if let (Some(begins), Some(lasts), Some(zone)) = (allow.or(deny), lasts, zone) {
            windows.push(Window { allows, begins, lasts, zone, zone_name });
        }
    }
    Some(Windows { windows, unreadable: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    fn windows(text: &str) -> Windows {
        let node = document::read(format!("windows:\n{text}").as_bytes(), "x").unwrap();
        let mut problems = Vec::new();
        let mut fields = Fields::of(&node, String::new(), &mut problems);
        let windows = read(&mut fields).unwrap();
        fields.finish(&[]);
        assert!(problems.is_empty(), "{problems:?}");
        windows
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Until when it is closed: empty if it is open, `?` if nobody knows.
    fn until(windows: &Windows, now: &str) -> String {
        match windows.closed(at(now)) {
            None => String::new(),
            Some(Closed { until, .. }) => until.map_or("?".into(), |until| until.to_string()),
        }
    }

    #[test]
    fn what_is_written_down_says_the_same_and_is_closed_where_nobody_can_read_it() {
        let both = windows(
            "- {allow: \"0 2,3 * * *\", duration: 2h, timeZone: Europe/Berlin}\n- {deny: \"* * 24 12 *\", duration: 90s}\n",
        );
        let mut written = both.to_written();
        assert_eq!(Windows::of_written(&written), both);
        assert_eq!(Windows::of_written(&[]), Windows::default());
        written[0].zone = "Europe/Atlantis".into();
        let closed = Windows::of_written(&written).closed(at("2026-01-01T02:30:00Z")).unwrap();
        assert_eq!(closed.until, None);
        assert!(closed.why.contains("Europe/Atlantis"), "{}", closed.why);
    }

    #[test]
    fn without_windows_it_is_always_open() {
        assert_eq!(until(&Windows::default(), "2026-01-01T00:00:00Z"), "");
    }

    #[test]
    fn what_is_allowed_at_night_waits_for_the_night() {
        let night = windows("- {allow: 0 2 * * *, duration: 2h, timeZone: Europe/Berlin}\n");
        for (now, expected) in [
            ("2026-01-15T00:59:59Z", "2026-01-15T01:00:00Z"),
            ("2026-01-15T01:00:00Z", ""),
            ("2026-01-15T02:59:59Z", ""),
            ("2026-01-15T03:00:00Z", "2026-01-16T01:00:00Z"),
            // In summer it is two hours ahead of UTC.
            ("2026-07-15T03:00:00Z", "2026-07-16T00:00:00Z"),
        ] {
            assert_eq!(until(&night, now), expected, "{now}");
        }
        assert!(night.closed(at("2026-01-15T12:00:00Z")).unwrap().why.contains("`0 2 * * *` (Europe/Berlin) for 2h"));
    }

    #[test]
    fn a_denial_wins_and_is_waited_for() {
        let both = windows("- {allow: 0 8 * * MON-FRI, duration: 10h}\n- {deny: 0 0 24 DEC *, duration: 240h}\n");
        for (now, expected) in [
            ("2026-12-23T09:00:00Z", ""),
            ("2026-12-24T09:00:00Z", "2027-01-04T08:00:00Z"),
            ("2026-12-25T03:00:00Z", "2027-01-04T08:00:00Z"),
            ("2026-12-19T09:00:00Z", "2026-12-21T08:00:00Z"),
        ] {
            assert_eq!(until(&both, now), expected, "{now}");
        }
        assert!(both.closed(at("2026-12-24T09:00:00Z")).unwrap().why.contains("denies it"));
    }

    #[test]
    fn denials_that_follow_each_other_are_one() {
        let chain = windows("- {deny: 0 * * * *, duration: 1h}\n");
        assert_eq!(until(&chain, "2026-01-01T00:30:00Z"), "?", "it never opens");
        let two = windows("- {deny: 0 0 * * *, duration: 6h}\n- {deny: 0 5 * * *, duration: 6h}\n");
        assert_eq!(until(&two, "2026-01-01T01:00:00Z"), "2026-01-01T11:00:00Z");
    }

    #[test]
    fn a_window_whose_beginning_the_clocks_skip_begins_as_much_later() {
        // Clocks jump from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
        let skipped = windows("- {allow: 30 2 * * *, duration: 1h, timeZone: Europe/Berlin}\n");
        for (now, expected) in [
            ("2026-03-29T00:00:00Z", "2026-03-29T01:30:00Z"),
            ("2026-03-29T01:30:00Z", ""),
            ("2026-03-29T02:29:59Z", ""),
            ("2026-03-29T02:30:00Z", "2026-03-30T00:30:00Z"),
        ] {
            assert_eq!(until(&skipped, now), expected, "{now}");
        }
    }

    #[test]
    fn a_window_whose_beginning_the_clocks_show_twice_begins_once_and_lasts_as_long_as_ever() {
        // Clocks go back from 03:00 to 02:00 on 25 October 2026, at 01:00 UTC.
        let twice = windows("- {allow: 30 2 * * *, duration: 2h, timeZone: Europe/Berlin}\n");
        for (now, expected) in [
            ("2026-10-25T00:29:59Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T00:30:00Z", ""),
            ("2026-10-25T01:30:00Z", ""),
            ("2026-10-25T02:29:59Z", ""),
            ("2026-10-25T02:30:00Z", "2026-10-26T01:30:00Z"),
        ] {
            assert_eq!(until(&twice, now), expected, "{now}");
        }
    }
}
