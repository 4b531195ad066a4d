//! A real sshd on a port of its own, for the user who runs the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The server; it ends with this value.
pub struct Sshd {
    child: Child,
    home: PathBuf,
    port: u16,
}

impl Sshd {
    /// Starts one whose files are in this directory. Nobody may log in yet.
    pub fn start(home: &Path) -> Sshd {
        let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let program = program.expect("sshd is needed: apt-get install openssh-server");
        let home = home.join("sshd");
        std::fs::create_dir_all(&home).expect("because it is ours");
        std::fs::create_dir_all("/run/sshd").ok();
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(home.join("host")).status();
        assert!(made.expect("ssh-keygen").success());
        std::fs::write(home.join("authorized_keys"), "").expect("because it is ours");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("because there is a port");
        let port = listener.local_addr().expect("because it listens").port();
        drop(listener);
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nPidFile none\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\nPasswordAuthentication no\n",
            home.display()
        );
        std::fs::write(home.join("sshd_config"), config).expect("because it is ours");
        let log = std::fs::File::create(home.join("log")).expect("because it is ours");
        let command = Command::new(program).args(["-D", "-e", "-f"]).arg(home.join("sshd_config")).stderr(log).spawn();
        let sshd = Sshd { child: command.expect("because sshd is there"), home, port };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(sshd.home.join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(10), "sshd does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }

    /// Lets nobody in but who has one of these keys.
    pub fn admit(&self, keys: &str) {
        std::fs::write(self.home.join("authorized_keys"), keys).expect("because it is ours");
    }

    /// The URL of a repository on this machine.
    pub fn url(&self, path: &Path) -> String {
        let user = Command::new("id").arg("-un").output().expect("id");
        let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
        format!("ssh://{user}@127.0.0.1:{}{}", self.port, path.display())
    }

    /// The line of known_hosts that this server is known by.
    pub fn known_hosts(&self) -> String {
        let host = std::fs::read_to_string(self.home.join("host.pub")).expect("because it was made");
        format!("[127.0.0.1]:{} {host}", self.port)
    }

    /// The fingerprint of its key, as `ssh-keygen` prints it.
    pub fn fingerprint(&self) -> String {
        let told = Command::new("ssh-keygen").arg("-lf").arg(self.home.join("host.pub")).output().expect("ssh-keygen");
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        told.split(' ').nth(1).expect("because it is the second word").to_owned()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
