//! From one environment to the next: what an instance says of the components that ran well, and what another one takes it
//! for. Pure, but for reading a directory; the clock is an argument.
//!
//! - [`steady`]: how long a release has been healthy, as whoever watches it sees it.
//! - [`statement`]: that, written down for others, in their formats.
//! - [`judge`]: whose word counts, for what, and whether it is enough.

pub mod judge;
pub mod statement;
pub mod steady;

#[cfg(test)]
mod tests {
    //! An instance that speaks of what ran there.

    use serde_json::Value;
    use tk8s_core::{ComponentTree, Digest, Environment, Revision, Secret, Timestamp};
    use tk8s_history::{History, IdentityKey, Options, Watchdog};

    use super::statement::{PAYLOAD, Ran, Statement};

    pub fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub fn tree(number: u32) -> ComponentTree {
        ComponentTree { tree: format!("{number:040x}").parse().unwrap(), rest: Digest::of("rest") }
    }

    pub struct Instance {
        history: History,
        cluster: &'static str,
        _directory: tempfile::TempDir,
    }

    impl Instance {
        pub fn new(cluster: &'static str, seed: u8) -> Instance {
            use base64::Engine as _;
            let directory = tempfile::tempdir().unwrap();
            // PKCS#8 of an Ed25519 key: sixteen bytes that say so, and the key.
            let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
            let body = base64::engine::general_purpose::STANDARD.encode([&head[..], &[seed; 32]].concat());
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
            let options = Options {
                dir: directory.path().join("history"),
                instance: "tk8s".parse().unwrap(),
                origin: format!("tk8s.io/{cluster}/tk8s"),
                identity_key: Secret::new(pem.into_bytes()),
                encryption_key: Secret::new(vec![b'7'; 64]),
                keep_releases: 2,
                watchdog: Watchdog::default(),
            };
            Instance { history: History::open(options, at(0)).unwrap(), cluster, _directory: directory }
        }

        pub fn key(&self) -> IdentityKey {
            self.history.public_key().parse().unwrap()
        }

        pub fn statement(&self, trees: &[ComponentTree], since: i64, until: i64) -> Value {
            let id = "0123456789".repeat(4);
            let ran = Ran {
                environment: Environment::Staging,
                cluster: self.cluster.into(),
                instance: "tk8s".into(),
                component: "web".parse().unwrap(),
                revision: Revision {
                    reference: "refs/heads/main".into(),
                    commit: id.parse().unwrap(),
                    tree: id.parse().unwrap(),
                    tag: None,
                },
                release: tk8s_core::ReleaseNumber(3),
                content: Digest::of("content"),
                healthy_since: at(since),
                healthy_until: at(until),
            };
            serde_json::from_slice(&Statement::of(ran, trees).to_bytes()).unwrap()
        }

        pub fn sign(&self, statement: &Value) -> String {
            self.sign_text(&statement.to_string())
        }

        pub fn sign_text(&self, text: &str) -> String {
            self.sign_as(PAYLOAD, text)
        }

        pub fn sign_as(&self, kind: &str, text: &str) -> String {
            self.history.envelope(kind, text.as_bytes())
        }
    }
}
