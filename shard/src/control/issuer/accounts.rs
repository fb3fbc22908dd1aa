//! Service accounts: programs that log in with a secret (kept here as a hash) or with a key of their own
//! (`private_key_jwt`, RFC 7523 §2.2).
//!
//! A secret is one that `tidegate service-account` drew: 256 bits behind a prefix. Anything else is no secret of ours
//! and refused before it is hashed, so that a plain SHA-256 is safe to keep.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_core::limits::Limits;
use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::document::{self, Problem};
use tidegate_policy::identity::{IssuerConfig, Issuers, KeySet, SigningAlgorithm, Verified, verify};

use super::oauth::{Form, OAuthError};
use super::shelf::Shelf;
use crate::tokens::secret::SecretHash;

/// What a service account's secret begins with.
pub const SECRET_PREFIX: &str = "tgs_";
/// What a secret's hash begins with in the file.
pub const HASH_PREFIX: &str = "sha256:";
/// Bytes of a secret: the prefix and 256 bits in base64url.
const SECRET_BYTES: usize = SECRET_PREFIX.len() + 43;
/// The longest that a client's assertion may be good for, in milliseconds.
const ASSERTION_MILLIS_MAX: i64 = 10 * 60_000;
/// Used assertions that are remembered, so that none is used twice.
const USED_MAX: usize = 65_536;
/// The type of an assertion by which a client authenticates (RFC 7523 §2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A used assertion: whose, and its id.
pub(super) type AssertionId = (Arc<str>, Arc<str>);

/// The file of service accounts, as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tidegate service accounts")]
pub(super) struct File {
    /// The accounts.
    service_accounts: Vec<Entry>,
}

/// A service account, as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Its client id, and its name in policy and evidence.
    name: String,
    /// Its groups.
    #[serde(default)]
    groups: Vec<String>,
    /// Hashes of its secrets, as `tidegate service-account` prints them: two while a secret is changed.
    #[serde(default)]
    secret_hashes: Vec<String>,
    /// Its public keys (a JWKS, RFC 7517), where it signs assertions instead of having a secret.
    jwks: Option<serde_json::Value>,
    /// Lets it ask about anybody's token at `/introspect`.
    #[serde(default)]
    may_introspect: bool,
}

/// A service account.
#[derive(Debug)]
pub(super) struct Account {
    /// Its client id and name.
    pub name: Arc<str>,
    /// Its groups.
    pub groups: Vec<Arc<str>>,
    /// Whether it may ask about tokens.
    pub may_introspect: bool,
    hashes: Vec<SecretHash>,
}

impl Account {
    /// Who it is.
    pub(super) fn principal(&self, issuer: &Arc<str>) -> Principal {
        Principal {
            issuer: issuer.clone(),
            subject: self.name.clone(),
            name: self.name.clone(),
            groups: self.groups.clone(),
        }
    }
}

/// All service accounts, as last read.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    accounts: HashMap<Arc<str>, Arc<Account>>,
    /// Each account that has keys, as an issuer of assertions about itself.
    keys: Issuers,
}

impl Accounts {
    /// Reads the file. `audiences` are what assertions are addressed to: the issuer and its token endpoint.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the file's order.
    pub(crate) fn load(path: &Path, audiences: &[String]) -> Result<Self, Vec<Problem>> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot be read: {error}");
            vec![Problem { file: Arc::from(name.as_str()), path: String::new(), line: 1, column: 1, message }]
        })?;
        Self::parse(&text, &name, audiences)
    }

    /// Reads the text of the file `name`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn parse(text: &str, name: &str, audiences: &[String]) -> Result<Self, Vec<Problem>> {
        document::load::<File, Self>(text, name, |parsed| {
            let (made, complaints) = Self::check(&parsed.value, audiences);
            if complaints.is_empty() {
                return Ok(made);
            }
            Err(complaints.into_iter().map(|(path, what)| parsed.problem(path, what)).collect())
        })
    }

    fn check(file: &File, audiences: &[String]) -> (Self, Vec<(String, String)>) {
        let mut complaints = Vec::new();
        let (mut accounts, mut configs, mut key_sets) = (HashMap::new(), Vec::new(), Vec::new());
        let mut names = HashSet::new();
        for (index, entry) in file.service_accounts.iter().enumerate() {
            let path = format!("service_accounts[{index}]");
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
            let named = (1..=128).contains(&entry.name.len()) && entry.name.chars().all(allowed);
            if !named || entry.name == "ANONYMOUS" || !names.insert(&entry.name) {
                let what = "must have 1 to 128 letters, digits or `.` `_` `-` `@`, and be nobody else's name";
                complaints.push((format!("{path}.name"), what.to_owned()));
            }
            let mut hashes = Vec::new();
            for (at, text) in entry.secret_hashes.iter().enumerate() {
                match read_hash(text) {
                    Some(hash) => hashes.push(hash),
                    None => complaints.push((
                        format!("{path}.secret_hashes[{at}]"),
                        "is no hash; `tidegate service-account` makes a secret and prints its hash".to_owned(),
                    )),
                }
            }
            let name: Arc<str> = Arc::from(entry.name.as_str());
            match entry.jwks.as_ref().map(|jwks| KeySet::parse(jwks.to_string().as_bytes())) {
                Some(Ok(keys)) => {
                    configs.push(assertions_of(&name, audiences));
                    key_sets.push((name.clone(), Arc::new(keys)));
                }
                Some(Err(error)) => complaints.push((format!("{path}.jwks"), error.to_string())),
                None if entry.secret_hashes.is_empty() => {
                    complaints.push((path.clone(), "needs `secret_hashes` or `jwks`, or it cannot log in".to_owned()));
                }
                None => {}
            }
            let groups = entry.groups.iter().map(|group| Arc::from(group.as_str())).collect();
            let account = Account { name: name.clone(), groups, may_introspect: entry.may_introspect, hashes };
            accounts.insert(name, Arc::new(account));
        }
        let keys =
            key_sets.into_iter().fold(Issuers::new(configs), |issuers, (name, keys)| issuers.with_keys(&name, keys));
        (Self { accounts, keys }, complaints)
    }

    fn by_secret(&self, name: &str, secret: &str) -> Option<&Arc<Account>> {
        if secret.len() != SECRET_BYTES || !secret.starts_with(SECRET_PREFIX) {
            return None;
        }
        let account = self.accounts.get(name)?;
        // Every hash is looked at, whichever of them it is.
        let right = account.hashes.iter().fold(false, |right, hash| hash.is_of(secret) | right);
        right.then_some(account)
    }

    fn by_assertion(
        &self,
        assertion: &str,
        used: &mut Shelf<AssertionId, ()>,
        now: Timestamp,
    ) -> Option<&Arc<Account>> {
        let Verified { principal, expires, token_id, .. } =
            verify(assertion, &self.keys, now, &Limits::default()).ok()?;
        // RFC 7523 §3: issuer and subject are the client itself.
        if principal.issuer != principal.subject || expires.millis_since(now) > ASSERTION_MILLIS_MAX {
            return None;
        }
        let account = self.accounts.get(&principal.subject)?;
        let key = (account.name.clone(), token_id?);
        if used.get_mut(&key, now).is_some() || used.put(key, (), expires, now).is_err() {
            return None;
        }
        Some(account)
    }
}

fn assertions_of(name: &Arc<str>, audiences: &[String]) -> IssuerConfig {
    use SigningAlgorithm::{ES256, ES384, EdDSA, PS256, RS256};
    IssuerConfig {
        audiences: audiences.to_vec(),
        algorithms: vec![RS256, PS256, ES256, ES384, EdDSA],
        ..IssuerConfig::new(name, "")
    }
}

/// A secret's hash as it stands in the file.
#[must_use]
pub fn hash_line(secret: &str) -> String {
    format!("{HASH_PREFIX}{}", URL_SAFE_NO_PAD.encode(SecretHash::of(secret).0))
}

fn read_hash(text: &str) -> Option<SecretHash> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(HASH_PREFIX)?).ok()?;
    Some(SecretHash(bytes.try_into().ok()?))
}

/// How a client says who it is.
#[derive(Debug)]
pub(super) enum Client {
    /// It authenticated.
    Account(Arc<Account>),
    /// It names itself, and has nothing to prove it with: a program on somebody's own machine.
    Named(String),
    /// It says nothing.
    Unnamed,
}

/// The name that a request gives for its client, unproven: for counting failures.
pub(super) fn claimed_name(headers: &HeaderMap, form: &Form) -> String {
    match basic(headers) {
        Ok(Some((name, _))) => name,
        _ => form.get("client_id").unwrap_or_default().to_owned(),
    }
}

/// Authenticates the client of a request, by exactly one method (RFC 6749 §2.3).
///
/// # Errors
/// `invalid_client`, or `invalid_request` where several methods are used.
pub(super) fn authenticate(
    accounts: &Accounts,
    used: &mut Shelf<AssertionId, ()>,
    headers: &HeaderMap,
    form: &Form,
    now: Timestamp,
) -> Result<Client, OAuthError> {
    let basic = basic(headers)?;
    let (name, secret) = (form.get("client_id"), form.get("client_secret"));
    let assertion = form.get("client_assertion");
    let methods = [basic.is_some(), secret.is_some(), assertion.is_some()];
    if methods.into_iter().filter(|used| *used).count() > 1 {
        return Err(OAuthError::invalid_request("the client authenticates in more than one way"));
    }
    let account = if let Some((name, secret)) = &basic {
        accounts.by_secret(name, secret)
    } else if let Some(secret) = secret {
        accounts.by_secret(name.unwrap_or_default(), secret)
    } else if let Some(assertion) = assertion {
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(OAuthError::invalid_request("`client_assertion_type` must be jwt-bearer"));
        }
        accounts.by_assertion(assertion, used, now)
    } else {
        return Ok(name.map_or(Client::Unnamed, |name| Client::Named(name.to_owned())));
    };
    let account = account.ok_or_else(OAuthError::invalid_client)?;
    if name.is_some_and(|name| *name != *account.name) {
        return Err(OAuthError::invalid_client());
    }
    Ok(Client::Account(account.clone()))
}

/// What remembers used assertions.
pub(super) fn used_assertions() -> Shelf<AssertionId, ()> {
    Shelf::new(USED_MAX)
}

/// Id and secret of an `Authorization: Basic` header, each form-encoded before (RFC 6749 §2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, zeroize::Zeroizing<String>)>, OAuthError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let parsed = || {
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = zeroize::Zeroizing::new(String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?);
        let (name, secret) = decoded.split_once(':')?;
        let decode = |text: &str| {
            let field = format!("v={text}");
            form_urlencoded::parse(field.as_bytes()).next().map(|(_, value)| value.into_owned())
        };
        Some((decode(name)?, zeroize::Zeroizing::new(decode(secret)?)))
    };
    parsed().map(Some).ok_or_else(OAuthError::invalid_client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::secret::draw;
    use crate::tokens::{SigningKey, TokenAlgorithm};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn audiences() -> Vec<String> {
        vec!["https://gw".to_owned(), "https://gw/token".to_owned()]
    }

    fn form(fields: &[(&str, &str)]) -> Form {
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Form::parse(text.as_bytes()).ok().unwrap()
    }

    fn try_as(accounts: &Accounts, headers: &HeaderMap, fields: &[(&str, &str)]) -> Result<Client, OAuthError> {
        authenticate(accounts, &mut used_assertions(), headers, &form(fields), NOW)
    }

    #[test]
    fn a_secret_is_taken_from_header_or_form_and_from_one_of_them() {
        let (old, new, foreign) = (draw("tgs_").unwrap(), draw("tgs_").unwrap(), draw("tgs_").unwrap());
        let text = format!(
            "service_accounts:\n  - {{name: etl, groups: [loaders], secret_hashes: [\"{}\", \"{}\"]}}\n",
            hash_line(&old),
            hash_line(&new)
        );
        let accounts = Accounts::parse(&text, "accounts.yaml", &audiences()).unwrap();
        assert_eq!(accounts.accounts.len(), 1);
        let basic = |name: &str, secret: &str| {
            let mut headers = HeaderMap::new();
            let value = format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")));
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            headers
        };
        let none = HeaderMap::new();
        let rows = [
            ("post", none.clone(), vec![("client_id", "etl"), ("client_secret", &old)], true),
            ("post, the new one", none.clone(), vec![("client_id", "etl"), ("client_secret", &new)], true),
            ("basic", basic("etl", &new), vec![], true),
            ("basic and its id", basic("etl", &new), vec![("client_id", "etl")], true),
            ("basic and another id", basic("etl", &new), vec![("client_id", "billing")], false),
            ("foreign", none.clone(), vec![("client_id", "etl"), ("client_secret", &foreign)], false),
            ("unknown", basic("nobody", &new), vec![], false),
            ("weak", basic("etl", "password"), vec![], false),
            ("both", basic("etl", &new), vec![("client_secret", &new), ("client_id", "etl")], false),
        ];
        for (row, headers, fields, accepted) in rows {
            let client = try_as(&accounts, &headers, &fields);
            assert_eq!(matches!(client, Ok(Client::Account(_))), accepted, "{row}: {client:?}");
        }
        assert!(matches!(try_as(&accounts, &none, &[("client_id", "x")]), Ok(Client::Named(name)) if name == "x"));
        assert!(matches!(try_as(&accounts, &none, &[]), Ok(Client::Unnamed)));
        let mut bearer = HeaderMap::new();
        bearer.insert(header::AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(try_as(&accounts, &bearer, &[]).is_err());
    }

    #[test]
    fn an_assertion_is_good_for_one_use_by_its_own_client() {
        let (key, _) = SigningKey::generate(TokenAlgorithm::ES256).unwrap();
        let (foreign, _) = SigningKey::generate(TokenAlgorithm::ES256).unwrap();
        let text = json!({"service_accounts": [{"name": "etl", "jwks": {"keys": [key.public_jwk()]}}]}).to_string();
        let accounts = Accounts::parse(&text, "accounts.yaml", &audiences()).unwrap();
        let claims = |change: serde_json::Value| {
            let mut claims =
                json!({"iss": "etl", "sub": "etl", "aud": "https://gw/token", "jti": "1", "exp": 1_000_300});
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            claims
        };
        let rows = [
            ("good", key.sign(&claims(json!({}))), true),
            ("to the issuer", key.sign(&claims(json!({"aud": ["https://gw"]}))), true),
            ("foreign key", foreign.sign(&claims(json!({}))), false),
            ("other audience", key.sign(&claims(json!({"aud": "https://other"}))), false),
            ("about another", key.sign(&claims(json!({"sub": "billing"}))), false),
            ("expired", key.sign(&claims(json!({"exp": 999_900}))), false),
            ("long", key.sign(&claims(json!({"exp": 1_002_000}))), false),
            ("no id", key.sign(&claims(json!({"jti": null}))), false),
        ];
        for (row, assertion, accepted) in rows {
            let assertion = assertion.unwrap();
            let fields = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)];
            let mut used = used_assertions();
            let mut attempt = || authenticate(&accounts, &mut used, &HeaderMap::new(), &form(&fields), NOW);
            let client = attempt();
            assert_eq!(matches!(client, Ok(Client::Account(_))), accepted, "{row}: {client:?}");
            assert!(attempt().is_err(), "{row}: replayed");
        }
    }

    #[test]
    fn everything_wrong_with_the_file_is_said_at_once() {
        let text = "service_accounts:\n  - name: a b\n    secret_hashes: [hunter2]\n  - name: c\n  - name: d\n    jwks: {keys: []}\n";
        let problems = Accounts::parse(text, "accounts.yaml", &audiences()).unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 4, 6], "{problems:?}");
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}
