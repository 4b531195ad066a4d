//! A tree object, as a repository has it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tk8s_gitsync::fuzzing::tree(data));
