//! TLS on a line, and by what the agent is known at its other end.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tk8s_core::chain;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Error, Line, unreachable};

/// Whoever shows a certificate for this host, of the authorities in the file or of the system's.
pub(crate) async fn by_authorities<L: Line>(line: L, host: &str, file: Option<&Path>) -> Result<TlsStream<L>, Error> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let unusable = |error: &dyn std::fmt::Display| Error::Usage(format!("`{}`: {error}", file.display()));
            let text = tokio::fs::read(file).await.map_err(|error| Error::Read(file.into(), error))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"it holds no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| Error::Usage(format!("`{host}`: {error}")))?;
    let config = builder().with_root_certificates(roots).with_no_client_auth();
    handshake(line, name, config).await
}

/// Whoever has the key of this one certificate, whatever name is in it and until when it says it is good.
pub(crate) async fn by_itself<L: Line>(line: L, certificate: CertificateDer<'static>) -> Result<TlsStream<L>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let known = Arc::new(Itself { certificate, provider });
    let config = builder().dangerous().with_custom_certificate_verifier(known).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("because it is a name");
    handshake(line, name, config).await
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("because the provider has both")
}

async fn handshake<L: Line>(line: L, name: ServerName<'static>, config: ClientConfig) -> Result<TlsStream<L>, Error> {
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, line).await.map_err(|error| unreachable(&chain(&error)))
}

#[derive(Debug)]
struct Itself {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Itself {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *shown == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
