"""A SAML 2.0 identity provider for the tests, independent of the gateway's own code: lxml and signxml.

Reads one line of JSON from the standard input (`sp_metadata`, `ca`, `people`), prints `port N`, and serves:

    /metadata     its keys and where people log in
    /sso          a login form, for a request that the service provider has signed
    /login        what the form posts: answers with a page that posts a signed response to the service provider
    /assertion    an assertion by itself, for RFC 7522 (`user`, `recipient`)
    /tests        what the tests change: `flaw`, `session_seconds`, `keys` (announce, switch, retire)
"""

import base64
import datetime
import html
import json
import ssl
import sys
import urllib.parse
import urllib.request
import uuid
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import XMLSigner
from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
MD = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"
POST_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


class Key:
    def __init__(self):
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
        start = datetime.datetime(2025, 1, 1)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
        builder = builder.public_key(self.private.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=3650))
        self.certificate = builder.sign(self.private, hashes.SHA256())

    def der(self):
        return base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()


class Idp:
    def __init__(self, config):
        self.config = config
        self.url = None
        self.published = [Key()]
        self.signing = self.published[0]
        self.flaw = None
        self.session_seconds = 8 * 3600
        self.requests = {}

    @property
    def entity(self):
        return self.url + "/saml"

    def metadata(self):
        keys = "".join(
            f'<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="{DS}"><ds:X509Data><ds:X509Certificate>{key.der()}'
            "</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            for key in self.published
        )
        return (
            f'<md:EntityDescriptor xmlns:md="{MD}" entityID="{self.entity}">'
            f'<md:IDPSSODescriptor WantAuthnRequestsSigned="true" protocolSupportEnumeration="{SAMLP}">{keys}'
            '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" '
            f'Location="{self.url}/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>'
        )

    def service_provider(self):
        context = ssl.create_default_context(cafile=self.config["ca"]) if self.config.get("ca") else None
        with urllib.request.urlopen(self.config["sp_metadata"], context=context, timeout=20) as answer:
            return etree.fromstring(answer.read())

    def take_request(self, query):
        """Checks a request's signature against the service provider's metadata; what is asked."""
        parts = dict(part.split("=", 1) for part in query.split("&"))
        signed = "&".join(f"{name}={parts[name]}" for name in ("SAMLRequest", "RelayState", "SigAlg"))
        value = {name: urllib.parse.unquote(text) for name, text in parts.items()}
        assert value["SigAlg"] == RSA_SHA256, value["SigAlg"]
        provider = self.service_provider()
        certificate = provider.findtext(f".//{{{DS}}}X509Certificate")
        key = x509.load_der_x509_certificate(base64.b64decode(certificate)).public_key()
        key.verify(base64.b64decode(value["Signature"]), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        request = etree.fromstring(zlib.decompress(base64.b64decode(value["SAMLRequest"]), -15))
        consumer = provider.find(f".//{{{MD}}}AssertionConsumerService")
        assert request.get("AssertionConsumerServiceURL") == consumer.get("Location")
        assert request.get("ProtocolBinding") == consumer.get("Binding") == POST_BINDING
        assert request.get("Destination") == self.url + "/sso", request.get("Destination")
        assert request.findtext(f"{{{SAML}}}Issuer") == provider.get("entityID")
        asked = uuid.uuid4().hex
        self.requests[asked] = {
            "id": request.get("ID"),
            "consumer": consumer.get("Location"),
            "audience": provider.get("entityID"),
            "state": value["RelayState"],
        }
        return asked

    def assertion(self, user, recipient, audience, answers):
        flaw = self.flaw
        now = datetime.datetime.now(datetime.timezone.utc)
        shift = {"expired": -3600, "not_yet": 3600}.get(flaw, 0)

        def at(seconds):
            return (now + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

        if flaw == "audience":
            audience = "https://elsewhere.example.com/saml/metadata"
        if flaw == "recipient":
            recipient = "https://elsewhere.example.com/saml/acs"
        if flaw == "in_response_to":
            answers = "_another-request"
        issuer = "https://another.example.com/saml" if flaw == "issuer" else self.entity
        groups = "".join(
            f"<saml:AttributeValue>{html.escape(group)}</saml:AttributeValue>"
            for group in self.config["people"][user]["groups"]
        )
        answered = f' InResponseTo="{answers}"' if answers else ""
        return (
            f'<saml:Assertion xmlns:saml="{SAML}" ID="_{uuid.uuid4().hex}" Version="2.0" IssueInstant="{at(shift)}">'
            f"<saml:Issuer>{issuer}</saml:Issuer><saml:Subject>"
            f'<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">{html.escape(user)}</saml:NameID>'
            '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">'
            f'<saml:SubjectConfirmationData{answered} NotOnOrAfter="{at(shift + 300)}" Recipient="{recipient}"/>'
            "</saml:SubjectConfirmation></saml:Subject>"
            f'<saml:Conditions NotBefore="{at(shift - 60)}" NotOnOrAfter="{at(shift + 300)}">'
            f"<saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction>"
            f'</saml:Conditions><saml:AuthnStatement AuthnInstant="{at(shift)}" SessionIndex="_s1" '
            f'SessionNotOnOrAfter="{at(self.session_seconds)}"><saml:AuthnContext><saml:AuthnContextClassRef>'
            "urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext>"
            f'</saml:AuthnStatement><saml:AttributeStatement><saml:Attribute Name="groups">{groups}</saml:Attribute>'
            "</saml:AttributeStatement></saml:Assertion>"
        )

    def sign(self, xml):
        if self.flaw == "unsigned":
            return xml
        key = Key() if self.flaw == "foreign_key" else self.signing
        root = etree.fromstring(xml)
        place = etree.Element(f"{{{DS}}}Signature", Id="placeholder", nsmap={"ds": DS})
        root.find(f"{{{SAML}}}Issuer").addnext(place)
        signer = XMLSigner(
            method=SignatureConstructionMethod.enveloped,
            signature_algorithm="rsa-sha256",
            digest_algorithm="sha256",
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        signed = signer.sign(
            root, key=key.private, cert=[key.certificate], reference_uri="#" + root.get("ID"), id_attribute="ID"
        )
        return etree.tostring(signed).decode()

    def respond(self, asked, user):
        assertion = self.sign(self.assertion(user, asked["consumer"], asked["audience"], asked["id"]))
        if self.flaw == "changed":
            assertion = assertion.replace(">analysts<", ">owners<")
        destination = "https://elsewhere.example.com/" if self.flaw == "destination" else asked["consumer"]
        return (
            f'<samlp:Response xmlns:samlp="{SAMLP}" ID="_{uuid.uuid4().hex}" Version="2.0" '
            f'IssueInstant="{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}" '
            f'Destination="{destination}" InResponseTo="{asked["id"]}">'
            f'<saml:Issuer xmlns:saml="{SAML}">{self.entity}</saml:Issuer><samlp:Status>'
            f'<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>{assertion}'
            "</samlp:Response>"
        )

    def change(self, fields):
        if "flaw" in fields:
            self.flaw = fields["flaw"] or None
        if "session_seconds" in fields:
            self.session_seconds = int(fields["session_seconds"])
        keys = fields.get("keys")
        if keys in ("announce", "switch"):
            self.published.append(Key())
        if keys == "switch":
            self.signing = self.published[-1]
            self.published = self.published[-1:]
        if keys == "use":
            self.signing = self.published[-1]


def page(title, body, script=""):
    return f'<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>{body}{script}'


class Handler(BaseHTTPRequestHandler):
    idp = None

    def answer(self, status, text, kind="text/html; charset=utf-8"):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/metadata":
            return self.answer(200, self.idp.metadata(), "application/samlmetadata+xml")
        if path != "/sso":
            return self.answer(404, "")
        asked = self.idp.take_request(query)
        form = (
            f'<form method="post" action="/login"><input type="hidden" name="request" value="{asked}">'
            '<label>User <input name="user"></label><label>Password <input name="password" type="password"></label>'
            "<button>Log in</button></form>"
        )
        self.answer(200, page("SAML provider of the tests", form))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        if self.path == "/tests":
            self.idp.change(fields)
            return self.answer(200, "")
        if self.path == "/assertion":
            recipient = fields["recipient"]
            xml = self.idp.sign(self.idp.assertion(fields["user"], recipient, recipient, None))
            return self.answer(200, base64.urlsafe_b64encode(xml.encode()).decode().rstrip("="), "text/plain")
        if self.path != "/login":
            return self.answer(404, "")
        person = self.idp.config["people"].get(fields["user"])
        if person is None or person["password"] != fields["password"]:
            return self.answer(403, page("Wrong user or password", ""))
        asked = self.idp.requests.pop(fields["request"])
        response = base64.b64encode(self.idp.respond(asked, fields["user"]).encode()).decode()
        form = (
            f'<form method="post" action="{html.escape(asked["consumer"])}">'
            f'<input type="hidden" name="SAMLResponse" value="{response}">'
            f'<input type="hidden" name="RelayState" value="{html.escape(asked["state"])}"></form>'
        )
        self.answer(200, page("One moment", form, "<script>document.forms[0].submit()</script>"))

    def log_message(self, *_):
        pass


def main():
    Handler.idp = Idp(json.loads(sys.stdin.readline()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.idp.url = f"http://localhost:{server.server_port}"
    print(f"port {server.server_port}", flush=True)
    server.serve_forever()


main()
