//! The verification of one token, in the order of its checks: shape, issuer, algorithm, key, signature, claims.
//!
//! Of the unverified claims only `iss` is read, to find the issuer; all others are read from the very bytes whose
//! signature was verified. JWT: RFC 7519, with the advice of RFC 8725.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_core::limits::Limits;
use tidegate_core::words::{Principal, Timestamp};

use super::config::{IssuerConfig, SigningAlgorithm};
use super::error::TokenError;
use super::keys::{Issuer, Issuers, KID_BYTES_MAX, Key};

/// Longest name of a principal or group, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Longest `jti` that is kept for the evidence, in bytes.
const TOKEN_ID_BYTES_MAX: usize = 256;

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who it is.
    pub principal: Principal,
    /// Whose token it is (`iss`). The principal's issuer but where the gateway passes on another's word.
    pub issuer: Arc<str>,
    /// From when the token is no longer accepted: `exp` and the issuer's leeway.
    pub expires: Timestamp,
    /// The token's id (`jti`), where it has one of at most 256 bytes.
    pub token_id: Option<Arc<str>>,
    /// The login session that the token is part of (`sid`), in lower case, where it names one of at most 256
    /// bytes: what is revoked with it counts no longer.
    pub session: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Unverified<'a> {
    #[serde(borrow, default)]
    iss: Option<Cow<'a, str>>,
}

/// Verifies a bearer token against the configured issuers and the keys that are known now.
///
/// # Errors
/// [`TokenError`] says which check failed. [`TokenError::UnknownKey`] may be cured by a refresh of the issuer's keys.
pub fn verify(token: &str, issuers: &Issuers, now: Timestamp, limits: &Limits) -> Result<Verified, TokenError> {
    if token.len() > limits.token_bytes_max as usize {
        return Err(TokenError::TooLong { bytes: token.len(), max: limits.token_bytes_max });
    }
    let parts = Parts::split(token)?;
    let header = decode_part(parts.header, "its header is not base64url")?;
    let header: Header<'_> = object(&header).ok_or(TokenError::Malformed("its header is not a JOSE header"))?;
    if header.crit.is_some() {
        return Err(TokenError::CriticalHeader);
    }
    let kid = header.kid.as_deref();
    if kid.is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
        return Err(TokenError::Malformed("its key id is too long"));
    }
    let not_allowed = || TokenError::AlgorithmNotAllowed { algorithm: cut(&header.alg, 32) };
    let algorithm = SigningAlgorithm::from_name(&header.alg).ok_or_else(not_allowed)?;

    let claims = decode_part(parts.claims, "its claims are not base64url")?;
    let issuer = find_issuer(&claims, issuers)?;
    if !issuer.config.algorithms.contains(&algorithm) {
        return Err(not_allowed());
    }
    let key = find_key(issuer, issuers, kid, algorithm)?;
    let signature = decode_part(parts.signature, "its signature is not base64url")?;
    check_signature(key, algorithm, parts.signed, &signature)?;

    let claims: Map<String, Value> =
        object(&claims).ok_or(TokenError::Malformed("its claims are not a JSON object"))?;
    check_claims(&claims, issuer, now)
}

/// A compact JWS, split at its two dots (RFC 7515 §3.1).
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// Header and claims with the dot between them: what is signed.
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        let shape = TokenError::Malformed("it is not a signed JWT of three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| shape.clone())?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| shape.clone())?;
        if claims.contains('.') {
            return Err(shape);
        }
        Ok(Self { header, claims, signature, signed })
    }
}

fn decode_part(part: &str, problem: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(problem))
}

/// A JSON object. Serde would take an array of the members' values for one as well.
fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

fn find_issuer<'a>(claims: &[u8], issuers: &'a Issuers) -> Result<&'a Issuer, TokenError> {
    let claims: Unverified<'_> = object(claims).ok_or(TokenError::Malformed("its claims are not a JSON object"))?;
    let name = claims.iss.ok_or_else(|| missing("iss"))?;
    issuers.issuer(&name).ok_or_else(|| TokenError::UnknownIssuer { issuer: cut(&name, 200) })
}

fn find_key<'a>(
    issuer: &Issuer,
    issuers: &'a Issuers,
    kid: Option<&'a str>,
    algorithm: SigningAlgorithm,
) -> Result<&'a Key, TokenError> {
    let unknown = || TokenError::UnknownKey { issuer: issuer.name.clone(), kid: kid.unwrap_or_default().to_owned() };
    let keys = issuers.keys(&issuer.name).ok_or_else(unknown)?;
    let Some(kid) = kid else {
        // Without a key id the key must be plain from the algorithm (OpenID Connect Core §10.1).
        let mut fitting = keys.fitting(algorithm);
        let key = fitting.next().ok_or_else(unknown)?;
        return if fitting.next().is_some() { Err(TokenError::AmbiguousKey) } else { Ok(key) };
    };
    let mut named = keys.named(kid).peekable();
    if named.peek().is_none() {
        return Err(unknown());
    }
    named
        .find(|key| key.fits(algorithm))
        .ok_or_else(|| TokenError::KeyMismatch { kid: kid.to_owned(), algorithm: algorithm.name() })
}

fn check_signature(key: &Key, algorithm: SigningAlgorithm, signed: &str, signature: &[u8]) -> Result<(), TokenError> {
    // The provider is named here so that no other part of the process can install a different one.
    let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm.jose(), &key.decoding)
        .map_err(|_| TokenError::BadSignature)?;
    verifier.verify(signed.as_bytes(), &signature.to_vec()).map_err(|_| TokenError::BadSignature)
}

fn check_claims(claims: &Map<String, Value>, issuer: &Issuer, now: Timestamp) -> Result<Verified, TokenError> {
    let config = &issuer.config;
    if claims.get("iss").and_then(Value::as_str) != Some(&*issuer.name) {
        return Err(invalid("iss"));
    }
    let expires = check_times(claims, config, now)?;
    check_audience(claims, config)?;
    for (claim, required) in &config.required_claims {
        let value = find(claims, claim).ok_or_else(|| missing(claim))?;
        if !has_value(value, required) {
            return Err(TokenError::ClaimNotAsRequired { claim: claim.clone() });
        }
    }
    let subject = name_in(claims, "sub")?;
    let name = format!("{}{}", config.principal_prefix, name_in(claims, &config.principal_claim)?);
    if name == *Principal::anonymous().name {
        // Nobody may be called what the unauthenticated are called.
        return Err(invalid(&config.principal_claim));
    }
    let (vouched_by, subject) = match claims.get("idp").filter(|_| config.passes_on) {
        // Whoever comes with a token of ours is the same principal as with the one that it rests on: for policy,
        // grants, revocations, and for whom nobody but he himself is.
        Some(idp) => {
            let idp = idp.as_object().ok_or_else(|| invalid("idp"))?;
            (
                Arc::from(name_in(idp, "iss").map_err(|_| invalid("idp"))?),
                name_in(idp, "sub").map_err(|_| invalid("idp"))?,
            )
        }
        None => (issuer.name.clone(), subject),
    };
    let principal = Principal {
        issuer: vouched_by,
        subject: Arc::from(subject),
        name: Arc::from(name),
        groups: groups(claims, config)?,
    };
    let token_id = claims.get("jti").and_then(Value::as_str).filter(|id| id.len() <= TOKEN_ID_BYTES_MAX).map(Arc::from);
    let session = claims.get("sid").and_then(Value::as_str).filter(|id| id.len() <= TOKEN_ID_BYTES_MAX);
    let session = session.map(|id| Arc::from(id.to_lowercase()));
    Ok(Verified { principal, issuer: issuer.name.clone(), expires, token_id, session })
}

/// `exp` is required, `nbf` holds where it stands (RFC 7519 §4.1.4, §4.1.5).
fn check_times(claims: &Map<String, Value>, config: &IssuerConfig, now: Timestamp) -> Result<Timestamp, TokenError> {
    let leeway_millis = i64::from(config.leeway_seconds) * 1000;
    let exp = claims.get("exp").ok_or_else(|| missing("exp"))?;
    let expires = numeric_date(exp).ok_or_else(|| invalid("exp"))?.plus_millis(leeway_millis);
    if now >= expires {
        return Err(TokenError::Expired { at: expires });
    }
    if let Some(nbf) = claims.get("nbf") {
        let from = numeric_date(nbf).ok_or_else(|| invalid("nbf"))?.plus_millis(-leeway_millis);
        if now < from {
            return Err(TokenError::NotYetValid { from });
        }
    }
    Ok(expires)
}

fn check_audience(claims: &Map<String, Value>, config: &IssuerConfig) -> Result<(), TokenError> {
    let ours = |audience: &Value| audience.as_str().is_some_and(|name| config.audiences.iter().any(|own| own == name));
    match claims.get("aud") {
        None => Err(missing("aud")),
        Some(Value::Array(audiences)) if audiences.iter().any(ours) => Ok(()),
        Some(audience) if ours(audience) => Ok(()),
        Some(_) => Err(TokenError::WrongAudience),
    }
}

/// Seconds since the epoch, with or without a fraction (RFC 7519 §2, NumericDate).
fn numeric_date(value: &Value) -> Option<Timestamp> {
    if let Some(secs) = value.as_i64() {
        return (secs >= 0).then(|| Timestamp::from_secs(secs));
    }
    let secs = value.as_f64().filter(|secs| secs.is_finite() && *secs >= 0.0)?;
    // The cast saturates, so a date beyond all calendars is the far future.
    Some(Timestamp((secs * 1e6) as i64))
}

fn groups(claims: &Map<String, Value>, config: &IssuerConfig) -> Result<Vec<Arc<str>>, TokenError> {
    let claim = &config.groups_claim;
    let group = |value: &Value| {
        let name = value.as_str().filter(|name| is_name(name)).ok_or_else(|| invalid(claim))?;
        Ok(Arc::from(format!("{}{name}", config.groups_prefix)))
    };
    match find(claims, claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(group).collect(),
        Some(value) => Ok(vec![group(value)?]),
    }
}

fn name_in<'a>(claims: &'a Map<String, Value>, claim: &str) -> Result<&'a str, TokenError> {
    let value = find(claims, claim).ok_or_else(|| missing(claim))?;
    value.as_str().filter(|name| is_name(name)).ok_or_else(|| invalid(claim))
}

/// A name that can stand in policy, logs and evidence.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control)
}

/// The claim of this very name, or else the one that the dots lead to. The name comes first, since claims may be
/// called `https://example.com/groups`.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
}

fn has_value(value: &Value, required: &str) -> bool {
    match value {
        Value::String(text) => text == required,
        Value::Array(values) => values.iter().any(|value| !value.is_array() && has_value(value, required)),
        Value::Bool(flag) => required == if *flag { "true" } else { "false" },
        Value::Number(number) => {
            let text = number.to_string();
            text == required
        }
        Value::Null | Value::Object(_) => false,
    }
}

fn missing(claim: &str) -> TokenError {
    TokenError::MissingClaim { claim: claim.to_owned() }
}

fn invalid(claim: &str) -> TokenError {
    TokenError::InvalidClaim { claim: claim.to_owned() }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}
