//! What every transport of one fetch shares: a runtime, deadlines, a count of what was received, and the error in our own
//! words behind an I/O error, because the protocol layers above only pass on text.
//!
//! Two clocks run: one for the whole fetch, one that starts again with each wait. A server that sends a byte a minute
//! meets the first, one that falls silent the second.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout_at};

use crate::Error;
use crate::source::{Limits, Source};

/// The room that a listing of refs gets for each ref: names of good will are far shorter.
const BYTES_PER_REF: u64 = 512;

/// What a conversation says beside its refs: capabilities, acknowledgements, headers.
const BYTES_BESIDE_REFS: u64 = 64 * 1024;

/// One fetch, from connecting to the last byte.
pub(crate) struct Talk {
    runtime: Option<Runtime>,
    url: String,
    deadline: Instant,
    timeout: Duration,
    limits: Limits,
    fault: Mutex<Option<Error>>,
    received: AtomicU64,
    /// What may be received of refs and the like.
    listing: u64,
    /// Whether a pack may come by now.
    packing: AtomicBool,
}

impl Talk {
    /// Starts the clock. Threads are made here and end with this.
    pub(crate) fn begin(source: &Source) -> Result<Arc<Talk>, Error> {
        // A runtime of its own: its worker drives the connection while the fetching thread waits for bytes.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("tk8s-git").build().map_err(
                |error| Error::Fetch { url: source.url.to_string(), why: format!("no thread could be started: {error}") },
            )?;
        Ok(Arc::new(Talk {
            runtime: Some(runtime),
            url: source.url.to_string(),
            deadline: Instant::now() + source.timeout,
            timeout: source.timeout,
            limits: source.limits,
            fault: Mutex::default(),
            received: AtomicU64::new(0),
            listing: source.limits.refs as u64 * BYTES_PER_REF + BYTES_BESIDE_REFS,
            packing: AtomicBool::new(false),
        }))
    }

    /// The error behind the last I/O error, once.
    pub(crate) fn fault(&self) -> Option<Error> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Remembers an error and gives the I/O error that stands for it. The first one is the cause, and stays.
    pub(crate) fn fail(&self, error: Error) -> io::Error {
        let text = error.to_string();
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::other(text)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From here on a pack may come, and is counted by itself.
    pub(crate) fn expect_a_pack(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.packing.store(true, Ordering::Relaxed);
    }

    /// Counts what was received.
    pub(crate) fn count(&self, bytes: usize) -> Result<(), Error> {
        let received = self.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let (listing, limit) = (self.listing, self.limits.fetch_bytes);
        match self.packing.load(Ordering::Relaxed) {
            false if received > listing => Err(Error::TooManyRefs { url: self.url.clone(), limit: self.limits.refs }),
            true if received > limit => Err(Error::TooLarge { url: self.url.clone(), what: "bytes", limit, key: "fetchBytes" }),
            _ => Ok(()),
        }
    }

    /// Waits for an act, within both clocks.
    pub(crate) async fn until<T>(&self, host: &str, phase: &'static str, act: impl Future<Output = T>) -> Result<T, Error> {
        let stalled = Instant::now() + self.limits.stall;
        timeout_at(stalled.min(self.deadline), act).await.map_err(|_| {
            let after = if stalled < self.deadline { self.limits.stall } else { self.timeout };
            Error::Timeout { host: host.into(), phase, after }
        })
    }

    /// Runs a future on this thread, to its end.
    pub(crate) fn run<T>(&self, act: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("because it is taken by drop only").block_on(act)
    }

    /// A TCP connection.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let name = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        let tcp = self.until(&name, "connecting", TcpStream::connect((host, port))).await?;
        let tcp = tcp.map_err(|source| Error::Connect { host: name, source })?;
        tcp.set_nodelay(true).ok();
        Ok(tcp)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // May be dropped on a thread that must not wait; the connection ends with its tasks.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One direction of a connection, as bytes that Git's protocol is spoken over.
pub(crate) struct End<T> {
    stream: Option<T>,
    host: String,
    talk: Arc<Talk>,
    /// Lives as long as the stream does.
    _keep: Arc<dyn Any + Send + Sync>,
}

impl<T> End<T> {
    pub(crate) fn new(stream: T, host: &str, talk: &Arc<Talk>, keep: Arc<dyn Any + Send + Sync>) -> End<T> {
        End { stream: Some(stream), host: host.into(), talk: Arc::clone(talk), _keep: keep }
    }

    fn wait<V>(&self, phase: &'static str, act: impl Future<Output = io::Result<V>>) -> io::Result<V> {
        match self.talk.run(self.talk.until(&self.host, phase, act)) {
            Ok(result) => result,
            Err(error) => Err(self.talk.fail(error)),
        }
    }

    fn acting<V>(&mut self, act: impl FnOnce(&Self, &mut T) -> io::Result<V>) -> io::Result<V> {
        let Some(mut stream) = self.stream.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        let result = act(self, &mut stream);
        self.stream = Some(stream);
        result
    }
}

impl<T> Drop for End<T> {
    /// Says goodbye to the server, which needs the runtime.
    fn drop(&mut self) {
        if let Some(runtime) = &self.talk.runtime {
            let _entered = runtime.enter();
            drop(self.stream.take());
        }
    }
}

impl<T: AsyncRead + Unpin> io::Read for End<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.acting(|end, stream| end.wait("reading", stream.read(buffer)))?;
        self.talk.count(count).map_err(|error| self.talk.fail(error))?;
        Ok(count)
    }
}

impl<T: AsyncWrite + Unpin> io::Write for End<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.acting(|end, stream| end.wait("writing", stream.write(buffer)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.acting(|end, stream| end.wait("writing", stream.flush()))
    }
}
