//! A raw commit or tag, with whatever signature: only what the seeds' signer signed is accepted.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tk8s_core::Timestamp;
use tk8s_gitsync::{Signers, verify_object};

/// What was signed with the key below, which is thrown away.
const SIGNED: [&[u8]; 2] = [include_bytes!("../seeds/object/signed-commit"), include_bytes!("../seeds/object/signed-tag")];

static SIGNERS: LazyLock<Signers> = LazyLock::new(|| {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILdTcfR2BEgoxqJ3ecPQU3L0EJ/Vx+CKzAgTadZ2vJ0r a@example.com\n";
    Signers::parse(key.as_bytes(), "signers").expect("a key")
});

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What stands before the signature.
fn before_signature(object: &[u8]) -> &[u8] {
    let end = (0..object.len()).find(|at| object[*at..].starts_with(b"gpgsig ") || object[*at..].starts_with(b"-----BEGIN"));
    &object[..end.expect("it is signed")]
}

fuzz_target!(|data: &[u8]| {
    let accepted = verify_object(data, &SIGNERS, Timestamp::UNIX_EPOCH).is_ok();
    assert!(!accepted || SIGNED.iter().any(|signed| contains(data, before_signature(signed))), "nobody signed this");
});
