//! Calls that wait for the disk.

/// Runs such a call without holding up other tasks of this thread.
pub fn disk<T>(call: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(call)
}
