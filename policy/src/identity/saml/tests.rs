//! Documents signed by an independent implementation (`policy/tests/saml/make.py`), as they are and
//! as attackers would have them.

use bergshamra_dsig::context::DsigContext;
use bergshamra_dsig::verify::verify_all_document;
use bergshamra_keys::{KeysManager, loader};
use tidegate_core::words::Timestamp;

use super::metadata::instant;
use super::{
    Expected, Metadata, ReplayCache, SamlConfig, SamlError, VerifiedAssertion, verify_assertion, verify_response,
};

const SP: &str = "https://gw.example.com/saml/metadata";
const ACS: &str = "https://gw.example.com/saml/acs";
const TOKEN: &str = "https://gw.example.com/token";

macro_rules! document {
    ($name:literal) => {
        include_str!(concat!("../../../tests/saml/", $name)).trim_end()
    };
}

fn config() -> SamlConfig {
    SamlConfig::new("https://idp.example.com/saml")
}

fn metadata() -> Metadata {
    Metadata::parse(document!("metadata.xml"), "https://idp.example.com/saml").unwrap()
}

fn at(text: &str) -> Timestamp {
    instant(text).unwrap()
}

fn expected<'a>(now: &str) -> Expected<'a> {
    Expected { audiences: &[SP], recipient: ACS, in_response_to: Some("_request-1"), now: at(now) }
}

const NOON: &str = "2026-01-01T12:00:30Z";

fn login(xml: &str) -> Result<VerifiedAssertion, SamlError> {
    verify_response(xml, &config(), &metadata(), &expected(NOON))
}

fn name(verified: &VerifiedAssertion) -> (&str, Vec<&str>) {
    (&verified.principal.name, verified.principal.groups.iter().map(|group| &**group).collect())
}

/// Whether a verifier that only asks "is there a good signature by the right key" is content: shows
/// that an attack is refused for what it is, not for a signature that it broke.
fn fools_a_naive_reader(xml: &str) -> bool {
    let mut keys = KeysManager::new();
    for certificate in &metadata().certificates {
        keys.add_key(loader::load_x509_cert_der(certificate).unwrap());
    }
    let mut context = DsigContext::new_permissive(keys);
    context.trusted_keys_only = true;
    uppsala::parse(xml)
        .ok()
        .and_then(|document| verify_all_document(&context, &document).ok())
        .is_some_and(|results| results.iter().any(bergshamra_dsig::verify::VerifyResult::is_valid))
}

#[test]
fn signed_responses_and_assertions_are_accepted() {
    let all = [
        document!("assertion_signed.xml"),
        document!("response_signed.xml"),
        document!("both_signed.xml"),
        document!("next_key.xml"),
    ];
    for (index, xml) in all.into_iter().enumerate() {
        let verified = login(xml).unwrap_or_else(|error| panic!("document {index}: {error}"));
        assert_eq!(name(&verified), ("alice", vec!["analysts", "R&D"]));
        assert_eq!(&*verified.principal.issuer, "https://idp.example.com/saml");
        assert_eq!(&*verified.principal.subject, "alice");
        assert_eq!(verified.usable_until, at("2026-01-01T12:05:30Z"), "the confirmation's end and the leeway");
        assert_eq!(verified.session_until, Some(at("2026-01-01T20:00:00Z")));
    }
    let bearer = Expected { audiences: &[SP, TOKEN], recipient: TOKEN, in_response_to: None, now: at(NOON) };
    let verified = verify_assertion(document!("bearer.xml"), &config(), &metadata(), &bearer).unwrap();
    assert_eq!(name(&verified).0, "alice");
}

#[test]
fn names_and_groups_come_from_where_the_operator_says() {
    let mut config = config();
    config.principal_attribute = Some("mail".to_owned());
    config.principal_prefix = "corp:".to_owned();
    config.groups_prefix = "corp/".to_owned();
    let verify =
        |config: &SamlConfig| verify_response(document!("assertion_signed.xml"), config, &metadata(), &expected(NOON));
    assert_eq!(name(&verify(&config).unwrap()), ("corp:alice@example.com", vec!["corp/analysts", "corp/R&D"]));
    config.groups_attribute = "other".to_owned();
    assert_eq!(name(&verify(&config).unwrap()).1, Vec::<&str>::new());
    config.principal_attribute = Some("groups".to_owned());
    assert!(matches!(verify(&config), Err(SamlError::MissingClaim { .. })), "two values name nobody");
}

#[test]
fn keys_roll_over_with_the_metadata_and_end_with_it() {
    let before = Metadata::parse(document!("metadata_before_rollover.xml"), "https://idp.example.com/saml").unwrap();
    let verify = |metadata: &Metadata, now: &str| {
        verify_response(document!("next_key.xml"), &config(), metadata, &expected(now)).map(drop)
    };
    assert!(matches!(verify(&before, NOON), Err(SamlError::Signature(_))), "the next key is not known yet");
    assert_eq!(verify(&metadata(), NOON), Ok(()));
    assert_eq!(metadata().redirect_url.as_deref(), Some("https://idp.example.com/sso"));
    assert!(matches!(verify(&metadata(), "2030-01-01T00:00:00Z"), Err(SamlError::Signature(_))));
}

#[test]
fn times_bite_at_both_edges_of_the_leeway() {
    let check = |now: &str, accepted: bool| {
        let result = verify_response(document!("assertion_signed.xml"), &config(), &metadata(), &expected(now));
        assert_eq!(result.is_ok(), accepted, "{now}: {result:?}");
    };
    check("2026-01-01T11:58:29.999Z", false);
    check("2026-01-01T11:58:30Z", true);
    check("2026-01-01T12:05:29.999Z", true);
    check("2026-01-01T12:05:30Z", false);
}

#[test]
fn an_assertion_for_somebody_else_is_refused() {
    let usual = expected(NOON);
    let check = |changed: Expected<'_>, error: SamlError| {
        for xml in [document!("assertion_signed.xml"), document!("both_signed.xml")] {
            assert_eq!(verify_response(xml, &config(), &metadata(), &changed), Err(error.clone()));
        }
    };
    check(Expected { audiences: &["https://other.example.com"], ..usual }, SamlError::NotForUs { what: "audience" });
    check(Expected { recipient: "https://other/acs", ..usual }, SamlError::NotForUs { what: "destination" });
    check(Expected { in_response_to: Some("_request-2"), ..usual }, SamlError::NotAsked);
    check(Expected { in_response_to: None, ..usual }, SamlError::NotAsked);
    // The bearer's recipient is checked by itself: the response's Destination is not signed here.
    let xml = document!("assertion_signed.xml").replace("Destination=\"https://gw.example.com/saml/acs\" ", "");
    let elsewhere = Expected { recipient: "https://other/acs", ..usual };
    let refused = verify_response(&xml, &config(), &metadata(), &elsewhere);
    assert_eq!(refused, Err(SamlError::NotForUs { what: "recipient" }));
    let other = SamlConfig::new("https://other.example.com/saml");
    let refused = verify_response(document!("assertion_signed.xml"), &other, &metadata(), &usual);
    assert!(matches!(refused, Err(SamlError::WrongIssuer { .. })));
    assert_eq!(login(document!("failed.xml")), Err(SamlError::Status { status: "Responder".to_owned() }));
}

#[test]
fn keys_and_algorithms_are_not_the_documents_choice() {
    for (what, xml) in [
        ("another key, with its certificate inside", document!("bad_foreign_key.xml")),
        ("SHA-1", document!("bad_sha1.xml")),
        ("another canonicalisation", document!("bad_inclusive.xml")),
        ("an HMAC with the public key", document!("bad_hmac.xml")),
        ("no signature", document!("bad_unsigned.xml")),
    ] {
        assert!(matches!(login(xml), Err(SamlError::Signature(_))), "{what}: {:?}", login(xml));
    }
}

/// The assertion element of a document, from its first to its last byte.
fn assertion_of(xml: &str) -> &str {
    let start = xml.find("<saml:Assertion").unwrap();
    let end = xml.rfind("</saml:Assertion>").unwrap() + "</saml:Assertion>".len();
    &xml[start..end]
}

fn signature_of(xml: &str) -> &str {
    let start = xml.find("<ds:Signature ").unwrap();
    let end = xml.find("</ds:Signature>").unwrap() + "</ds:Signature>".len();
    &xml[start..end]
}

/// The same under another name and ID, without its signature.
fn forged(xml: &str) -> String {
    xml.replace(signature_of(xml), "")
        .replace(">alice<", ">admin<")
        .replace("\"_assertion-1\"", "\"_evil\"")
        .replace("\"_response-1\"", "\"_evil-response\"")
}

/// The wrapping family as "On Breaking SAML" orders it; each keeps the signature good and puts a
/// forged element where a careless reader looks.
#[test]
fn signature_wrapping_is_refused() {
    let whole = document!("response_signed.xml");
    let whole_signature = signature_of(whole);
    let unsigned_whole = whole.replace(whole_signature, "");
    let evil_whole = forged(whole);
    // The forged response carries the signature; the signed one hides inside.
    let inside_signature = whole_signature.replace("</ds:Signature>", &format!("{unsigned_whole}</ds:Signature>"));
    let with = |root: &str, signature: &str| root.replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1);
    let xsw1 = with(&evil_whole, &inside_signature);
    let xsw2 = with(&evil_whole, &format!("{unsigned_whole}{whole_signature}"));

    let document = document!("assertion_signed.xml");
    let good = assertion_of(document);
    let signature = signature_of(good);
    let bare = good.replace(signature, "");
    let evil = forged(good);
    let placed = |inner: &str| document.replace(good, inner);
    let xsw3 = placed(&format!("{evil}{good}"));
    let xsw4 = placed(&evil.replace("</saml:Assertion>", &format!("{good}</saml:Assertion>")));
    let evil_with_signature = with(&evil.replace("_evil", "_assertion-1"), signature);
    let xsw5 = placed(&format!("{evil_with_signature}{}", bare.replace("\"_assertion-1\"", "\"_original\"")));
    let original_in_signature = signature.replace("</ds:Signature>", &format!("{bare}</ds:Signature>"));
    let xsw6 = placed(&with(&evil, &original_in_signature));
    let xsw7 = placed(&format!("<samlp:Extensions>{evil}</samlp:Extensions>{good}"));
    let in_object = signature.replace("</ds:Signature>", &format!("<ds:Object>{bare}</ds:Object></ds:Signature>"));
    let xsw8 = placed(&with(&evil, &in_object));
    // Beyond the eight: the signed assertion hidden where only its ID matters.
    let in_advice = placed(
        &evil.replace("<saml:AuthnStatement", &format!("<saml:Advice>{good}</saml:Advice><saml:AuthnStatement")),
    );
    let in_status = document
        .replace(good, &evil)
        .replace("<samlp:StatusCode", &format!("<samlp:StatusDetail>{good}</samlp:StatusDetail><samlp:StatusCode"));

    let attacks = [
        // A verifier that takes the signature out of what it stands in finds nothing to digest here;
        // others have been fooled by it, and by the sixth and eighth.
        ("xsw1", xsw1, false),
        ("xsw2", xsw2, true),
        ("xsw3", xsw3, true),
        ("xsw4", xsw4, true),
        // The original under another ID and the forged one under the signed ID: no reader of IDs is
        // fooled, one of positions would be.
        ("xsw5", xsw5, false),
        ("xsw6", xsw6, false),
        ("xsw7", xsw7, true),
        ("xsw8", xsw8, false),
        ("in advice", in_advice, true),
        ("in status detail", in_status, true),
    ];
    for (attack, xml, fools) in attacks {
        assert!(xml.contains(">admin<"), "{attack} is an attack");
        assert_eq!(fools_a_naive_reader(&xml), fools, "{attack}: the signature is as the attack wants it");
        let result = login(&xml);
        assert!(matches!(result, Err(SamlError::Structure { .. } | SamlError::Signature(_))), "{attack}: {result:?}");
    }
}

#[test]
fn tricks_of_xml_are_refused() {
    let document = document!("assertion_signed.xml");
    let signed = document!("response_signed.xml");
    // Canonicalisation without comments leaves this signature good.
    let comment = document.replace(">alice<", ">alice<!-- -->.example<");
    let comment_only = document.replace(">alice<", ">ali<!-- -->ce<");
    assert!(fools_a_naive_reader(&comment_only), "a comment does not break the signature");
    let with_dtd = format!("<!DOCTYPE r [<!ENTITY who \"alice\">]>{document}").replace(">alice<", ">&who;<");
    assert!(fools_a_naive_reader(&with_dtd), "an entity does not break the signature");
    let billion = format!(
        "<!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>{}",
        document.replace(">alice<", ">&b;<")
    );
    let external = format!("<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>{document}");
    let deep =
        document.replace("<samlp:Status>", &format!("{}{}<samlp:Status>", "<a>".repeat(9000), "</a>".repeat(9000)));
    for (what, xml) in [
        ("a comment in the name", comment),
        ("a comment that changes nothing signed", comment_only),
        ("an entity", with_dtd),
        ("many entities", billion),
        ("an external entity", external),
        ("CDATA", document.replace(">alice<", "><![CDATA[alice]]><")),
        ("a processing instruction", document.replace(">alice<", ">alice<?x?><")),
        ("deep nesting", deep),
        ("not XML", document.replace("</samlp:Response>", "")),
        ("two roots", format!("{document}{document}")),
        ("nothing", String::new()),
    ] {
        assert!(matches!(login(&xml), Err(SamlError::Xml(_))), "{what}: {:?}", login(&xml));
    }
    let large = format!("{document}{}", " ".repeat(super::document::DOCUMENT_BYTES_MAX));
    assert!(matches!(login(&large), Err(SamlError::TooLarge { .. })));

    // One ID, two elements: by the attribute's own name, and by another spelling of it.
    let second = "<samlp:Status ID=\"_assertion-1\">";
    let by_case = "<samlp:Status id=\"_assertion-1\">";
    for (what, xml) in [
        ("a shared ID", document.replace("<samlp:Status>", second)),
        ("a shared ID in another spelling", document.replace("<samlp:Status>", by_case)),
        ("a changed name", document.replace(">alice<", ">admin<")),
        ("a changed group", document.replace(">analysts<", ">admins<")),
        ("an added reference", {
            let start = document.find("<ds:Reference").unwrap();
            let end = document.find("</ds:Reference>").unwrap() + "</ds:Reference>".len();
            let reference = &document[start..end];
            document.replace(reference, &format!("{reference}{reference}"))
        }),
        ("a reference to everything", signed.replace("URI=\"#_response-1\"", "URI=\"\"")),
        ("a reference by XPointer", signed.replace("URI=\"#_response-1\"", "URI=\"#xpointer(id('_response-1'))\"")),
        ("an XPath transform", document.replace(
            "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>",
            "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>not(ancestor-or-self::ds:Signature)</ds:XPath></ds:Transform>",
        )),
        ("an XSLT transform", document.replace(
            "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
            "http://www.w3.org/TR/1999/REC-xslt-19991116",
        )),
        ("no transform", document.replace(
            "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>",
            "",
        )),
        ("an empty signature", document.replace(signature_of(document), "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"/>")),
    ] {
        assert!(matches!(login(&xml), Err(SamlError::Signature(_))), "{what}: {:?}", login(&xml));
    }
}

#[test]
fn what_the_profile_requires_is_required() {
    // Unsigned parts of a response whose assertion is signed can be changed by anybody.
    let document = document!("assertion_signed.xml");
    for (what, xml) in [
        ("no status", document.replace("<samlp:Status>", "<samlp:Other>").replace("</samlp:Status>", "</samlp:Other>")),
        (
            "another version",
            document.replace("Version=\"2.0\" IssueInstant=\"2026-01-01T12:00:00Z\" Dest", "Version=\"1.1\" Dest"),
        ),
        ("another root", document.replace("samlp:Response", "samlp:ArtifactResponse")),
        (
            "an encrypted assertion",
            document.replace(
                "<saml:Assertion",
                "<saml:EncryptedAssertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"/><saml:Assertion",
            ),
        ),
        ("no assertion", document.replace(assertion_of(document), "")),
    ] {
        assert!(matches!(login(&xml), Err(SamlError::Structure { .. })), "{what}: {:?}", login(&xml));
    }
    // A whole response does for a bearer assertion as little as the other way round.
    let usual = expected(NOON);
    assert!(verify_assertion(document, &config(), &metadata(), &usual).is_err());
    assert!(verify_response(document!("bearer.xml"), &config(), &metadata(), &usual).is_err());
    // One made for a login is not good at the token endpoint.
    let bearer = Expected { audiences: &[SP, TOKEN], recipient: TOKEN, in_response_to: None, now: at(NOON) };
    let refused = verify_assertion(assertion_of(document), &config(), &metadata(), &bearer);
    assert_eq!(refused, Err(SamlError::NotForUs { what: "recipient" }));
}

#[test]
fn an_assertion_is_good_for_one_login() {
    let mut cache = ReplayCache::new(2);
    let first = login(document!("assertion_signed.xml")).unwrap();
    let now = at(NOON);
    assert_eq!(cache.take(&first, now), Ok(()));
    assert_eq!(cache.take(&first, now), Err(SamlError::Replayed));
    let other = |id: &str| VerifiedAssertion { id: id.into(), ..first.clone() };
    assert_eq!(cache.take(&other("b"), now), Ok(()));
    assert_eq!(cache.take(&other("c"), now), Err(SamlError::TooMany), "nothing is forgotten before its time");
    assert_eq!(cache.take(&other("c"), first.usable_until), Ok(()), "what has ended is forgotten");
}

#[test]
fn metadata_that_cannot_be_used_is_refused() {
    let good = document!("metadata.xml");
    let entity = "https://idp.example.com/saml";
    let without_keys = good.replace("use=\"signing\"", "use=\"encryption\"");
    for (what, xml) in [
        ("another entity", good.replace("entityID=\"https://idp", "entityID=\"https://other")),
        ("no signing key", without_keys),
        ("no identity provider", good.replace("IDPSSODescriptor", "SPSSODescriptor")),
        ("another protocol", good.replace("SAML:2.0:protocol", "SAML:1.1:protocol")),
        ("a certificate that is none", good.replace("MII", "!!!")),
        ("validUntil no time", good.replace("2030-01-01T00:00:00Z", "soon")),
    ] {
        let result = Metadata::parse(&xml, entity);
        assert!(matches!(result, Err(SamlError::Structure { .. })), "{what}: {result:?}");
    }
}

#[test]
fn a_login_request_carries_what_the_provider_needs() {
    use std::io::Read as _;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let request = super::request::LoginRequest {
        id: "_request-1",
        issued: at(NOON),
        destination: "https://idp.example.com/sso?tenant=1&x=2",
        consumer_url: ACS,
        entity_id: SP,
    };
    let mut signed = Vec::new();
    let url = request
        .redirect("state", |query| {
            signed = query.to_vec();
            Ok::<_, std::convert::Infallible>(vec![1, 2, 3])
        })
        .unwrap();
    let query = url.strip_prefix("https://idp.example.com/sso?tenant=1&x=2&").expect("the provider's own query stays");
    let (covered, signature) = query.rsplit_once("&Signature=").unwrap();
    assert_eq!(covered.as_bytes(), signed, "the signature covers the query as it stands");
    assert_eq!(signature, "AQID");
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let fields: Vec<_> = covered.split('&').map(|field| field.split_once('=').unwrap()).collect();
    assert_eq!(fields.iter().map(|field| field.0).collect::<Vec<_>>(), ["SAMLRequest", "RelayState", "SigAlg"]);
    let packed = STANDARD.decode(decode(fields[0].1)).unwrap();
    let mut xml = String::new();
    flate2::read::DeflateDecoder::new(&packed[..]).read_to_string(&mut xml).unwrap();
    let document = uppsala::parse(&xml).unwrap();
    let root = document.document_element().unwrap();
    let attribute = |name| document.get_attribute(root, name);
    assert_eq!(attribute("ID"), Some("_request-1"));
    assert_eq!(attribute("Destination"), Some("https://idp.example.com/sso?tenant=1&x=2"));
    assert_eq!(attribute("AssertionConsumerServiceURL"), Some(ACS));
    assert_eq!(attribute("IssueInstant"), Some(NOON));

    let own = super::request::service_provider_metadata(SP, ACS, &[1, 2, 3]);
    let document = uppsala::parse(&own).unwrap();
    assert_eq!(document.get_attribute(document.document_element().unwrap(), "entityID"), Some(SP));
}
