//! A known_hosts file.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| tk8s_gitsync::fuzzing::known_hosts(text));
