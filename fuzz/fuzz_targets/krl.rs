//! A revocation file: a list of `ssh-keygen -k`, or keys.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tk8s_gitsync::fuzzing::revocations(data));
