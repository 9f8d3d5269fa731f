//! A certificate authority that lives as long as one test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// PEM files: an authority, and what it signed for a server and for a client.
pub struct Certificates {
    /// The authority's certificate, which both sides trust.
    pub authority: PathBuf,
    /// For `localhost` and 127.0.0.1.
    pub server: Pair,
    /// For a client that must show one.
    pub client: Pair,
}

/// A certificate and its key.
pub struct Pair {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of the private key, PKCS #8.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes new ones and writes them into the directory.
    pub fn write(directory: &Path) -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).expect("no names, none wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Trunkline test authority");
        let key = KeyPair::generate().expect("a key");
        let authority = directory.join("authority.pem");
        fs::write(&authority, params.self_signed(&key).expect("a certificate").pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let sign = |name: &str, subjects: &[&str]| {
            let subjects: Vec<_> = subjects.iter().map(|&s| s.to_owned()).collect();
            let mut params = CertificateParams::new(subjects).expect("valid names");
            params.distinguished_name.push(DnType::CommonName, format!("Trunkline test {name}"));
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            let pair = Pair {
                certificate: directory.join(format!("{name}.pem")),
                key: directory.join(format!("{name}.key")),
            };
            fs::write(&pair.certificate, certificate.pem()).unwrap();
            fs::write(&pair.key, key.serialize_pem()).unwrap();
            pair
        };
        Certificates {
            server: sign("server", &["localhost", "127.0.0.1"]),
            client: sign("client", &["client"]),
            authority,
        }
    }
}
