//! Builds rustls configurations from PEM files: towards clients, towards brokers, towards issuers.
//!
//! Every failure is one sentence that names the file. Cryptography is aws-lc-rs throughout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::file::UpstreamTls;
use crate::config::{ClientAuth, ListenerTls};

/// Why a file cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("cannot read {file}: {reason}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// It holds something else, or something broken.
    #[error("{file} does not hold {wanted}: {reason}")]
    Content {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The key and the certificate don't belong together, or rustls cannot use them.
    #[error("{certificate} and {key} cannot be used together: {reason}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// rustls' words.
        reason: String,
    },
    /// The system's own authorities cannot be had.
    #[error("the system has no certificate authorities that could be read; install ca-certificates or set `ca_file`")]
    NoSystemRoots,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The configuration towards clients of a listener.
///
/// # Errors
/// [`TlsFileError`], naming the file.
pub fn server(tls: &ListenerTls) -> Result<ServerConfig, TlsFileError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|error| pair_error(&tls.certificate_file, &tls.key_file, &error))?;
    let builder = match (tls.client_auth, &tls.client_ca_file) {
        (ClientAuth::None, _) | (_, None) => builder.with_no_client_auth(),
        (auth, Some(ca_file)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(ca_file)?), provider());
            let verifier = if auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|error| TlsFileError::Content {
                file: ca_file.clone(),
                wanted: "certificate authorities in PEM",
                reason: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = (certificates(&tls.certificate_file)?, private_key(&tls.key_file)?);
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| pair_error(&tls.certificate_file, &tls.key_file, &error))?;
    // A client that resumes saves both sides the signature; tickets' keys live and die with this configuration.
    if let Ok(ticketer) = rustls::crypto::aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(config)
}

/// The configuration towards brokers. Which name their certificates must have is up to whoever connects.
///
/// # Errors
/// [`TlsFileError`], naming the file.
pub fn upstream(tls: &UpstreamTls) -> Result<ClientConfig, TlsFileError> {
    let own = match (&tls.certificate_file, &tls.key_file) {
        (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
        _ => None,
    };
    client(tls.ca_file.as_deref(), own)
}

/// A configuration that checks servers against `ca_file` or the system's authorities, and shows
/// the certificate and key `own` where asked to.
///
/// # Errors
/// [`TlsFileError`], naming the file.
pub fn client(ca_file: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<ClientConfig, TlsFileError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|error| pair_error(Path::new(""), Path::new(""), &error))?
        .with_webpki_verifier(verifier(ca_file)?);
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| pair_error(certificate, key, &error)),
    }
}

/// A configuration that trusts no server: for connections that are plain anyway.
///
/// # Errors
/// Where rustls cannot be set up.
pub fn no_authorities() -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn verifier(ca_file: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>, TlsFileError> {
    let roots = match ca_file {
        Some(file) => authorities(file)?,
        None => system_authorities()?,
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|error| {
        TlsFileError::Content {
            file: ca_file.unwrap_or_else(|| Path::new("the system's store")).to_owned(),
            wanted: "certificate authorities in PEM",
            reason: error.to_string(),
        }
    })
}

fn system_authorities() -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    // Single certificates of the system that rustls cannot read are the system's affair.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsFileError::NoSystemRoots) } else { Ok(roots) }
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| TlsFileError::Content {
            file: file.to_owned(),
            wanted: "certificate authorities in PEM",
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let text = read(file)?;
    let wrong =
        |reason: String| TlsFileError::Content { file: file.to_owned(), wanted: "a certificate in PEM", reason };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() { Err(wrong("there is no BEGIN CERTIFICATE line".to_owned())) } else { Ok(chain) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| TlsFileError::Content {
        file: file.to_owned(),
        wanted: "a private key in PEM (PKCS#8, PKCS#1 or SEC 1, without a passphrase)",
        reason: error.to_string(),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsFileError> {
    std::fs::read(file).map_err(|reason| TlsFileError::Unreadable { file: file.to_owned(), reason })
}

fn pair_error(certificate: &Path, key: &Path, error: &rustls::Error) -> TlsFileError {
    let reason = match error {
        rustls::Error::InconsistentKeys(_) => "the certificate is for another key".to_owned(),
        other => other.to_string(),
    };
    TlsFileError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PrincipalFrom;

    fn listener(folder: &Path) -> ListenerTls {
        let of = |name: &str, key: &str| {
            let pair = rcgen::generate_simple_self_signed(vec!["gw.example.com".to_owned()]).unwrap();
            std::fs::write(folder.join(name), pair.cert.pem()).unwrap();
            std::fs::write(folder.join(key), pair.signing_key.serialize_pem()).unwrap();
        };
        of("server.pem", "server.key");
        of("other.pem", "other.key");
        std::fs::write(folder.join("garbage"), "hello").unwrap();
        ListenerTls {
            certificate_file: folder.join("server.pem"),
            key_file: folder.join("server.key"),
            client_ca_file: None,
            client_auth: ClientAuth::None,
            principal_from: PrincipalFrom::CommonName,
        }
    }

    #[test]
    fn every_unusable_file_is_one_sentence_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let good = listener(folder.path());
        assert!(server(&good).is_ok());
        let file = |name: &str| folder.path().join(name);
        let rows: [(&str, ListenerTls, &str); 6] = [
            ("missing key", ListenerTls { key_file: file("none"), ..good.clone() }, "none: No such file"),
            ("key of another", ListenerTls { key_file: file("other.key"), ..good.clone() }, "for another key"),
            (
                "no certificate",
                ListenerTls { certificate_file: file("server.key"), ..good.clone() },
                "BEGIN CERTIFICATE",
            ),
            ("no key", ListenerTls { key_file: file("garbage"), ..good.clone() }, "does not hold a private key"),
            ("swapped", ListenerTls { key_file: file("server.pem"), ..good.clone() }, "does not hold a private key"),
            (
                "no authority",
                ListenerTls {
                    client_ca_file: Some(file("garbage")),
                    client_auth: ClientAuth::Required,
                    ..good.clone()
                },
                "garbage does not hold a certificate",
            ),
        ];
        for (row, tls, says) in rows {
            let error = server(&tls).expect_err(row).to_string();
            assert!(error.contains(says), "{row}: {error}");
            assert!(!error.contains('\n'), "{row}: {error}");
        }
    }

    #[test]
    fn a_broker_is_checked_against_the_authorities_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let tls = listener(folder.path());
        for (ca_file, host, accepted) in [
            ("server.pem", "gw.example.com", true),
            ("server.pem", "10.0.0.1", false),
            ("other.pem", "gw.example.com", false),
        ] {
            let files = UpstreamTls { ca_file: Some(folder.path().join(ca_file)), ..UpstreamTls::default() };
            let config = Arc::new(upstream(&files).unwrap());
            let name = rustls::pki_types::ServerName::try_from(host).unwrap();
            let mut client = rustls::ClientConnection::new(config, name).unwrap();
            let mut server = rustls::ServerConnection::new(Arc::new(super::server(&tls).unwrap())).unwrap();
            assert_eq!(shake_hands(&mut client, &mut server).is_ok(), accepted, "{ca_file} {host}");
        }
    }

    fn shake_hands(
        client: &mut rustls::ClientConnection,
        server: &mut rustls::ServerConnection,
    ) -> Result<(), rustls::Error> {
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }
}
