//! Panics of the parser: caught, and told by nobody but the error that they become. A panic is written to the log otherwise,
//! wherever it is caught, and a repository could fill it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread is in the parser.
    static PARSING: Cell<bool> = const { Cell::new(false) };
}

/// What `parse` gives; nothing if it panics.
pub(super) fn caught<T>(parse: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if !PARSING.get() {
                others(panic);
            }
        }));
    });
    PARSING.set(true);
    let result = catch_unwind(AssertUnwindSafe(parse));
    PARSING.set(false);
    result.ok()
}
