//! Encryption: rustls with the system's roots or a file's, and a client certificate if Redis wants one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How a connection is encrypted. The server's name is always verified.
///
/// `rediss://` in [`Options::from_url`](super::Options::from_url) trusts the system's
/// authorities. To trust one of your own, or to show a certificate:
///
/// ```no_run
/// use std::path::Path;
/// use trunkline::conn::{Options, Tls};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut options = Options::from_url("redis://redis.internal:6380", "shop", "checkout")?;
/// options.tls = Some(Tls::new(Some(Path::new("authority.pem")), None)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tls(Arc<ClientConfig>);

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read as PEM.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No root certificate was found.
    #[error("no root certificate found on this system; name a file of them")]
    NoRoots,
    /// The certificate and the key do not fit, or the crypto provider refused them.
    #[error("client certificate: {0}")]
    Client(#[from] rustls::Error),
}

impl Tls {
    /// Trusts the certificates in `roots` (PEM), or the system's when there is none, and shows
    /// the client certificate and key in `client` (PEM files) when given.
    ///
    /// # Errors
    /// [`TlsError`] when a file cannot be read or does not hold what it should.
    pub fn new(roots: Option<&Path>, client: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let mut trusted = RootCertStore::empty();
        match roots {
            Some(path) => {
                for certificate in certificates(path)? {
                    trusted.add(certificate).map_err(|error| problem(path, &error))?;
                }
            }
            None => {
                // Unreadable single certificates are the system's business; none at all is ours.
                let (_, _ignored) = trusted
                    .add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if trusted.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted);
        let config = match client {
            Some((certificate, key)) => {
                let private =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| problem(key, &error))?;
                builder.with_client_auth_cert(certificates(certificate)?, private)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(config)))
    }
}

impl Tls {
    /// Encrypts a stream to `host`, whose certificate must name it.
    ///
    /// # Errors
    /// When the handshake fails; the text says why.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| problem(path, &error))?.collect();
    let all = all.map_err(|error| problem(path, &error))?;
    if all.is_empty() {
        return Err(problem(path, &"holds no certificate"));
    }
    Ok(all)
}

fn problem(path: &Path, problem: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), problem: problem.to_string() }
}
