//! The verification of one response or assertion, in the order of its checks: shape, issuer, status,
//! signature, and then the claims, from the element whose signature was verified.
//!
//! Sources: SAML 2.0 Profiles §4.1.4 (what a service provider checks), Core §2.3–2.7, RFC 7522 §3.

use std::sync::Arc;

use tidegate_core::words::{Principal, Timestamp};
use uppsala::NodeId;

use super::config::SamlConfig;
use super::document::{DOCUMENT_BYTES_MAX, Tree, short};
use super::error::SamlError;
use super::metadata::{Metadata, instant};
use super::{ASSERTION, BEARER, PROTOCOL, signature};
use crate::document::text::Moment;
use crate::identity::token::is_name;

const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
const RESPONSE: &str = "response";
const AN_ASSERTION: &str = "assertion";
/// Groups beyond this are a mistake or an attack.
const GROUPS_MAX: usize = 1024;

/// What an assertion must be meant for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Our names as a service provider: one must be among the audiences.
    pub audiences: &'a [&'a str],
    /// The URL that it was brought to.
    pub recipient: &'a str,
    /// The request that it answers; `None` where it answers none (RFC 7522).
    pub in_response_to: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

/// What a verified assertion says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// Who it is.
    pub principal: Principal,
    /// The assertion's id: good for one login.
    pub id: Arc<str>,
    /// Until when the assertion would be accepted, leeway included: how long its id is remembered.
    pub usable_until: Timestamp,
    /// Until when the provider lets the login last, where it says so.
    pub session_until: Option<Timestamp>,
}

/// Verifies a response that a browser posted.
///
/// # Errors
/// [`SamlError`] says which check failed.
pub fn verify_response(
    xml: &str,
    config: &SamlConfig,
    metadata: &Metadata,
    expected: &Expected<'_>,
) -> Result<VerifiedAssertion, SamlError> {
    let tree = Tree::parse(xml, DOCUMENT_BYTES_MAX)?;
    let root = tree.root();
    if !tree.is(root, PROTOCOL, "Response") {
        return Err(wrong(RESPONSE, "its first element is not a Response"));
    }
    check_version(&tree, root, RESPONSE)?;
    if tree.attribute(root, "Destination").is_some_and(|destination| destination != expected.recipient) {
        return Err(SamlError::NotForUs { what: "destination" });
    }
    if tree.attribute(root, "InResponseTo") != expected.in_response_to {
        return Err(SamlError::NotAsked);
    }
    if let Some(issuer) = tree.only(root, ASSERTION, "Issuer", RESPONSE)? {
        check_issuer(&tree, issuer, config)?;
    }
    check_status(&tree, root)?;
    if tree.everywhere(ASSERTION, "EncryptedAssertion").next().is_some() {
        return Err(wrong(RESPONSE, "its assertion is encrypted, which is not supported"));
    }
    let assertion = only_assertion(&tree)?;
    if tree.parent(assertion) != Some(root) {
        return Err(wrong(RESPONSE, "its assertion does not stand directly in it"));
    }
    let signed = trusted(&tree, metadata, expected.now)?;
    if !signed.iter().all(|element| *element == root || *element == assertion) {
        return Err(SamlError::Signature("it signs neither the response nor the assertion".to_owned()));
    }
    claims(&tree, assertion, config, expected)
}

/// Verifies an assertion that was brought to the token endpoint by itself (RFC 7522).
///
/// # Errors
/// [`SamlError`] says which check failed.
pub fn verify_assertion(
    xml: &str,
    config: &SamlConfig,
    metadata: &Metadata,
    expected: &Expected<'_>,
) -> Result<VerifiedAssertion, SamlError> {
    let tree = Tree::parse(xml, DOCUMENT_BYTES_MAX)?;
    let assertion = only_assertion(&tree)?;
    if assertion != tree.root() {
        return Err(wrong(AN_ASSERTION, "its first element is not an Assertion"));
    }
    if trusted(&tree, metadata, expected.now)? != [assertion] {
        return Err(SamlError::Signature("it does not sign the assertion".to_owned()));
    }
    claims(&tree, assertion, config, expected)
}

/// The elements that a key of the provider signed, while its metadata may be used.
fn trusted(tree: &Tree<'_>, metadata: &Metadata, now: Timestamp) -> Result<Vec<NodeId>, SamlError> {
    if let Some(until) = metadata.valid_until.filter(|until| now >= *until) {
        return Err(SamlError::Signature(format!("the provider's metadata ended {}", Moment(until))));
    }
    signature::verify(tree, &metadata.certificates)
}

/// The one assertion that the whole document has.
fn only_assertion(tree: &Tree<'_>) -> Result<NodeId, SamlError> {
    let mut assertions = tree.everywhere(ASSERTION, "Assertion");
    let first = assertions.next().ok_or_else(|| wrong(RESPONSE, "it has no assertion"))?;
    if assertions.next().is_some() {
        return Err(wrong(RESPONSE, "it has more than one assertion"));
    }
    Ok(first)
}

fn check_version(tree: &Tree<'_>, node: NodeId, what: &'static str) -> Result<(), SamlError> {
    if tree.attribute(node, "Version") == Some("2.0") { Ok(()) } else { Err(wrong(what, "its version is not 2.0")) }
}

fn check_issuer(tree: &Tree<'_>, issuer: NodeId, config: &SamlConfig) -> Result<(), SamlError> {
    let found = tree.text(issuer).unwrap_or_default();
    if found == config.entity_id {
        return Ok(());
    }
    Err(SamlError::WrongIssuer { found: short(&found), expected: config.entity_id.clone() })
}

fn check_status(tree: &Tree<'_>, response: NodeId) -> Result<(), SamlError> {
    let status = tree.only(response, PROTOCOL, "Status", RESPONSE)?;
    let status = status.ok_or_else(|| wrong(RESPONSE, "it has no status"))?;
    let code = tree.only(status, PROTOCOL, "StatusCode", RESPONSE)?;
    let code = code.ok_or_else(|| wrong(RESPONSE, "it has no status code"))?;
    let value = |node| tree.attribute(node, "Value").unwrap_or_default();
    if value(code) == SUCCESS {
        return Ok(());
    }
    // The second level says more, where there is one.
    let second = tree.only(code, PROTOCOL, "StatusCode", RESPONSE)?;
    let named = second.map_or_else(|| value(code), value);
    Err(SamlError::Status { status: short(named.rsplit(':').next().unwrap_or(named)) })
}

/// Reads the claims from the assertion that was verified.
fn claims(
    tree: &Tree<'_>,
    assertion: NodeId,
    config: &SamlConfig,
    expected: &Expected<'_>,
) -> Result<VerifiedAssertion, SamlError> {
    check_version(tree, assertion, AN_ASSERTION)?;
    let id = tree.attribute(assertion, "ID").filter(|id| is_name(id));
    let id = id.ok_or_else(|| wrong(AN_ASSERTION, "it has no ID"))?;
    let issuer = tree.only(assertion, ASSERTION, "Issuer", AN_ASSERTION)?;
    check_issuer(tree, issuer.ok_or_else(|| wrong(AN_ASSERTION, "it has no issuer"))?, config)?;

    let conditions_end = check_conditions(tree, assertion, config, expected)?;
    let subject = tree.only(assertion, ASSERTION, "Subject", AN_ASSERTION)?;
    let subject = subject.ok_or_else(|| wrong(AN_ASSERTION, "it has no subject"))?;
    let confirmed_until = check_confirmation(tree, subject, config, expected)?;
    let session_until = check_statement(tree, assertion, config, expected)?;
    let principal = principal(tree, assertion, subject, config)?;
    let usable_until = conditions_end.map_or(confirmed_until, |end| end.min(confirmed_until));
    Ok(VerifiedAssertion { principal, id: Arc::from(id), usable_until, session_until })
}

/// Conditions are required, each must be one that is understood, and there must be an audience.
/// Returns when they end, leeway included.
fn check_conditions(
    tree: &Tree<'_>,
    assertion: NodeId,
    config: &SamlConfig,
    expected: &Expected<'_>,
) -> Result<Option<Timestamp>, SamlError> {
    let conditions = tree.only(assertion, ASSERTION, "Conditions", AN_ASSERTION)?;
    let conditions = conditions.ok_or_else(|| wrong(AN_ASSERTION, "it has no conditions"))?;
    let end = check_times(tree, conditions, config, expected.now)?;
    let mut restricted = false;
    for condition in tree.children(conditions) {
        if tree.is(condition, ASSERTION, "AudienceRestriction") {
            let ours = |audience| tree.text(audience).is_some_and(|name| expected.audiences.contains(&&*name));
            if !tree.named(condition, ASSERTION, "Audience").any(ours) {
                return Err(SamlError::NotForUs { what: "audience" });
            }
            restricted = true;
        } else if !tree.is(condition, ASSERTION, "OneTimeUse") && !tree.is(condition, ASSERTION, "ProxyRestriction") {
            return Err(wrong(AN_ASSERTION, "it has a condition that is not understood"));
        }
    }
    if restricted { Ok(end) } else { Err(SamlError::NotForUs { what: "audience" }) }
}

/// One bearer confirmation must fit recipient, request and time. Returns until when, leeway included.
fn check_confirmation(
    tree: &Tree<'_>,
    subject: NodeId,
    config: &SamlConfig,
    expected: &Expected<'_>,
) -> Result<Timestamp, SamlError> {
    let mut why = wrong(AN_ASSERTION, "its subject has no bearer confirmation");
    for confirmation in tree.named(subject, ASSERTION, "SubjectConfirmation") {
        if tree.attribute(confirmation, "Method") != Some(BEARER) {
            continue;
        }
        let Some(data) = tree.only(confirmation, ASSERTION, "SubjectConfirmationData", AN_ASSERTION)? else { continue };
        match check_bearer(tree, data, config, expected) {
            Ok(until) => return Ok(until),
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn check_bearer(
    tree: &Tree<'_>,
    data: NodeId,
    config: &SamlConfig,
    expected: &Expected<'_>,
) -> Result<Timestamp, SamlError> {
    if tree.attribute(data, "Recipient") != Some(expected.recipient) {
        return Err(SamlError::NotForUs { what: "recipient" });
    }
    if tree.attribute(data, "InResponseTo") != expected.in_response_to {
        return Err(SamlError::NotAsked);
    }
    if tree.attribute(data, "NotBefore").is_some() {
        return Err(wrong(AN_ASSERTION, "its bearer confirmation has a beginning"));
    }
    let until = check_times(tree, data, config, expected.now)?;
    until.ok_or_else(|| wrong(AN_ASSERTION, "its bearer confirmation has no end"))
}

/// There must be a statement that somebody authenticated. Returns when the provider wants the login
/// to end.
fn check_statement(
    tree: &Tree<'_>,
    assertion: NodeId,
    config: &SamlConfig,
    expected: &Expected<'_>,
) -> Result<Option<Timestamp>, SamlError> {
    let mut statements = tree.named(assertion, ASSERTION, "AuthnStatement").peekable();
    if statements.peek().is_none() {
        return Err(wrong(AN_ASSERTION, "it has no authentication statement"));
    }
    let mut earliest: Option<Timestamp> = None;
    for statement in statements {
        if let Some(until) = tree.attribute(statement, "SessionNotOnOrAfter") {
            let until = instant(until).ok_or_else(|| wrong(AN_ASSERTION, "SessionNotOnOrAfter is no time"))?;
            if expected.now >= with_leeway(until, config) {
                return Err(SamlError::Expired { at: until });
            }
            earliest = Some(earliest.map_or(until, |earlier| earlier.min(until)));
        }
    }
    Ok(earliest)
}

/// `NotBefore` and `NotOnOrAfter`, where they stand. Returns the end, leeway included.
fn check_times(
    tree: &Tree<'_>,
    node: NodeId,
    config: &SamlConfig,
    now: Timestamp,
) -> Result<Option<Timestamp>, SamlError> {
    let time = |name: &'static str| match tree.attribute(node, name) {
        None => Ok(None),
        Some(text) => instant(text).map(Some).ok_or_else(|| wrong(AN_ASSERTION, "a time in it is no time")),
    };
    if let Some(from) = time("NotBefore")?.filter(|from| now < from.plus_millis(-leeway_millis(config))) {
        return Err(SamlError::NotYetValid { from });
    }
    match time("NotOnOrAfter")? {
        Some(at) if now >= with_leeway(at, config) => Err(SamlError::Expired { at }),
        end => Ok(end.map(|at| with_leeway(at, config))),
    }
}

fn principal(tree: &Tree<'_>, assertion: NodeId, subject: NodeId, config: &SamlConfig) -> Result<Principal, SamlError> {
    let name_id = tree.only(subject, ASSERTION, "NameID", AN_ASSERTION)?;
    let name_id = name_id.and_then(|node| tree.text(node)).filter(|name| is_name(name));
    let name_id = name_id.ok_or_else(|| missing("the NameID"))?;
    let name = match &config.principal_attribute {
        None => name_id.clone(),
        Some(attribute) => match &attribute_values(tree, assertion, attribute)?[..] {
            [value] => value.clone(),
            _ => return Err(missing(&format!("the attribute {attribute}"))),
        },
    };
    let name = format!("{}{name}", config.principal_prefix);
    if name == *Principal::anonymous().name {
        // Nobody may be called what the unauthenticated are called.
        return Err(missing("the principal's name"));
    }
    let groups = attribute_values(tree, assertion, &config.groups_attribute)?;
    if groups.len() > GROUPS_MAX {
        return Err(wrong(AN_ASSERTION, "it lists too many groups"));
    }
    Ok(Principal {
        issuer: Arc::from(config.entity_id.as_str()),
        subject: Arc::from(name_id),
        name: Arc::from(name),
        groups: groups.into_iter().map(|group| Arc::from(format!("{}{group}", config.groups_prefix))).collect(),
    })
}

/// All values of the attribute of this name; none where it does not stand there.
fn attribute_values(tree: &Tree<'_>, assertion: NodeId, name: &str) -> Result<Vec<String>, SamlError> {
    let mut values = Vec::new();
    for statement in tree.named(assertion, ASSERTION, "AttributeStatement") {
        for attribute in tree.named(statement, ASSERTION, "Attribute") {
            if tree.attribute(attribute, "Name") != Some(name) {
                continue;
            }
            for value in tree.named(attribute, ASSERTION, "AttributeValue") {
                let text = tree.text(value).filter(|text| is_name(text));
                values.push(text.ok_or_else(|| missing(&format!("a value of the attribute {name}")))?);
            }
        }
    }
    Ok(values)
}

fn leeway_millis(config: &SamlConfig) -> i64 {
    i64::from(config.leeway_seconds) * 1000
}

fn with_leeway(at: Timestamp, config: &SamlConfig) -> Timestamp {
    at.plus_millis(leeway_millis(config))
}

fn wrong(what: &'static str, reason: &str) -> SamlError {
    SamlError::Structure { what, reason: reason.to_owned() }
}

fn missing(what: &str) -> SamlError {
    SamlError::MissingClaim { what: what.to_owned() }
}
