//! Points in time by which an office ends: whichever of two clocks says so first.
//!
//! The boot clock is set by nobody and goes on while the machine sleeps; it stands still in a virtual machine that was
//! paused. The wall clock is put right after such a pause, and may be set by anybody at any time. So a clock that jumps
//! ends an office too early, which costs one renewal, and never too late.

use std::time::{Duration, SystemTime};

/// How finely the boot clock is told: by so much it may be wrong in either direction.
const FINE: Duration = Duration::from_secs(1);

/// A point in time, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    boot: Duration,
    wall: Duration,
}

impl Moment {
    pub fn now() -> Moment {
        let boot = u64::try_from(rustix::system::sysinfo().uptime).unwrap_or(0);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Moment { boot: Duration::from_secs(boot), wall }
    }

    pub fn after(self, time: Duration) -> Moment {
        Moment { boot: self.boot + time, wall: self.wall + time }
    }

    /// How long it is until this moment, seen from another one; zero once either clock has come so far.
    pub fn left(self, now: Moment) -> Duration {
        self.boot.saturating_sub(now.boot + FINE).min(self.wall.saturating_sub(now.wall))
    }

    /// How much time has surely passed since this moment: by the clock that nobody sets.
    pub fn passed(self, now: Moment) -> Duration {
        now.boot.saturating_sub(self.boot + FINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64, wall: u64) -> Moment {
        Moment { boot: Duration::from_secs(boot), wall: Duration::from_secs(wall) }
    }

    const YEAR: u64 = 365 * 24 * 3600;

    /// F24: the clock jumps.
    #[test]
    fn a_clock_that_jumps_ends_an_office_too_early_and_never_too_late() {
        let (begun, minute) = (at(1000, 50 * YEAR), Duration::from_secs(60));
        let end = begun.after(minute);
        assert_eq!(end.left(begun), minute - FINE);
        for (now, seconds) in [
            (at(1030, 50 * YEAR + 30), 29),
            // The machine slept, or the process stood still: both clocks went on.
            (at(1061, 50 * YEAR + 61), 0),
            // A paused virtual machine, whose wall clock was put right.
            (at(1001, 50 * YEAR + 3600), 0),
            // The wall clock jumps ten years ahead, or an hour back.
            (at(1030, 60 * YEAR), 0),
            (at(1030, 50 * YEAR - 3600), 29),
            (at(1061, 50 * YEAR - 3600), 0),
        ] {
            assert_eq!(end.left(now).as_secs(), seconds, "{now:?}");
        }
    }

    #[test]
    fn what_others_hold_does_not_run_out_because_somebody_sets_the_clock() {
        let seen = at(1000, 50 * YEAR);
        assert_eq!(seen.passed(at(1010, 60 * YEAR)).as_secs(), 9);
        assert_eq!(seen.passed(at(1010, 50 * YEAR - 3600)).as_secs(), 9);
        assert!(Moment::now().after(Duration::from_secs(9)).passed(Moment::now()).is_zero());
    }
}
