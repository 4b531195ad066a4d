//! SSH inside the process: one connection, one `git-upload-pack`, as bytes that Git's protocol is spoken over.
//!
//! There is no `ssh` program in the image, and the host key policy is ours: what the known_hosts file does not name is
//! refused. Every wait has a deadline.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, Handler};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelStream, Preferred};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout_at};

use crate::Error;
use crate::fetch::SshAuth;
use crate::known_hosts::{self, Known, Verdict};

/// Where to connect and as whom.
pub(crate) struct Target<'a> {
    pub(crate) user: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) path: &'a str,
}

/// An open `git-upload-pack`: two ends of one channel. Ends when both are dropped.
pub(crate) struct Session {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// The error behind an I/O error of the two ends.
    pub(crate) fault: Fault,
}

/// Remembers why a read or write failed, in our own words: the protocol layers above only pass on text.
#[derive(Clone, Default)]
pub(crate) struct Fault(Arc<Mutex<Option<Error>>>);

impl Fault {
    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    fn set(&self, error: Error) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
    }
}

/// Connects, proves who both sides are, and starts `git-upload-pack`.
pub(crate) fn open(target: &Target<'_>, auth: &SshAuth, timeout: Duration) -> Result<Session, Error> {
    let deadline = Instant::now() + timeout;
    let host = known_hosts::name(target.host, target.port);
    let known = Known::read(&auth.known_hosts_file, target.host, target.port)?;
    let key = read_key(&auth.key_file)?;
    // A runtime of its own: its worker drives the connection while this thread waits for bytes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .thread_name("tk8s-ssh")
        .build()
        .map_err(|source| Error::Connect { host: host.clone(), source })?;
    let waits = Waits { host: host.clone(), deadline, after: timeout };
    let (handle, stream) = runtime.block_on(connect(target, known, key, &waits))?;
    let (read, write) = tokio::io::split(stream);
    let fault = Fault::default();
    let shared = Arc::new(Shared { runtime: Some(runtime), _handle: handle, waits, fault: fault.clone() });
    Ok(Session {
        reader: Reader { half: Some(read), shared: Arc::clone(&shared) },
        writer: Writer { half: Some(write), shared },
        fault,
    })
}

fn read_key(path: &Path) -> Result<russh::keys::PrivateKey, Error> {
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

/// The deadline of a fetch, and what to say when it passes.
struct Waits {
    host: String,
    deadline: Instant,
    after: Duration,
}

impl Waits {
    async fn until<T>(&self, phase: &'static str, act: impl Future<Output = T>) -> Result<T, Error> {
        timeout_at(self.deadline, act).await.map_err(|_| self.timeout(phase))
    }

    fn timeout(&self, phase: &'static str) -> Error {
        Error::Timeout { host: self.host.clone(), phase, after: self.after }
    }

    fn ssh(&self, error: &russh::Error) -> Error {
        Error::Ssh { host: self.host.clone(), why: tk8s_core::printable(&error.to_string(), 200) }
    }
}

async fn connect(
    target: &Target<'_>,
    known: Known,
    key: russh::keys::PrivateKey,
    waits: &Waits,
) -> Result<(client::Handle<Guard>, ChannelStream<client::Msg>), Error> {
    let tcp = waits.until("connecting", TcpStream::connect((target.host, target.port))).await?;
    let tcp = tcp.map_err(|source| Error::Connect { host: waits.host.clone(), source })?;
    tcp.set_nodelay(true).ok();
    let algorithms = known.algorithms();
    let mut preferred = Preferred::DEFAULT;
    if !algorithms.is_empty() {
        preferred.key = algorithms.into();
    }
    let config = client::Config { preferred, inactivity_timeout: Some(waits.after), nodelay: true, ..client::Config::default() };
    let refused = Arc::new(Mutex::new(None));
    let guard = Guard { known, host: waits.host.clone(), refused: Arc::clone(&refused) };
    let connected = waits.until("agreeing on keys", client::connect_stream(Arc::new(config), tcp, guard)).await?;
    let mut handle = connected.map_err(|error| {
        let refused = refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        refused.unwrap_or_else(|| waits.ssh(&error))
    })?;
    let hash = waits.until("logging in", handle.best_supported_rsa_hash()).await?.map_err(|error| waits.ssh(&error))?.flatten();
    let login = handle.authenticate_publickey(target.user, PrivateKeyWithHashAlg::new(Arc::new(key), hash));
    let login = waits.until("logging in", login).await?.map_err(|error| waits.ssh(&error))?;
    if !login.success() {
        return Err(Error::Unauthenticated { host: waits.host.clone(), user: target.user.into() });
    }
    let channel = waits.until("opening a channel", handle.channel_open_session()).await?.map_err(|error| waits.ssh(&error))?;
    // A server that does not take the variable speaks version 0, which works too.
    waits
        .until("opening a channel", channel.set_env(false, "GIT_PROTOCOL", "version=2"))
        .await?
        .map_err(|error| waits.ssh(&error))?;
    let command = format!("git-upload-pack {}", quote(target.path));
    waits.until("starting git-upload-pack", channel.exec(true, command)).await?.map_err(|error| waits.ssh(&error))?;
    Ok((handle, channel.into_stream()))
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
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let (host, fingerprint) = (self.host.clone(), known_hosts::fingerprint(key));
        let error = match self.known.judge(key) {
            Verdict::Known => return Ok(true),
            Verdict::Unknown => Error::UnknownHost { host, fingerprint },
            Verdict::Changed => Error::ChangedHostKey { host, fingerprint },
            Verdict::Revoked => Error::RevokedHostKey { host, fingerprint },
        };
        *self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
        Ok(false)
    }
}

/// What both ends of the channel keep alive.
struct Shared {
    runtime: Option<Runtime>,
    _handle: client::Handle<Guard>,
    waits: Waits,
    fault: Fault,
}

impl Shared {
    fn wait<T>(&self, phase: &'static str, act: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let Some(runtime) = &self.runtime else { return Err(io::ErrorKind::NotConnected.into()) };
        match runtime.block_on(async { timeout_at(self.waits.deadline, act).await }) {
            Ok(result) => result,
            Err(_) => {
                self.fault.set(self.waits.timeout(phase));
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

impl Shared {
    /// Closes one half of the channel, which says goodbye to the server: that needs the runtime.
    fn end<T>(&self, half: T) {
        if let Some(runtime) = &self.runtime {
            let _entered = runtime.enter();
            drop(half);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // May be dropped on a thread that must not wait; the connection ends with its tasks.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The server's words.
pub(crate) struct Reader {
    half: Option<ReadHalf<ChannelStream<client::Msg>>>,
    shared: Arc<Shared>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.end(self.half.take());
    }
}

impl io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(half) = &mut self.half else { return Err(io::ErrorKind::NotConnected.into()) };
        self.shared.wait("reading", async { half.read(buffer).await })
    }
}

/// Our words.
pub(crate) struct Writer {
    half: Option<WriteHalf<ChannelStream<client::Msg>>>,
    shared: Arc<Shared>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.end(self.half.take());
    }
}

impl io::Write for Writer {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let Some(half) = &mut self.half else { return Err(io::ErrorKind::NotConnected.into()) };
        self.shared.wait("writing", async { half.write(buffer).await })
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(half) = &mut self.half else { return Err(io::ErrorKind::NotConnected.into()) };
        self.shared.wait("writing", async { half.flush().await })
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
