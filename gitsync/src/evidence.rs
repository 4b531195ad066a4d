//! What other instances say of releases, as it lies in the repository: refs below `refs/tk8s/evidence/`, each of which names
//! a file with a few statements.
//!
//! Whoever may push may put anything there: it is fetched only where it is asked for, bounded, and nobody's word until its
//! signature was looked at, which is not done here.

use gix::objs::Kind;

use crate::sealed::Fetched;

/// What the refs begin with.
pub const EVIDENCE: &str = "refs/tk8s/evidence/";
/// The most refs that are read, in the order of their names.
const MOST: usize = 10_000;
/// The largest file that is read.
const LARGEST: u64 = 256 * 1024;
/// Bytes of all files together: some thirty thousand statements.
const LARGEST_TOGETHER: u64 = 32 * 1024 * 1024;

/// What one ref names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The ref, by its full name.
    pub reference: String,
    /// The file's bytes, or why they were not read.
    pub bytes: Result<Vec<u8>, String>,
}

/// Everything of it that was fetched.
pub fn evidence(fetched: &Fetched) -> Vec<Evidence> {
    let mut left = LARGEST_TOGETHER;
    let mut read = |id: &String| match fetched.store.size(id) {
        None => Err("its object is missing".to_owned()),
        Some(size) if size > LARGEST => Err(format!("it has {size} bytes, at most {LARGEST} are read")),
        Some(size) => match left.checked_sub(size) {
            None => Err(format!("together they have more than {LARGEST_TOGETHER} bytes: delete old ones")),
            Some(rest) => {
                left = rest;
                match fetched.store.read(id) {
                    Ok((Kind::Blob, bytes)) => Ok(bytes),
                    Ok((kind, _)) => Err(format!("it names a {kind}, and not a file")),
                    Err(error) => Err(tk8s_core::chain(&error)),
                }
            }
        },
    };
    let refs = fetched.evidence.iter().take(MOST);
    refs.map(|(reference, id)| Evidence { reference: reference.clone(), bytes: read(id) }).collect()
}
