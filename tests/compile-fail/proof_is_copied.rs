//! error: E0599 no method named `clone` found for struct `Begun`
//! A proof is used once: none of them can be copied.

use tk8s_history::Begun;

fn wrong(begun: Begun) -> (Begun, Begun) {
    let copy = begun.clone();
    (begun, copy)
}

fn main() {
    let _ = wrong;
}
