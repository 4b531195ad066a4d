//! error: E0560 has no field named `waive`
//! A policy for production can't waive signatures, so no waived commit can be staged for it.

fn wrong(signers: tk8s_gitsync::Signers, waiver: tk8s_gitsync::Waiver) {
    let _ = tk8s_gitsync::ProductionPolicy { signers, waive: Some(waiver) };
}

fn main() {
    let _ = wrong;
}
