//! What an issuer signs: claims as Kafka's own OAUTHBEARER validator wants them, and the ways in
//! which a token can be broken on purpose.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::keys::{KeyError, KeyRing};

/// A way to break a token. Everything else about it stays right, so that a test shows that this
/// flaw alone is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// `exp` an hour ago.
    Expired,
    /// `nbf` in an hour.
    NotYetValid,
    /// Another service's `aud`.
    WrongAudience,
    /// Another issuer's `iss`, signed by this one.
    WrongIssuer,
    /// `alg: none` and no signature.
    AlgNone,
    /// HS256 with the public key's PEM as the secret (key confusion).
    HmacWithPublicKey,
    /// A `kid` that is not in the key set.
    UnknownKeyId,
    /// No `kid` at all.
    NoKeyId,
    /// The claims were changed after signing.
    BadSignature,
    /// No `exp`.
    NoExpiry,
    /// No `sub`.
    NoSubject,
    /// A `jku` header that points elsewhere, with an unknown `kid`: must not be followed.
    ForeignKeyUrl,
}

impl Flaw {
    /// Every flaw.
    pub const ALL: [Self; 12] = [
        Self::Expired,
        Self::NotYetValid,
        Self::WrongAudience,
        Self::WrongIssuer,
        Self::AlgNone,
        Self::HmacWithPublicKey,
        Self::UnknownKeyId,
        Self::NoKeyId,
        Self::BadSignature,
        Self::NoExpiry,
        Self::NoSubject,
        Self::ForeignKeyUrl,
    ];
}

/// A token to be minted.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    subject: String,
    groups: Vec<String>,
    lifetime: Duration,
    claims: Map<String, Value>,
    flaw: Option<Flaw>,
}

impl TokenRequest {
    /// A good token.
    #[must_use]
    pub fn new(subject: &str, groups: &[&str], lifetime: Duration) -> Self {
        Self {
            subject: subject.to_owned(),
            groups: groups.iter().map(|&g| g.to_owned()).collect(),
            lifetime,
            claims: Map::new(),
            flaw: None,
        }
    }

    /// With this claim added or replaced; `null` takes it out.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }

    /// Broken in this way.
    #[must_use]
    pub fn flaw(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    pub(super) fn sign(&self, issuer: &str, audience: &str, now: i64, keys: &KeyRing) -> Result<String, KeyError> {
        let key = keys.newest();
        let claims = self.claims(issuer, audience, now);
        let mut header = Header::new(key.kind.algorithm());
        header.kid = Some(key.id.clone());
        match self.flaw {
            Some(Flaw::AlgNone) => {
                let header = json!({"alg": "none", "typ": "JWT", "kid": key.id});
                return Ok(format!("{}.{}.", part(&header), part(&claims)));
            }
            Some(Flaw::HmacWithPublicKey) => {
                header.alg = Algorithm::HS256;
                return encode(&header, &claims, &EncodingKey::from_secret(key.public_pem.as_bytes()));
            }
            Some(Flaw::UnknownKeyId) => header.kid = Some(format!("unknown-{}", uuid::Uuid::now_v7())),
            Some(Flaw::NoKeyId) => header.kid = None,
            Some(Flaw::ForeignKeyUrl) => {
                header.kid = Some("elsewhere".to_owned());
                header.jku = Some("http://127.0.0.1:9/jwks".to_owned());
            }
            _ => {}
        }
        let token = encode(&header, &claims, &key.private)?;
        Ok(if self.flaw == Some(Flaw::BadSignature) { with_other_subject(&token, &claims) } else { token })
    }

    fn claims(&self, issuer: &str, audience: &str, now: i64) -> Value {
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        set("iss", issuer.into());
        set("sub", self.subject.as_str().into());
        set("aud", audience.into());
        set("iat", now.into());
        set("nbf", now.into());
        set("exp", now.saturating_add(lifetime).into());
        set("jti", uuid::Uuid::now_v7().to_string().into());
        set("scope", "kafka".into());
        set("client_id", self.subject.as_str().into());
        set("groups", self.groups.clone().into());
        match self.flaw {
            Some(Flaw::Expired) => {
                set("iat", (now - 7200).into());
                set("nbf", (now - 7200).into());
                set("exp", (now - 3600).into());
            }
            Some(Flaw::NotYetValid) => set("nbf", (now + 3600).into()),
            Some(Flaw::WrongAudience) => set("aud", "another-service".into()),
            Some(Flaw::WrongIssuer) => set("iss", "https://another-issuer.example".into()),
            Some(Flaw::NoExpiry) => set("exp", Value::Null),
            Some(Flaw::NoSubject) => set("sub", Value::Null),
            _ => {}
        }
        for (name, value) in &self.claims {
            set(name, value.clone());
        }
        claims.retain(|_, value| !value.is_null());
        Value::Object(claims)
    }
}

fn encode(header: &Header, claims: &Value, key: &EncodingKey) -> Result<String, KeyError> {
    jsonwebtoken::encode(header, claims, key).map_err(|e| KeyError(e.to_string()))
}

/// `token` with its signature kept and its subject exchanged.
fn with_other_subject(token: &str, claims: &Value) -> String {
    let mut forged = claims.clone();
    if let Some(claims) = forged.as_object_mut() {
        claims.insert("sub".to_owned(), "admin".into());
    }
    let mut parts = token.split('.');
    let (header, signature) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    format!("{header}.{}.{signature}", part(&forged))
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
