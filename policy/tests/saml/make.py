"""Makes the SAML documents beside this file, with an independent implementation of XML signatures.

    python3 -m venv venv && venv/bin/pip install signxml==5.2.0 && venv/bin/python make.py

Private keys are made here, used and forgotten; the documents stay good because the tests give the time.
"""
import base64
import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import XMLSigner
from signxml.algorithms import (
    CanonicalizationMethod,
    DigestAlgorithm,
    SignatureConstructionMethod,
    SignatureMethod,
)

HERE = Path(__file__).parent
IDP = "https://idp.example.com/saml"
SP = "https://gw.example.com/saml/metadata"
ACS = "https://gw.example.com/saml/acs"
TOKEN = "https://gw.example.com/token"
REQUEST = "_request-1"
EXCLUSIVE = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0


class AnySigner(XMLSigner):
    """Signs with what this library would rather not: the tests need documents that must be refused."""

    def check_deprecated_methods(self):
        pass


def certificate(key, name):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2025, 1, 1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )


def assertion(recipient=ACS, in_response_to=REQUEST, audience=SP):
    answered = f' InResponseTo="{in_response_to}"' if in_response_to else ""
    return f"""<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_assertion-1" Version="2.0" IssueInstant="2026-01-01T12:00:00Z"><saml:Issuer>{IDP}</saml:Issuer><saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData{answered} NotOnOrAfter="2026-01-01T12:05:00Z" Recipient="{recipient}"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="2026-01-01T11:59:00Z" NotOnOrAfter="2026-01-01T12:05:00.500Z"><saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="2026-01-01T12:00:00Z" SessionIndex="_s1" SessionNotOnOrAfter="2026-01-01T20:00:00Z"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute Name="mail"><saml:AttributeValue>alice@example.com</saml:AttributeValue></saml:Attribute><saml:Attribute Name="groups"><saml:AttributeValue>analysts</saml:AttributeValue><saml:AttributeValue>R&amp;D</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>"""


def response(inner, status="Success"):
    return f"""<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_response-1" Version="2.0" IssueInstant="2026-01-01T12:00:00Z" Destination="{ACS}" InResponseTo="{REQUEST}"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{IDP}</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:{status}"/></samlp:Status>{inner}</samlp:Response>"""


def sign(xml, key, cert, algorithm=SignatureMethod.RSA_SHA256, digest=DigestAlgorithm.SHA256, c14n=EXCLUSIVE):
    root = etree.fromstring(xml)
    issuer = root.find("{urn:oasis:names:tc:SAML:2.0:assertion}Issuer")
    # The schema wants the signature right behind the issuer.
    place = etree.Element("{http://www.w3.org/2000/09/xmldsig#}Signature", Id="placeholder", nsmap={"ds": "http://www.w3.org/2000/09/xmldsig#"})
    issuer.addnext(place)
    signer = AnySigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=algorithm,
        digest_algorithm=digest,
        c14n_algorithm=c14n,
    )
    options = {"key": key, "reference_uri": "#" + root.get("ID"), "id_attribute": "ID"}
    if cert is not None:
        options["cert"] = [cert]
    return etree.tostring(signer.sign(root, **options)).decode()


def write(name, xml):
    (HERE / name).write_text(xml + "\n")


def main():
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    foreign_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    rsa_cert, ec_cert = certificate(rsa_key, "idp"), certificate(ec_key, "idp-next")
    foreign_cert = certificate(foreign_key, "idp")

    def metadata(*certs):
        keys = "".join(
            '<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>'
            + base64.b64encode(cert.public_bytes(serialization.Encoding.DER)).decode()
            + "</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            for cert in certs
        )
        return f"""<?xml version="1.0" encoding="UTF-8"?><md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{IDP}" validUntil="2030-01-01T00:00:00Z"><md:IDPSSODescriptor WantAuthnRequestsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">{keys}<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example.com/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>"""

    write("metadata.xml", metadata(rsa_cert, ec_cert))
    write("metadata_before_rollover.xml", metadata(rsa_cert))

    good = sign(assertion(), rsa_key, rsa_cert)
    write("assertion_signed.xml", response(good))
    write("response_signed.xml", sign(response(assertion()), rsa_key, rsa_cert))
    write("both_signed.xml", sign(response(good), rsa_key, rsa_cert))
    write("next_key.xml", response(sign(assertion(), ec_key, ec_cert, SignatureMethod.ECDSA_SHA256)))
    write("bearer.xml", sign(assertion(TOKEN, None, TOKEN), rsa_key, rsa_cert))
    write("failed.xml", response("", "Responder"))

    write("bad_foreign_key.xml", response(sign(assertion(), foreign_key, foreign_cert)))
    write("bad_sha1.xml", response(sign(assertion(), rsa_key, rsa_cert, SignatureMethod.RSA_SHA1, DigestAlgorithm.SHA1)))
    write(
        "bad_inclusive.xml",
        response(sign(assertion(), rsa_key, rsa_cert, c14n=CanonicalizationMethod.CANONICAL_XML_1_1)),
    )
    public = rsa_cert.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write("bad_hmac.xml", response(sign(assertion(), public, None, SignatureMethod.HMAC_SHA256)))
    write("bad_unsigned.xml", response(assertion()))


main()
