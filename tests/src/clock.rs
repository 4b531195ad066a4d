//! A wall clock that a test sets while the agent runs: the machine's own, and some seconds more or less. What nobody sets on a real
//! machine either, the clock by which pauses and timeouts are counted, goes on as it does.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tk8s_core::Timestamp;

/// What is between a process and its wall clock.
pub struct Clock {
    library: PathBuf,
    ahead: PathBuf,
}

impl Clock {
    /// A clock that is right. Its files are in this directory.
    pub fn new(directory: &Path) -> Clock {
        let clock = Clock { library: directory.join("clock.so"), ahead: directory.join("clock.ahead") };
        std::fs::write(&clock.ahead, 0_i64.to_ne_bytes()).expect("because the directory is ours");
        let source = crate::top().join("tests/src/clock.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&clock.library).arg(source).output();
        let built = built.expect("cc");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        clock
    }

    /// With which a process is started that is to go by it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("LD_PRELOAD", self.library.display().to_string()), ("TEST_CLOCK", self.ahead.display().to_string())]
    }

    /// Sets it so many seconds ahead of the machine's, or behind it. Whoever goes by it knows at once.
    pub fn set_ahead(&self, seconds: i64) {
        let file = std::fs::File::options().write(true).open(&self.ahead).expect("because it is ours");
        file.write_all_at(&seconds.to_ne_bytes(), 0).expect("because it is ours");
    }

    /// Sets it to this time.
    pub fn set(&self, time: Timestamp) {
        self.set_ahead(time.as_second() - Timestamp::now().as_second());
    }
}
