//! What the gateway's tokens say (RFC 7519, RFC 9068).

use std::sync::Arc;

use serde::Serialize;

/// The claims of an access token, in the order in which they are written. Times are whole seconds since 1970.
#[derive(Debug, Clone, Serialize)]
pub struct Claims<'a> {
    /// Who made it: the gateway's issuer URL.
    pub iss: &'a str,
    /// For whom: the principal's name, as policy and Kafka's ACLs use it.
    pub sub: &'a str,
    /// Where it is good.
    pub aud: &'a str,
    /// Which client asked for it.
    pub client_id: &'a str,
    /// The session that it belongs to: a login and all that is refreshed from it, or one connection.
    pub sid: &'a str,
    /// The token's own id.
    pub jti: &'a str,
    /// What it is for, words with spaces between. Kafka's validator wants it.
    pub scope: &'a str,
    /// The principal's groups.
    pub groups: &'a [Arc<str>],
    /// When it was made.
    pub iat: i64,
    /// From when it is good.
    pub nbf: i64,
    /// When it ends.
    pub exp: i64,
    /// Who vouched for the principal, where that was not the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idp: Option<Vouched<'a>>,
}

/// The identity provider's word that a token rests on.
#[derive(Debug, Clone, Serialize)]
pub struct Vouched<'a> {
    /// The provider.
    pub iss: &'a str,
    /// The subject there.
    pub sub: &'a str,
}
