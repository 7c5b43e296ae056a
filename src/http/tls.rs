//! Encrypted connections: a certificate and its key, from files that may be renewed while the service runs.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate and its key, in PEM files. Cloning is shallow.
#[derive(Clone)]
pub struct Tls(Arc<Files>);

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.0.certificate)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate, followed by those between it and the root, and its key. Connections are TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// The operating system; `InvalidData` where a file does not hold what it should, or the key is of another
    /// certificate.
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> io::Result<Tls> {
        let (certificate, key) = (certificate.into(), key.into());
        let config = RwLock::new(read(&certificate, &key)?);
        Ok(Tls(Arc::new(Files {
            certificate,
            key,
            config,
        })))
    }

    /// Reads the files again. Connections that are open go on; those that follow get the new certificate.
    ///
    /// # Errors
    /// Those of [`Tls::from_files`]; the certificate then stays as it was.
    pub fn reload(&self) -> io::Result<()> {
        let read = read(&self.0.certificate, &self.0.key)?;
        let mut config = self
            .0
            .config
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *config = read;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

fn read(certificate: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(certificate, error))?;
    if chain.is_empty() {
        return Err(failed(certificate, PemError::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, error))?;
    let invalid = |error| {
        let (certificate, key) = (certificate.display(), key.display());
        let text = format!("{certificate} with the key in {key}: {error}");
        io::Error::new(ErrorKind::InvalidData, text)
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(invalid)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(invalid)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn failed(path: &Path, error: PemError) -> io::Error {
    let (kind, text) = match error {
        PemError::Io(error) => (error.kind(), error.to_string()),
        PemError::NoItemsFound => (
            ErrorKind::InvalidData,
            "it holds no PEM of this kind".to_owned(),
        ),
        error => (ErrorKind::InvalidData, error.to_string()),
    };
    io::Error::new(kind, format!("{}: {text}", path.display()))
}
