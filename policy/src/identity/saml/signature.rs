//! Which elements of a document were signed by a key from metadata.
//!
//! The library verifies; before it does, the signature must have the one shape that the profile
//! knows (SAML Core §5.4): enveloped in the element it signs, one reference to that element's ID, the
//! enveloped-signature and the exclusive canonicalisation transform, algorithms of a list. Nothing in
//! the signature chooses a key.

use bergshamra_dsig::context::DsigContext;
use bergshamra_dsig::verify::{VerifyResult, verify_all_document};
use bergshamra_keys::{KeysManager, loader};
use uppsala::NodeId;

use super::SIGNATURE;
use super::document::{Tree, short};
use super::error::SamlError;

const EXCLUSIVE_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// RFC 4051, RFC 6931. No SHA-1 and no HMAC: an HMAC's key would be public.
const SIGNATURE_METHODS: &[&str] = &[
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
];
const DIGEST_METHODS: &[&str] = &[
    "http://www.w3.org/2001/04/xmlenc#sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512",
];
/// A signature on the response and one on its assertion.
const SIGNATURES_MAX: usize = 2;

/// Verifies every signature of the document; returns the elements that they sign. All must be valid,
/// and there must be one: a document with a bad signature beside a good one is nobody's.
///
/// # Errors
/// [`SamlError::Signature`] says which rule is broken.
pub(crate) fn verify(tree: &Tree<'_>, certificates: &[Vec<u8>]) -> Result<Vec<NodeId>, SamlError> {
    refuse_shared_ids(tree)?;
    let signatures: Vec<NodeId> = tree.everywhere(SIGNATURE, "Signature").collect();
    if signatures.is_empty() {
        return Err(refused("there is none"));
    }
    if signatures.len() > SIGNATURES_MAX {
        return Err(refused("there are too many"));
    }
    let mut signed = Vec::new();
    for signature in &signatures {
        signed.push(check_shape(tree, *signature)?);
    }
    let results = verify_all_document(&DsigContext::new(keys(certificates)?), &tree.document)
        .map_err(|error| SamlError::Signature(short(&error.to_string())))?;
    if results.len() != signatures.len() {
        return Err(refused("not every signature could be looked at"));
    }
    for (result, (signature, target)) in results.iter().zip(signatures.iter().zip(&signed)) {
        match result {
            VerifyResult::Valid { signature_node, references, .. }
                if signature_node == signature
                    && references.len() == 1
                    && references.iter().all(|one| one.digest_verified && one.resolved_node == Some(*target)) => {}
            VerifyResult::Valid { .. } => return Err(refused("it covers another element than the one it stands in")),
            VerifyResult::Invalid { reason } => return Err(SamlError::Signature(short(reason))),
        }
    }
    Ok(signed)
}

fn keys(certificates: &[Vec<u8>]) -> Result<KeysManager, SamlError> {
    let mut keys = KeysManager::new();
    for certificate in certificates {
        // A certificate is only an envelope for the key here: SAML metadata says which keys hold, and
        // providers use self-signed and even expired ones.
        keys.add_key(loader::load_x509_cert_der(certificate).map_err(|error| {
            SamlError::Signature(format!("a certificate of the metadata cannot be used: {}", short(&error.to_string())))
        })?);
    }
    if keys.is_empty() {
        return Err(refused("the metadata names no key"));
    }
    Ok(keys)
}

/// No two elements may have one ID, by whatever spelling of the attribute: else a reference means one
/// element to the verifier and another to the reader.
fn refuse_shared_ids(tree: &Tree<'_>) -> Result<(), SamlError> {
    let mut seen = std::collections::HashSet::new();
    for element in tree.elements() {
        let Some(element) = tree.document.element(element) else { continue };
        for attribute in &element.attributes {
            let name = &*attribute.name.local_name;
            let is_id = name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("AssertionID");
            if is_id && !seen.insert(attribute.value.as_ref()) {
                return Err(refused("two elements have the same ID"));
            }
        }
    }
    Ok(())
}

/// Checks that `signature` has the profile's shape; returns the element that it stands in and signs.
fn check_shape(tree: &Tree<'_>, signature: NodeId) -> Result<NodeId, SamlError> {
    let parent = tree.parent(signature).ok_or_else(|| refused("it stands alone"))?;
    let id = tree.attribute(parent, "ID").filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| refused("it stands in an element without an ID"))?;
    if tree.named(parent, SIGNATURE, "Signature").count() != 1 {
        return Err(refused("its element has several"));
    }

    let [signed_info, value, rest @ ..] = &tree.children(signature).collect::<Vec<_>>()[..] else {
        return Err(refused("it is incomplete"));
    };
    let usual = tree.is(*signed_info, SIGNATURE, "SignedInfo")
        && tree.is(*value, SIGNATURE, "SignatureValue")
        && rest.len() <= 1
        && rest.iter().all(|part| tree.is(*part, SIGNATURE, "KeyInfo"));
    if !usual {
        return Err(refused("it has other parts than SignedInfo, SignatureValue and KeyInfo"));
    }

    let [canonicalisation, method, reference] = &tree.children(*signed_info).collect::<Vec<_>>()[..] else {
        return Err(refused("it has not exactly one reference"));
    };
    let algorithm = |node: NodeId| tree.attribute(node, "Algorithm").unwrap_or_default();
    if !tree.is(*canonicalisation, SIGNATURE, "CanonicalizationMethod")
        || algorithm(*canonicalisation) != EXCLUSIVE_C14N
    {
        return Err(refused("its canonicalisation is not the exclusive one"));
    }
    if !tree.is(*method, SIGNATURE, "SignatureMethod")
        || !SIGNATURE_METHODS.contains(&algorithm(*method))
        || tree.children(*method).next().is_some()
    {
        return Err(refused("its algorithm is none of RSA or ECDSA with SHA-2"));
    }
    if !tree.is(*reference, SIGNATURE, "Reference") {
        return Err(refused("it has not exactly one reference"));
    }
    if tree.attribute(*reference, "URI").and_then(|uri| uri.strip_prefix('#')) != Some(id) {
        return Err(refused("its reference is not to the element it stands in"));
    }
    let [transforms, digest, digest_value] = &tree.children(*reference).collect::<Vec<_>>()[..] else {
        return Err(refused("its reference is incomplete"));
    };
    let transforms_found: Vec<&str> = tree.children(*transforms).map(algorithm).collect();
    let all_transforms = tree.is(*transforms, SIGNATURE, "Transforms")
        && tree.children(*transforms).all(|transform| tree.is(transform, SIGNATURE, "Transform"));
    if !all_transforms || transforms_found != [ENVELOPED, EXCLUSIVE_C14N] {
        return Err(refused("its transforms are not enveloped-signature and exclusive canonicalisation"));
    }
    for transform in tree.children(*transforms) {
        // The one parameter that exclusive canonicalisation has.
        if !tree.children(transform).all(|part| tree.is(part, EXCLUSIVE_C14N, "InclusiveNamespaces")) {
            return Err(refused("a transform has a parameter"));
        }
    }
    if !tree.is(*digest, SIGNATURE, "DigestMethod")
        || !DIGEST_METHODS.contains(&algorithm(*digest))
        || !tree.is(*digest_value, SIGNATURE, "DigestValue")
    {
        return Err(refused("its digest is none of SHA-2"));
    }
    Ok(parent)
}

fn refused(reason: &str) -> SamlError {
    SamlError::Signature(reason.to_owned())
}
