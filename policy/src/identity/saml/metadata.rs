//! An identity provider's metadata: which keys sign its assertions and where a browser logs in.
//!
//! Trust in it comes from how it was got (a file, or HTTPS), not from a signature in it. Source: SAML
//! 2.0 Metadata §2.3, §2.4.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidegate_core::words::Timestamp;
use uppsala::NodeId;

use super::document::{METADATA_BYTES_MAX, Tree};
use super::error::SamlError;
use super::{METADATA, POST, PROTOCOL, REDIRECT, SIGNATURE};

const WHAT: &str = "metadata document";
/// Keys that are tried; a roll-over has two.
const KEYS_MAX: usize = 16;

/// What a provider says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The provider.
    pub entity_id: String,
    /// Where a browser is redirected to log in.
    pub redirect_url: Option<String>,
    /// Where a browser posts to log in.
    pub post_url: Option<String>,
    /// Until when this may be used.
    pub valid_until: Option<Timestamp>,
    /// Certificates (DER) whose keys sign assertions: all of them hold, so that keys can roll over.
    pub(crate) certificates: Vec<Vec<u8>>,
}

impl Metadata {
    /// Reads the part about `entity_id` from a metadata document of at most 4 MiB.
    ///
    /// # Errors
    /// [`SamlError`] where it is not XML, has no such provider, or names no signing key.
    pub fn parse(xml: &str, entity_id: &str) -> Result<Self, SamlError> {
        let tree = Tree::parse(xml, METADATA_BYTES_MAX)?;
        let mut entities = tree
            .everywhere(METADATA, "EntityDescriptor")
            .filter(|entity| tree.attribute(*entity, "entityID") == Some(entity_id));
        let entity = entities.next().ok_or_else(|| wrong(format!("it has no entity `{entity_id}`")))?;
        if entities.next().is_some() {
            return Err(wrong(format!("it has the entity `{entity_id}` twice")));
        }
        let mut roles = tree.named(entity, METADATA, "IDPSSODescriptor").filter(|role| {
            let protocols = tree.attribute(*role, "protocolSupportEnumeration").unwrap_or_default();
            protocols.split_ascii_whitespace().any(|protocol| protocol == PROTOCOL)
        });
        let role =
            roles.next().ok_or_else(|| wrong(format!("`{entity_id}` is no SAML 2.0 identity provider in it")))?;
        let certificates = certificates(&tree, role)?;
        let login = |binding: &str| {
            let mut services = tree.named(role, METADATA, "SingleSignOnService");
            let service = services.find(|service| tree.attribute(*service, "Binding") == Some(binding))?;
            tree.attribute(service, "Location").map(str::to_owned)
        };
        let mut valid_until = None;
        for node in [role, entity, tree.root()] {
            if let Some(until) = tree.attribute(node, "validUntil") {
                let until = instant(until).ok_or_else(|| wrong("its validUntil is no time".to_owned()))?;
                valid_until = Some(valid_until.map_or(until, |earlier: Timestamp| earlier.min(until)));
            }
        }
        Ok(Self {
            entity_id: entity_id.to_owned(),
            redirect_url: login(REDIRECT),
            post_url: login(POST),
            valid_until,
            certificates,
        })
    }
}

fn certificates(tree: &Tree<'_>, role: NodeId) -> Result<Vec<Vec<u8>>, SamlError> {
    let mut certificates = Vec::new();
    for descriptor in tree.named(role, METADATA, "KeyDescriptor") {
        if !matches!(tree.attribute(descriptor, "use"), None | Some("signing")) {
            continue;
        }
        for info in tree.named(descriptor, SIGNATURE, "KeyInfo") {
            for data in tree.named(info, SIGNATURE, "X509Data") {
                for certificate in tree.named(data, SIGNATURE, "X509Certificate") {
                    let text: String = tree.text(certificate).unwrap_or_default().split_ascii_whitespace().collect();
                    let der = STANDARD.decode(text).map_err(|_| wrong("a certificate is no base64".to_owned()))?;
                    certificates.push(der);
                }
            }
        }
    }
    if certificates.is_empty() {
        return Err(wrong("it names no signing certificate".to_owned()));
    }
    if certificates.len() > KEYS_MAX {
        return Err(wrong(format!("it names more than {KEYS_MAX} signing certificates")));
    }
    Ok(certificates)
}

/// A time as SAML writes it: `xs:dateTime` in UTC, with or without a fraction (SAML Core §1.3.3).
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp(at.as_microsecond()))
}

fn wrong(reason: String) -> SamlError {
    SamlError::Structure { what: WHAT, reason }
}
