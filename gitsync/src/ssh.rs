//! SSH inside the process: one connection, one `git-upload-pack`, as bytes that Git's protocol is spoken over.
//!
//! There is no `ssh` program in the image, and the host key policy is ours: what the known_hosts file does not name is
//! refused. Every wait has a deadline.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{self, Handler};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelStream, Preferred};
use tokio::io::{ReadHalf, WriteHalf};

use crate::Error;
use crate::known_hosts::{self, Known, Verdict};
use crate::source::SshAuth;
use crate::talk::{End, Talk};

/// Where to connect and as whom.
pub(crate) struct Target<'a> {
    pub(crate) user: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) path: &'a str,
}

/// The server's words.
pub(crate) type Reader = End<ReadHalf<ChannelStream<client::Msg>>>;
/// Our words.
pub(crate) type Writer = End<WriteHalf<ChannelStream<client::Msg>>>;

/// Connects, proves who both sides are, and starts `git-upload-pack`. The connection ends when both ends are dropped.
pub(crate) fn open(target: &Target<'_>, auth: &SshAuth, talk: &Arc<Talk>) -> Result<(Reader, Writer), Error> {
    let known = Known::read(&auth.known_hosts_file, target.host, target.port)?;
    let keys = auth.key_files.iter().map(|file| read_key(file)).collect::<Result<Vec<_>, _>>()?;
    let (handle, stream) = talk.run(connect(target, known, keys, talk))?;
    let (read, write) = tokio::io::split(stream);
    let keep: Arc<client::Handle<Guard>> = Arc::new(handle);
    Ok((End::new(read, target.host, talk, keep.clone()), End::new(write, target.host, talk, keep)))
}

/// The key that a host shows to whoever asks. Nobody has proven it: whoever takes it compares the fingerprint first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// As a known_hosts file names the host and its key.
    pub line: String,
    /// As OpenSSH prints it.
    pub fingerprint: String,
}

/// Asks a host for its key, and logs in nowhere. `source` names it, and how long it may take.
pub fn host_key(source: &crate::Source) -> Result<HostKey, Error> {
    let tk8s_core::RepositoryUrl::Ssh { host, port, .. } = &source.url else {
        return Err(Error::Ssh { host: source.url.to_string(), why: "it is not reached over SSH".into() });
    };
    let talk = Talk::begin(source)?;
    let name = known_hosts::name(host, *port);
    let shown: Arc<Mutex<Option<PublicKey>>> = Arc::default();
    let asking = Asking(Arc::clone(&shown));
    let preferred = Preferred { host_key_certificates: Vec::new().into(), ..Preferred::DEFAULT };
    let config = client::Config { preferred, inactivity_timeout: Some(talk.limits().stall), ..client::Config::default() };
    let asked = async {
        let tcp = talk.connect(host, *port).await?;
        talk.until(&name, "asking for its key", client::connect_stream(Arc::new(config), tcp, asking)).await
    };
    let ended = talk.run(asked)?;
    let key = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (key, ended) {
        (Some(key), _) => Ok(HostKey {
            line: format!("{name} {}", key.to_openssh().expect("because a key that was read can be written")),
            fingerprint: known_hosts::fingerprint(&key),
        }),
        (None, Err(error)) => Err(Error::Ssh { host: name, why: tk8s_core::printable(&error.to_string(), 200) }),
        (None, Ok(_)) => Err(Error::Ssh { host: name, why: "it shows no key".into() }),
    }
}

/// Takes the host's key, and goes.
struct Asking(Arc<Mutex<Option<PublicKey>>>);

impl Handler for Asking {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = shown {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        }
        Ok(false)
    }
}

fn read_key(path: &Path) -> Result<PrivateKey, Error> {
    std::fs::metadata(path).map_err(|source| Error::ReadFile { what: "SSH key", path: path.into(), source })?;
    load_secret_key(path, None).map_err(|error| {
        let why = match error {
            russh::keys::Error::KeyIsEncrypted => "it is encrypted: the agent needs a key without a passphrase".to_owned(),
            _ => "it is not a private key that is understood: use an OpenSSH key, for example from `ssh-keygen -t ed25519`"
                .to_owned(),
        };
        Error::Key { path: path.into(), why }
    })
}

async fn connect(
    target: &Target<'_>,
    known: Known,
    keys: Vec<PrivateKey>,
    talk: &Talk,
) -> Result<(client::Handle<Guard>, ChannelStream<client::Msg>), Error> {
    let host = known_hosts::name(target.host, target.port);
    let failed = |error: &russh::Error| Error::Ssh { host: host.clone(), why: tk8s_core::printable(&error.to_string(), 200) };
    let tcp = talk.connect(target.host, target.port).await?;
    let mut preferred = Preferred { host_key_certificates: known.certificate_algorithms().into(), ..Preferred::DEFAULT };
    let algorithms = known.algorithms();
    if !algorithms.is_empty() {
        preferred.key = algorithms.into();
    }
    let config =
        client::Config { preferred, inactivity_timeout: Some(talk.limits().stall), nodelay: true, ..client::Config::default() };
    let refused = Arc::new(Mutex::new(None));
    let guard = Guard { known, host: host.clone(), refused: Arc::clone(&refused) };
    let connected = talk.until(&host, "agreeing on keys", client::connect_stream(Arc::new(config), tcp, guard)).await?;
    let mut handle = connected.map_err(|error| {
        let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.unwrap_or_else(|| failed(&error))
    })?;
    log_in(&mut handle, target, &host, keys, talk).await?;
    let channel = talk.until(&host, "opening a channel", handle.channel_open_session()).await?.map_err(|error| failed(&error))?;
    // A server that does not take the variable speaks version 0, which works too.
    talk.until(&host, "opening a channel", channel.set_env(false, "GIT_PROTOCOL", "version=2"))
        .await?
        .map_err(|error| failed(&error))?;
    let command = format!("git-upload-pack {}", quote(target.path));
    talk.until(&host, "starting git-upload-pack", channel.exec(true, command)).await?.map_err(|error| failed(&error))?;
    Ok((handle, channel.into_stream()))
}

/// Offers the keys one after the other.
async fn log_in(
    handle: &mut client::Handle<Guard>,
    target: &Target<'_>,
    host: &str,
    keys: Vec<PrivateKey>,
    talk: &Talk,
) -> Result<(), Error> {
    let failed = |error: &russh::Error| Error::Ssh { host: host.into(), why: tk8s_core::printable(&error.to_string(), 200) };
    let hash = talk.until(host, "logging in", handle.best_supported_rsa_hash()).await?.map_err(|error| failed(&error))?.flatten();
    for key in keys {
        let login = handle.authenticate_publickey(target.user, PrivateKeyWithHashAlg::new(Arc::new(key), hash));
        if talk.until(host, "logging in", login).await?.map_err(|error| failed(&error))?.success() {
            return Ok(());
        }
    }
    Err(Error::Unauthenticated { host: host.into(), user: target.user.into() })
}

/// Quotes for the shell at the other end, which is how every Git server reads the path.
fn quote(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''").replace('!', r"'\!'"))
}

/// Judges the host's key.
struct Guard {
    known: Known,
    host: String,
    refused: Arc<Mutex<Option<Error>>>,
}

impl Handler for Guard {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let host = self.host.clone();
        let (verdict, fingerprint) = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => (self.known.judge(key), known_hosts::fingerprint(key)),
            PublicKeyOrCertificate::Certificate(certificate) => {
                let now = tk8s_core::Timestamp::now();
                (self.known.judge_certificate(certificate, now), known_hosts::certificate_fingerprint(certificate))
            }
        };
        let error = match verdict {
            Verdict::Known => return Ok(true),
            Verdict::Unknown => Error::UnknownHost { host, fingerprint },
            Verdict::Changed => Error::ChangedHostKey { host, fingerprint },
            Verdict::Revoked => Error::RevokedHostKey { host, fingerprint },
            Verdict::BadCertificate(why) => Error::HostCertificate { host, why },
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_path_cannot_end_its_quotes() {
        assert_eq!(super::quote("/a b"), "'/a b'");
        assert_eq!(super::quote("/a'; id; '"), r"'/a'\''; id; '\'''");
    }
}
