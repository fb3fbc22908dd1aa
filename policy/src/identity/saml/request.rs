//! What we send: the authentication request that a browser carries to the provider, and the metadata
//! by which a provider's operator registers this gateway.
//!
//! Sources: SAML 2.0 Core §3.4, Bindings §3.4 (HTTP-Redirect), Metadata §2.4.4.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_core::words::Timestamp;

use super::{ASSERTION, METADATA, POST, PROTOCOL, SIGNATURE};

/// The algorithm of [`LoginRequest::redirect`]'s signature.
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

/// A request to log somebody in.
#[derive(Debug, Clone, Copy)]
pub struct LoginRequest<'a> {
    /// Its id, an XML name that nobody can guess; the response names it.
    pub id: &'a str,
    /// Now.
    pub issued: Timestamp,
    /// The provider's login page.
    pub destination: &'a str,
    /// Where the response shall be posted.
    pub consumer_url: &'a str,
    /// Our entity id.
    pub entity_id: &'a str,
}

impl LoginRequest<'_> {
    /// The URL that the browser is redirected to. `sign` makes an RSASSA-PKCS1-v1_5 signature with
    /// SHA-256.
    ///
    /// # Errors
    /// Those of `sign`.
    pub fn redirect<E>(&self, relay_state: &str, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> Result<String, E> {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
        // Writing to memory cannot fail.
        let packed = deflate.write_all(self.xml().as_bytes()).and_then(|()| deflate.finish()).unwrap_or_default();
        let mut query = format!(
            "SAMLRequest={}&RelayState={}&SigAlg={}",
            encoded(&STANDARD.encode(packed)),
            encoded(relay_state),
            encoded(RSA_SHA256)
        );
        let signature = sign(query.as_bytes())?;
        let _ = write!(query, "&Signature={}", encoded(&STANDARD.encode(signature)));
        let separator = if self.destination.contains('?') { '&' } else { '?' };
        Ok(format!("{}{separator}{query}", self.destination))
    }

    fn xml(&self) -> String {
        format!(
            "<samlp:AuthnRequest xmlns:samlp=\"{PROTOCOL}\" ID=\"{}\" Version=\"2.0\" IssueInstant=\"{}\" \
             Destination=\"{}\" AssertionConsumerServiceURL=\"{}\" ProtocolBinding=\"{POST}\">\
             <saml:Issuer xmlns:saml=\"{ASSERTION}\">{}</saml:Issuer>\
             <samlp:NameIDPolicy AllowCreate=\"true\"/></samlp:AuthnRequest>",
            escaped(self.id),
            whole_seconds(self.issued),
            escaped(self.destination),
            escaped(self.consumer_url),
            escaped(self.entity_id),
        )
    }
}

/// Our own metadata: who we are, with which key requests are signed, where responses are posted.
#[must_use]
pub fn service_provider_metadata(entity_id: &str, consumer_url: &str, certificate_der: &[u8]) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <md:EntityDescriptor xmlns:md=\"{METADATA}\" entityID=\"{}\">\
         <md:SPSSODescriptor AuthnRequestsSigned=\"true\" WantAssertionsSigned=\"true\" \
         protocolSupportEnumeration=\"{PROTOCOL}\">\
         <md:KeyDescriptor use=\"signing\"><ds:KeyInfo xmlns:ds=\"{SIGNATURE}\"><ds:X509Data>\
         <ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>\
         <md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat>\
         <md:NameIDFormat>urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified</md:NameIDFormat>\
         <md:AssertionConsumerService Binding=\"{POST}\" Location=\"{}\" index=\"0\" isDefault=\"true\"/>\
         </md:SPSSODescriptor></md:EntityDescriptor>\n",
        escaped(entity_id),
        STANDARD.encode(certificate_der),
        escaped(consumer_url),
    )
}

fn whole_seconds(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1_000_000)).map_or_else(|_| String::new(), |at| at.to_string())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}
