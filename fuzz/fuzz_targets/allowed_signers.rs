//! A signers file in any of its forms: our own, keys one a line, `allowed_signers`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tk8s_gitsync::Signers;

fuzz_target!(|data: &[u8]| {
    let read = || Signers::parse(data, "signers").map(|signers| format!("{signers:?}")).map_err(|error| error.to_string());
    assert_eq!(read(), read());
});
