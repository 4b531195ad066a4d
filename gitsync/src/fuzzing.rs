//! Readers of hostile bytes that nothing outside of this crate has to call, for the targets in `fuzz/`. The agent is built
//! without it.

use std::path::Path;

use gix::hash::Kind;

use crate::entries::{self, Found};
use crate::known_hosts::Known;

/// Reads a tree object; what holds of every tree that is taken.
pub fn tree(data: &[u8]) {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let Ok(entries) = entries::of(data, hash) else { continue };
        assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted, and no name twice");
        for (name, found) in entries {
            // Refused as a path, as a backslash is; or that very name, never another place.
            assert!(name.parse::<tk8s_core::TreePath>().is_err() || is_one_part(&name), "{name:?}");
            if let Found::Tree(id) | Found::File(id) = found {
                assert_eq!(id.len(), hash.len_in_hex());
            }
        }
    }
}

fn is_one_part(name: &str) -> bool {
    name.parse::<tk8s_core::TreePath>().is_ok_and(|path| path.as_str() == name && path.parts().eq([name]))
}

/// Reads a known_hosts file, for hosts with and without a port.
pub fn known_hosts(text: &str) {
    for (host, port) in [("git.example.com", 22), ("git.example.com", 2222), ("192.0.2.7", 22)] {
        if let Ok(known) = Known::parse(text, Path::new("known_hosts"), host, port) {
            known.algorithms();
            known.certificate_algorithms();
        }
    }
}

/// Reads a revocation file, and asks it about a key and a certificate.
pub fn revocations(data: &[u8]) {
    crate::verify::fuzz_revocations(data);
}

/// Takes the armour off an SSH signature, and asks whether it is one of some bytes that nobody signed.
pub fn ssh_signature(data: &[u8]) {
    crate::verify::fuzz_signature(data);
}
