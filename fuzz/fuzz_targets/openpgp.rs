//! OpenPGP packets: as a signature over a commit that nobody signed, and as a certificate that somebody lists.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tk8s_core::Timestamp;
use tk8s_fuzz::armoured;
use tk8s_gitsync::{Signers, verify_object};

static SIGNERS: LazyLock<Signers> =
    LazyLock::new(|| Signers::parse(include_bytes!("../seeds/openpgp/certificate"), "signers").expect("a certificate"));

fn commit(signature: &[u8]) -> Vec<u8> {
    let person = "A <a@example.com> 0 +0000";
    let signature = armoured("PGP SIGNATURE", " \n", signature);
    format!(
        "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor {person}\ncommitter {person}\ngpgsig {signature}\nnobody signed this\n"
    )
    .into_bytes()
}

fuzz_target!(|data: &[u8]| {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    assert!(verify_object(&commit(data), &SIGNERS, now).is_err(), "nobody signed this");
    if let Ok(signers) = Signers::parse(data, "signers") {
        let signature = include_bytes!("../seeds/openpgp/signature");
        assert!(verify_object(&commit(signature), &signers, now).is_err(), "it is over another commit");
    }
});
