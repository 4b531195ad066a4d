//! error: E0624 associated function `new` is private
//! Nobody but the verifier says that a revision is verified.

fn main() {
    let _ = tk8s_gitsync::VerifiedRevision::new;
}
