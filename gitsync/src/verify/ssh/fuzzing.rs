//! What the targets in `fuzz/` ask of this module.

use ssh_key::LineEnding;
use ssh_key::public::KeyData;

use super::{Revocations, armour, key, proven};
use crate::verify::Trail;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILdTcfR2BEgoxqJ3ecPQU3L0EJ/Vx+CKzAgTadZ2vJ0r";
/// Of that key, by an authority that is thrown away, with a serial number and an id.
const CERTIFICATE: &str = include_str!("../../../../fuzz/seeds/krl/certificate-cert.pub");

/// Reads a revocation file. One that revokes a key revokes it with whatever certificate.
pub(crate) fn fuzz_revocations(data: &[u8]) {
    let Ok(revocations) = Revocations::parse(data, "revoked") else { return };
    let plain = key::from_line(KEY).expect("because it is one");
    let certificate = key::from_line_or_certificate(CERTIFICATE).expect("because it is one");
    assert!(revocations.revokes(&plain).is_none() || revocations.revokes(&certificate).is_some());
}

/// Takes the armour off. What was read is what it was read from, and nobody signed these bytes.
pub(crate) fn fuzz_signature(data: &[u8]) {
    let Ok(signature) = armour::remove(data) else { return };
    if !matches!(signature.public_key(), KeyData::Certificate(_)) {
        let again = signature.to_pem(LineEnding::LF).expect("because it was read");
        assert_eq!(armour::remove(again.as_bytes()).expect("because it was written"), signature);
    }
    assert!(proven(b"signed by nobody", data, Trail::SILENT).is_err());
}
