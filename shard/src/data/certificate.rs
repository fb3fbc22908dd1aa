//! The principal that a client certificate names. rustls has verified the certificate already;
//! here only its words are read (RFC 5280).

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tidegate_core::words::Principal;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::PrincipalFrom;

/// The issuer under which policy and evidence know these principals.
const ISSUER: &str = "tls";

/// The principal that `certificate` names; `None` where it has no such part or cannot be read.
#[must_use]
pub fn principal(certificate: &CertificateDer<'_>, from: PrincipalFrom) -> Option<Principal> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = match from {
        PrincipalFrom::CommonName => parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned(),
        PrincipalFrom::DistinguishedName => parsed.subject().to_string(),
        PrincipalFrom::SanDns => alternative(&parsed, |name| match name {
            GeneralName::DNSName(dns) => Some(*dns),
            _ => None,
        })?,
        PrincipalFrom::SanEmail => alternative(&parsed, |name| match name {
            GeneralName::RFC822Name(mail) => Some(*mail),
            _ => None,
        })?,
        PrincipalFrom::SanUri => alternative(&parsed, |name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })?,
    };
    if name.is_empty() {
        return None;
    }
    let name: Arc<str> = Arc::from(name);
    Some(Principal { issuer: Arc::from(ISSUER), subject: name.clone(), name, groups: Vec::new() })
}

fn alternative(
    certificate: &X509Certificate<'_>,
    pick: impl for<'n> Fn(&'n GeneralName<'_>) -> Option<&'n str>,
) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(pick).map(str::to_owned)
}
