//! An SSH signature in its armour, with or without a certificate.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tk8s_gitsync::fuzzing::ssh_signature(data));
