//! What an operator says about an OIDC issuer. Parsed from the gateway's configuration; checked by
//! [`IssuerConfig::problems`] before anything uses it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signature algorithm that a token may use. Only algorithms with public keys can be named: an HMAC "signed" with
/// the public key, or `none`, cannot even be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl SigningAlgorithm {
    /// The algorithm of a JOSE name (RFC 7518 §3.1, RFC 8037, RFC 9864), or `None` where it is not one of ours.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            // RFC 9864 gives the Ed25519 case of EdDSA a name of its own.
            "EdDSA" | "Ed25519" => Self::EdDSA,
            _ => return None,
        })
    }

    /// The JOSE name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    pub(crate) const fn jose(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as A;
        match self {
            Self::RS256 => A::RS256,
            Self::RS384 => A::RS384,
            Self::RS512 => A::RS512,
            Self::PS256 => A::PS256,
            Self::PS384 => A::PS384,
            Self::PS512 => A::PS512,
            Self::ES256 => A::ES256,
            Self::ES384 => A::ES384,
            Self::EdDSA => A::EdDSA,
        }
    }
}

/// An OIDC issuer whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The issuer's URL, exactly as it stands in the tokens' `iss` claim, trailing slash included.
    pub issuer: String,
    /// Audiences, one of which must stand in a token's `aud` claim. At least one.
    pub audiences: Vec<String>,
    /// Signature algorithms that are accepted.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<SigningAlgorithm>,
    /// Seconds by which clocks may differ when `exp` and `nbf` are checked. At most 300.
    #[serde(default = "default_leeway_seconds")]
    pub leeway_seconds: u32,
    /// Where the discovery document is, if not at `ISSUER/.well-known/openid-configuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<String>,
    /// Where the key set is; discovery is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// PEM file with the certificate authorities that the issuer's HTTPS certificate is checked against, instead of
    /// the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Lets the issuer's URLs be `http://` to hosts other than the loopback. Whoever controls the network can then
    /// forge keys, and thereby any identity.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// The claim that names the principal in policy and evidence. A dot descends into an object.
    #[serde(default = "default_principal_claim")]
    pub principal_claim: String,
    /// Put before every principal's name, so that names of several issuers cannot meet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub principal_prefix: String,
    /// The claim that lists the principal's groups: an array of strings, or one string, which is one group. A dot
    /// descends into an object, for instance `realm_access.roles`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Put before every group's name, so that groups of several issuers cannot meet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub groups_prefix: String,
    /// Claims that must have these values. A claim that is an array must contain the value; numbers and booleans are
    /// compared as JSON text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub required_claims: BTreeMap<String, String>,
    /// Its tokens pass on the word of others: `idp` names the issuer and the subject there (`iss`, `sub`) that the
    /// principal is. So for the gateway's own issuer only, and never read from a file: whoever may say this may be
    /// anybody.
    #[serde(skip)]
    pub passes_on: bool,
}

fn default_algorithms() -> Vec<SigningAlgorithm> {
    vec![SigningAlgorithm::RS256, SigningAlgorithm::ES256]
}

const fn default_leeway_seconds() -> u32 {
    30
}

fn default_principal_claim() -> String {
    "sub".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

/// Leeway beyond which `exp` would hardly mean anything.
const LEEWAY_SECONDS_MAX: u32 = 300;

impl IssuerConfig {
    /// An issuer with every default, for `issuer` and one audience.
    #[must_use]
    pub fn new(issuer: &str, audience: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audiences: vec![audience.to_owned()],
            algorithms: default_algorithms(),
            leeway_seconds: default_leeway_seconds(),
            discovery_url: None,
            jwks_url: None,
            ca_file: None,
            allow_plain_http: false,
            principal_claim: default_principal_claim(),
            principal_prefix: String::new(),
            groups_claim: default_groups_claim(),
            groups_prefix: String::new(),
            required_claims: BTreeMap::new(),
            passes_on: false,
        }
    }

    /// Where the discovery document is fetched (OpenID Connect Discovery 1.0 §4).
    #[must_use]
    pub fn discovery_url(&self) -> String {
        match &self.discovery_url {
            Some(url) => url.clone(),
            None => format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/')),
        }
    }

    /// Whether keys or discovery may be fetched from `url`: HTTPS, or plain HTTP on the loopback or where allowed.
    #[must_use]
    pub fn may_fetch(&self, url: &str) -> bool {
        is_fetchable(url, self.allow_plain_http)
    }

    /// Everything that is wrong, each with the key it is about; empty where nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let urls = [
            ("issuer", Some(&self.issuer)),
            ("discovery_url", self.discovery_url.as_ref()),
            ("jwks_url", self.jwks_url.as_ref()),
        ];
        for (key, url) in urls {
            if let Some(url) = url.filter(|url| !self.may_fetch(url)) {
                problems.push((
                    key,
                    format!(
                        "`{url}` must be an https:// URL (http:// only to the loopback, or with `allow_plain_http`)"
                    ),
                ));
            }
        }
        if self.issuer.contains(['?', '#']) {
            problems.push(("issuer", "an issuer has neither query nor fragment".to_owned()));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            problems.push(("audiences", "at least one audience is needed, and none may be empty".to_owned()));
        }
        if self.algorithms.is_empty() {
            problems.push(("algorithms", "at least one algorithm is needed".to_owned()));
        }
        if self.leeway_seconds > LEEWAY_SECONDS_MAX {
            problems.push(("leeway_seconds", format!("at most {LEEWAY_SECONDS_MAX} seconds")));
        }
        for (key, claim) in [("principal_claim", &self.principal_claim), ("groups_claim", &self.groups_claim)] {
            if claim.is_empty() {
                problems.push((key, "a claim's name is needed".to_owned()));
            }
        }
        problems
    }
}

/// Whether keys may come from `url`: HTTPS, or plain HTTP on the loopback or where that is allowed.
pub(crate) fn is_fetchable(url: &str, allow_plain_http: bool) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let host = host_of(rest);
    match scheme.to_ascii_lowercase().as_str() {
        "https" => !host.is_empty(),
        "http" => !host.is_empty() && (allow_plain_http || is_loopback(host)),
        _ => false,
    }
}

/// The host of what follows `://`, without user, port, path and brackets.
fn host_of(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host_port.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host_port.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_safe_and_unknown_keys_are_refused() {
        let parse = |text: &str| serde_json::from_str::<IssuerConfig>(text);
        let config = parse(r#"{"issuer":"https://id.example/","audiences":["kafka"]}"#).unwrap();
        assert_eq!(config, IssuerConfig::new("https://id.example/", "kafka"));
        assert_eq!(config.leeway_seconds, 30);
        assert_eq!(config.problems(), vec![]);
        assert_eq!(config.discovery_url(), "https://id.example/.well-known/openid-configuration");
        assert!(parse(r#"{"issuer":"https://id.example","audiences":["kafka"],"audience":"x"}"#).is_err());
        for name in ["HS256", "none", "RSA1_5", "rs256"] {
            let text = format!(r#"{{"issuer":"https://id.example","audiences":["k"],"algorithms":["{name}"]}}"#);
            assert!(parse(&text).is_err(), "{name} must not be configurable");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut config = IssuerConfig::new("http://id.example?x", "");
        config.jwks_url = Some("file:///etc/passwd".to_owned());
        config.algorithms.clear();
        config.leeway_seconds = 301;
        config.groups_claim.clear();
        let keys: Vec<_> = config.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["issuer", "jwks_url", "issuer", "audiences", "algorithms", "leeway_seconds", "groups_claim"]);
    }

    #[test]
    fn plain_http_is_for_the_loopback_only() {
        let mut config = IssuerConfig::new("https://id.example", "k");
        let check =
            |config: &IssuerConfig, url: &str, expected: bool| assert_eq!(config.may_fetch(url), expected, "{url}");
        check(&config, "https://id.example/x", true);
        check(&config, "HTTPS://id.example", true);
        check(&config, "http://127.0.0.1:8080/jwks", true);
        check(&config, "http://localhost/jwks", true);
        check(&config, "http://[::1]:80/jwks", true);
        check(&config, "http://id.example/jwks", false);
        check(&config, "http://localhost.evil.example/jwks", false);
        check(&config, "http://127.0.0.1@evil.example/jwks", false);
        check(&config, "https://", false);
        check(&config, "id.example", false);
        config.allow_plain_http = true;
        check(&config, "http://id.example/jwks", true);
        check(&config, "ftp://id.example/jwks", false);
    }
}
