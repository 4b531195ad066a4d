//! Messages with X.509 signatures, with and without the word of a log, over a commit that gitsign signed: only by that
//! signature it is accepted.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tk8s_core::Timestamp;
use tk8s_fuzz::armoured;
use tk8s_gitsync::{Signers, verify_object};

const COMMIT: &str = include_str!("../../gitsync/tests/vectors/gitsign/commit.txt");
const SIGNED: &[u8] = include_bytes!("../seeds/cms/gitsign");

static SIGNERS: LazyLock<Signers> = LazyLock::new(|| {
    let root = include_str!("../../gitsync/tests/vectors/gitsign/trusted_root.json").replace('\n', " ");
    let signers = format!(
        "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - name: billy\n    roles: [release]\n    keys:\n      \
         - keyless: {{identity: billy@chainguard.dev, issuer: 'https://accounts.google.com', trustedRoot: '{root}'}}\n"
    );
    Signers::parse(signers.as_bytes(), "signers").expect("signers")
});

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fuzz_target!(|data: &[u8]| {
    let (before, rest) = COMMIT.split_once("gpgsig ").expect("it is signed");
    let (_, after) = rest.split_once("-----END SIGNED MESSAGE-----\n").expect("it is signed");
    let commit = format!("{before}gpgsig {}{after}", armoured("SIGNED MESSAGE", "", data));
    let accepted = verify_object(commit.as_bytes(), &SIGNERS, Timestamp::from_second(1_800_000_000).expect("a time")).is_ok();
    // The certificate, which begins behind the frame, and the signature with its attributes.
    assert!(!accepted || (contains(data, &SIGNED[58..778]) && contains(data, &SIGNED[1002..1075])), "nobody signed this");
});
