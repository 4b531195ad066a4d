//! The certificate by which the API is known: from files, read again when they change, or made here.
//!
//! One that is made here is signed by its own key, which never leaves the process: another start has another one. Whoever
//! calls finds it in the cluster ([`super::published`]); nobody has to believe it for any other reason. Files that can't be
//! used at the start end the process; later ones leave in force what was, and that is said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tk8s_config::{FileWatch, TlsConfig};
use tk8s_core::{Digest, Timestamp, chain};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

/// How long a certificate that is made here is good.
const GOOD_FOR: jiff::SignedDuration = jiff::SignedDuration::from_hours(365 * 24);
/// After how long another one takes its place: long before somebody could find it expired.
const RENEWED: Duration = Duration::from_secs(180 * 24 * 3600);
/// How far behind the clock of whoever looks at it may be.
const CLOCKS: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// How often files are looked at without being told that they changed: not every file system tells.
const INTERVAL: Duration = Duration::from_secs(30);
/// Changes that come together are one: a certificate and its key, above all.
const SETTLE: Duration = Duration::from_millis(200);
/// The largest file that is read: a key and a long chain are some 20 KiB.
const LARGEST: u64 = 1024 * 1024;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not read `{}`", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    #[error("`{}` is larger than 1 MiB", .0.display())]
    TooLarge(PathBuf),
    #[error("`{}` can't be read as PEM", .0.display())]
    NotPem(PathBuf, #[source] rustls::pki_types::pem::Error),
    #[error("`{}` holds no certificate", .0.display())]
    Empty(PathBuf),
    #[error("`{}` and `{}` do not belong together, or can't be used", .0.display(), .1.display())]
    Unusable(PathBuf, PathBuf, #[source] rustls::Error),
    #[error("could not make a certificate")]
    Make(#[source] rcgen::Error),
    #[error("the certificate that was made can't be used")]
    Made(#[source] rustls::Error),
}

/// Where it comes from.
enum Origin {
    /// Made here, for these names.
    Own(Vec<SanType>),
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
}

/// The certificate that is in force.
pub struct Certificates {
    origin: Origin,
    in_force: RwLock<Arc<CertifiedKey>>,
    told: watch::Sender<String>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Certificates")
    }
}

impl Certificates {
    /// The first one; none where the API is plain HTTP. Namespace and instance say by which name its Service is called.
    pub fn new(config: &TlsConfig, namespace: &str, instance: &str) -> Result<Option<Arc<Certificates>>, Error> {
        let origin = match config {
            TlsConfig::None => return Ok(None),
            TlsConfig::Own => Origin::Own(names(namespace, instance)),
            TlsConfig::Files { certificate, key } => Origin::Files { certificate: certificate.clone(), key: key.clone() },
        };
        let first = origin.make()?;
        let (told, _) = watch::channel(pem(&first));
        Ok(Some(Arc::new(Certificates { origin, in_force: RwLock::new(Arc::new(first)), told })))
    }

    /// What a server needs to show it: TLS 1.2 at least, and nothing asked of whoever calls.
    pub fn server(self: &Arc<Certificates>) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("because the provider has both");
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// The certificate in force, as PEM, and every later one.
    pub fn told(&self) -> watch::Receiver<String> {
        self.told.subscribe()
    }

    /// From when until when the one in force is good, if that can be read.
    pub fn good(&self) -> Option<RangeInclusive<Timestamp>> {
        let in_force = Arc::clone(&self.in_force.read().expect("because nobody panics while holding it"));
        let read = x509_cert::Certificate::from_der(in_force.cert.first()?).ok()?;
        let validity = read.tbs_certificate().validity();
        let at = |time: &Time| Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok();
        Some(at(&validity.not_before)?..=at(&validity.not_after)?)
    }

    /// Keeps it up to date until told to stop.
    pub async fn follow(self: Arc<Certificates>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.followed() => {}
        }
    }

    async fn followed(&self) {
        let Origin::Files { certificate, key } = &self.origin else {
            loop {
                tokio::time::sleep(RENEWED).await;
                self.renew();
            }
        };
        let changed = Arc::new(Notify::new());
        let told = Arc::clone(&changed);
        let _watch = FileWatch::new([certificate.as_path(), key.as_path()], move || told.notify_one())
            .inspect_err(|error| tracing::warn!(error = %chain(error), "the certificate is looked at every 30 s instead"));
        let look = || [certificate, key].map(|path| read(path).ok().map(|bytes| Digest::of(&bytes)));
        let mut seen = look();
        loop {
            tokio::select! {
                () = changed.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let now = look();
            if now != seen {
                seen = now;
                self.renew();
            }
        }
    }

    /// Makes or reads the next one; what can't be used leaves in force what was.
    pub(super) fn renew(&self) {
        match self.origin.make() {
            Ok(next) => {
                let pem = pem(&next);
                *self.in_force.write().expect("because nobody panics while holding it") = Arc::new(next);
                self.told.send_replace(pem);
                tracing::info!("another certificate is in force");
            }
            Err(error) => tracing::error!(error = %chain(&error), "the certificate has changed and is not in force"),
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.in_force.read().expect("because nobody panics while holding it")))
    }
}

impl Origin {
    fn make(&self) -> Result<CertifiedKey, Error> {
        match self {
            Origin::Own(names) => own(names),
            Origin::Files { certificate, key } => from_files(certificate, key),
        }
    }
}

fn from_files(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let not_pem = |path: &Path, error| Error::NotPem(path.into(), error);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|error| not_pem(certificate, error))?;
    if chain.is_empty() {
        return Err(Error::Empty(certificate.into()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| not_pem(key, error))?;
    CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider())
        .map_err(|error| Error::Unusable(certificate.into(), key.into(), error))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let fail = |error| Error::Read(path.into(), error);
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(fail)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST { Err(Error::TooLarge(path.into())) } else { Ok(bytes) }
}

/// By which names the agent is called: by its Service, and on the machine or in the Pod where it runs.
fn names(namespace: &str, instance: &str) -> Vec<SanType> {
    let service = crate::identity::installed_as(instance);
    let hosts = [
        "localhost".to_owned(),
        service.clone(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ];
    let hosts = hosts.into_iter().filter_map(|host| host.try_into().ok().map(SanType::DnsName));
    let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    hosts.chain(addresses.map(SanType::IpAddress)).collect()
}

fn own(names: &[SanType]) -> Result<CertifiedKey, Error> {
    let day = |time: jiff::Timestamp| {
        let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    let now = jiff::Timestamp::now();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "tk8s-agent");
    let key = KeyPair::generate().map_err(Error::Make)?;
    let mut wanted = CertificateParams::default();
    (wanted.not_before, wanted.not_after) = (day(now - CLOCKS), day(now + GOOD_FOR));
    (wanted.subject_alt_names, wanted.distinguished_name) = (names.to_vec(), name);
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let made = wanted.self_signed(&key).map_err(Error::Make)?;
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    CertifiedKey::from_der(vec![made.der().clone()], secret, &aws_lc_rs::default_provider()).map_err(Error::Made)
}

/// The certificate itself, without those above it.
fn pem(certified: &CertifiedKey) -> String {
    use base64::Engine as _;
    let first = certified.cert.first().expect("because it was made with one");
    let text = base64::engine::general_purpose::STANDARD.encode(first);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_certificate_has_the_names_of_the_instance_s_service_and_of_the_machine() {
        let of = |instance: &str| format!("{:?}", names("ops", instance));
        for (instance, service) in [("tk8s", "tk8s-agent"), ("edge", "tk8s-agent-edge")] {
            for host in [format!("\"{service}\""), format!("\"{service}.ops.svc\""), "\"localhost\"".into(), "127.0.0.1".into()] {
                assert!(of(instance).contains(&host), "{instance}: {host}: {}", of(instance));
            }
        }
        assert!(!of("edge").contains("\"tk8s-agent\""));
        // It is good already for whose clock is a little behind, and for a year.
        let own = Certificates::new(&TlsConfig::Own, "ops", "tk8s").unwrap().unwrap();
        let (good, now) = (own.good().unwrap(), Timestamp::now());
        assert!(good.contains(&now) && !good.contains(&(now + 2 * GOOD_FOR)), "{good:?}");
        // What is no name is left out, and nothing else.
        assert!(!names("no name!\u{7f}ü", "tk8s").is_empty());
    }
}
