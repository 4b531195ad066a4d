//! Tags as versions: which are releases, of what, which are candidates, and how far one may be from the one before.

use semver::{Prerelease, Version};
use tk8s_core::ComponentName;

/// Which versions are followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Whether candidates (`v1.2.0-rc.1`) are.
    pub pre_releases: bool,
    /// How far the next one may be.
    pub max_jump: MaxJump,
}

/// How far a version may be from the one that was accepted last. A version is never taken back: with one that is far off,
/// whoever signs releases once could keep all further ones out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxJump {
    /// Of the first number.
    pub major: u64,
    /// Of the second, or how high it begins after a higher first one.
    pub minor: u64,
    /// Of the third, and of a candidate's, likewise.
    pub patch: u64,
}

impl Default for MaxJump {
    fn default() -> MaxJump {
        MaxJump { major: 1, minor: 100, patch: 100 }
    }
}

/// What the name of a tag says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A version: `v1.2.3` or `v1.2.3-rc.4` of the platform, `v1.2.3-web` or `v1.2.3-web-rc.4` of one component.
    Version(Option<ComponentName>, Version),
    /// A version with something else behind it.
    Suffix,
    /// It begins like a version.
    NoVersion,
    /// It was never meant as one: `vendor-import`.
    Else,
}

/// Reads the name of a tag, which begins with a `v`.
pub(super) fn named(name: &str) -> Named {
    let text = name.strip_prefix('v').unwrap_or(name);
    let Ok(version) = Version::parse(text) else {
        return if text.starts_with(|first: char| first.is_ascii_digit()) { Named::NoVersion } else { Named::Else };
    };
    if !version.build.is_empty() {
        return Named::Suffix;
    }
    if version.pre.is_empty() || candidate(&version).is_some() {
        return Named::Version(None, version);
    }
    let (component, pre) = match version.pre.as_str().rsplit_once("-rc.") {
        Some((component, number)) => (component, Prerelease::new(&format!("rc.{number}"))),
        None => (version.pre.as_str(), Ok(Prerelease::EMPTY)),
    };
    // A component of this name would look like a candidate that lost its number.
    match (component.parse(), pre) {
        (Ok(component), Ok(pre)) if version.pre.as_str() != "rc" => {
            let version = Version { pre, ..version };
            let is_one = version.pre.is_empty() || candidate(&version).is_some();
            if is_one { Named::Version(Some(component), version) } else { Named::Suffix }
        }
        _ => Named::Suffix,
    }
}

/// The name of a component's tag, or of the platform's: the reverse of reading it.
pub(super) fn name(component: Option<&ComponentName>, version: &Version) -> String {
    let Some(component) = component else { return format!("v{version}") };
    let Version { major, minor, patch, pre, .. } = version;
    let candidate = if pre.is_empty() { String::new() } else { format!("-{pre}") };
    format!("v{major}.{minor}.{patch}-{component}{candidate}")
}

/// Whether it is a candidate for a release.
pub(super) fn is_candidate(version: &Version) -> bool {
    !version.pre.is_empty()
}

/// The number of a candidate.
fn candidate(version: &Version) -> Option<u64> {
    version.pre.strip_prefix("rc.")?.parse().ok()
}

impl MaxJump {
    /// Says no to a version that is too far above the one that was accepted, with what may be released instead.
    pub(super) fn allows(self, from: &Version, to: &Version) -> Result<(), String> {
        let (major, minor) = (to.major > from.major, to.major > from.major || to.minor > from.minor);
        let patch = minor || to.patch > from.patch;
        let zero_if = |raised: bool, number: u64| if raised { 0 } else { number };
        let steps = [
            ("major", self.major, from.major, to.major),
            ("minor", self.minor, zero_if(major, from.minor), to.minor),
            ("patch", self.patch, zero_if(minor, from.patch), to.patch),
            ("patch", self.patch, zero_if(patch, candidate(from).unwrap_or(0)), candidate(to).unwrap_or(0)),
        ];
        for (index, (key, limit, from_number, to_number)) in steps.into_iter().enumerate() {
            let highest = from_number.saturating_add(limit);
            if to_number <= highest {
                continue;
            }
            let next = match index {
                0 => format!("v{highest}.0.0"),
                1 => format!("v{}.{highest}.0", to.major),
                2 => format!("v{}.{}.{highest}", to.major, to.minor),
                _ => format!("v{}.{}.{}-rc.{highest}", to.major, to.minor, to.patch),
            };
            return Err(format!(
                "v{to} is too far above v{from}, which was accepted: {to_number} instead of at most {highest}; the highest that may follow is {next} (`trust.maxJump.{key}`)"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn a_tag_is_a_release_a_candidate_something_behind_a_version_or_none() {
        let platform = |text| Named::Version(None, version(text));
        let of = |component: &str, text| Named::Version(Some(component.parse().unwrap()), version(text));
        for (text, expected) in [
            ("v1.2.3", platform("1.2.3")),
            ("v1.2.3-rc.4", platform("1.2.3-rc.4")),
            ("v1.2.3-rc.18446744073709551615", platform("1.2.3-rc.18446744073709551615")),
            ("v1.2.3-memory", of("memory", "1.2.3")),
            ("v1.2.3-web-api", of("web-api", "1.2.3")),
            ("v1.2.3-web-rc.4", of("web", "1.2.3-rc.4")),
            ("v1.2.3-web-rc", of("web-rc", "1.2.3")),
            ("v1.2.3-2048", of("2048", "1.2.3")),
        ] {
            assert_eq!(named(text), expected, "{text}");
            let Named::Version(component, version) = expected else { unreachable!() };
            assert_eq!(name(component.as_ref(), &version), text);
        }
        for (name, expected) in [
            ("v1.2.3-rc", Named::Suffix),
            ("v1.2.3-rc.", Named::NoVersion),
            ("v1.2.3-rc.x", Named::Suffix),
            ("v1.2.3-rc.1.2", Named::Suffix),
            ("v1.2.3-rc.01", Named::NoVersion),
            ("v1.2.3-rc.18446744073709551616", Named::Suffix),
            ("v1.2.3-rc.1+build", Named::Suffix),
            ("v1.2.3+build", Named::Suffix),
            ("v1.2.3-beta.1", Named::Suffix),
            ("v1.2.3-Web", Named::Suffix),
            ("v1.2.3-web-", Named::Suffix),
            ("v1.2.3-web-rc.x", Named::Suffix),
            ("v1.2.3--rc.1", Named::Suffix),
            ("v1.2.3-web-rc.1.2", Named::Suffix),
            ("v1.2.3-web-rc.18446744073709551616", Named::Suffix),
            ("v1.2.3-web+build", Named::Suffix),
            ("v1.2", Named::NoVersion),
            ("v01.2.3", Named::NoVersion),
            ("v1.2.3.4", Named::NoVersion),
            ("vendor-import", Named::Else),
            ("v", Named::Else),
        ] {
            assert_eq!(named(name), expected, "{name}");
        }
    }

    #[test]
    fn a_version_may_be_so_far_above_the_last_one_and_not_one_further() {
        let max = MaxJump { major: 1, minor: 100, patch: 10 };
        for (from, to, next) in [
            ("1.4.2", "1.4.12", None),
            ("1.4.2", "1.4.13", Some("v1.4.12")),
            ("1.4.2", "1.104.0", None),
            ("1.4.2", "1.105.0", Some("v1.104.0")),
            ("1.4.2", "2.0.0", None),
            ("1.4.2", "3.0.0", Some("v2.0.0")),
            // What follows a higher number begins at nothing.
            ("1.4.2", "1.5.10", None),
            ("1.4.2", "1.5.11", Some("v1.5.10")),
            ("1.4.2", "2.100.10", None),
            ("1.4.2", "2.101.0", Some("v2.100.0")),
            ("1.4.2", "2.0.11", Some("v2.0.10")),
            ("1.4.2", "2.0.18446744073709551615", Some("v2.0.10")),
            ("18446744073709551615.0.0", "18446744073709551615.0.1", None),
            // Candidates are counted from those of the same version.
            ("1.4.2", "1.5.0-rc.10", None),
            ("1.4.2", "1.5.0-rc.11", Some("v1.5.0-rc.10")),
            ("1.5.0-rc.10", "1.5.0-rc.20", None),
            ("1.5.0-rc.10", "1.5.0-rc.21", Some("v1.5.0-rc.20")),
            ("1.5.0-rc.10", "1.5.1-rc.11", Some("v1.5.1-rc.10")),
            ("1.5.0-rc.10", "1.5.0", None),
        ] {
            let said = max.allows(&version(from), &version(to));
            match next {
                None => assert_eq!(said, Ok(()), "{from} {to}"),
                Some(next) => {
                    let why = said.unwrap_err();
                    assert!(why.contains(&format!(" {next} (")), "{why}");
                    assert!(why.contains(&format!("v{from},")) && why.contains(&format!("v{to} ")), "{why}");
                }
            }
        }
    }

    #[test]
    fn by_default_a_version_is_at_most_one_major_and_a_hundred_minor_or_patch_away() {
        let max = MaxJump::default();
        assert_eq!((max.major, max.minor, max.patch), (1, 100, 100));
    }
}
