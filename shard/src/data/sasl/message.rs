//! What clients put into SaslAuthenticate: OAUTHBEARER's initial response (RFC 7628 §3.1) and PLAIN's message
//! (RFC 4616 §2). Parsed strictly; every reason is a sentence without any part of the message.

use std::fmt;

use tidegate_core::words::Principal;
use zeroize::Zeroizing;

use super::ANY_USER;
use crate::config::Mechanism;

/// Longest name or extension that is looked at, in bytes.
const NAME_BYTES_MAX: usize = 4096;

/// A token, and the names that the client gives besides it.
pub struct Credential {
    token: Zeroizing<String>,
    /// The authorization id: whom the client wants to act as.
    authorization_id: Option<String>,
    /// PLAIN's user name.
    username: Option<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").finish_non_exhaustive()
    }
}

impl Credential {
    /// Reads the client's first message.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(mechanism: Mechanism, message: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(message).map_err(|_| "the SASL message is not UTF-8")?;
        match mechanism {
            Mechanism::OAuthBearer => bearer(text),
            Mechanism::Plain => plain(text),
        }
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether the names that the client gave are the principal's. They never make an identity; a name that differs is
    /// a mix-up of credentials, and refused.
    ///
    /// # Errors
    /// A sentence that says which name.
    pub fn check_names(&self, principal: &Principal) -> Result<(), &'static str> {
        let is_principals = |name: &str| name == &*principal.name || name == &*principal.subject;
        if self.authorization_id.as_deref().is_some_and(|name| !is_principals(name)) {
            return Err("the authorization id is not the principal's name");
        }
        if self.username.as_deref().is_some_and(|name| name != ANY_USER && !is_principals(name)) {
            return Err("the PLAIN user name is neither the principal's name nor `token`");
        }
        Ok(())
    }
}

/// `n,[a=NAME],` then pairs `key=value`, each ended by U+0001, and one more U+0001 at the end.
fn bearer(text: &str) -> Result<Credential, &'static str> {
    let (header, pairs) = text.split_once('\x01').ok_or("the OAUTHBEARER message has no separator")?;
    let authorization_id = gs2_authorization_id(header)?;
    // The last pair's end and the end of all follow each other.
    let pairs = pairs.strip_suffix("\x01\x01").ok_or("the OAUTHBEARER message does not end as it must")?;
    let mut token = None;
    for pair in pairs.split('\x01') {
        let (key, value) = pair.split_once('=').ok_or("the OAUTHBEARER message has a pair without `=`")?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err("the OAUTHBEARER message has an extension whose name is not of letters");
        }
        if key != "auth" {
            // Extensions are an agreement between others; none means anything here.
            if value.len() > NAME_BYTES_MAX || !value.bytes().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
            {
                return Err("the OAUTHBEARER message has an extension whose value is not printable");
            }
            continue;
        }
        if token.is_some() {
            return Err("the OAUTHBEARER message has two tokens");
        }
        let (scheme, credentials) =
            value.split_once(' ').ok_or("the OAUTHBEARER message has no authorization scheme")?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err("the OAUTHBEARER message's authorization scheme is not Bearer");
        }
        token = Some(checked_token(credentials.trim_matches(' '))?);
    }
    let token = token.ok_or("the OAUTHBEARER message has no token")?;
    Ok(Credential { token, authorization_id, username: None })
}

/// The GS2 header (RFC 5801 §4) without channel binding.
fn gs2_authorization_id(header: &str) -> Result<Option<String>, &'static str> {
    let rest = header
        .strip_prefix("n,")
        .or_else(|| header.strip_prefix("y,"))
        .ok_or("the OAUTHBEARER message's header asks for channel binding or is none")?;
    let name = rest.strip_suffix(',').ok_or("the OAUTHBEARER message's header is malformed")?;
    if name.is_empty() {
        return Ok(None);
    }
    let name =
        name.strip_prefix("a=").filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(','));
    let name = name.ok_or("the OAUTHBEARER message's authorization id is malformed")?;
    Ok(Some(name.replace("=2C", ",").replace("=3D", "=")))
}

/// `[authorization id] NUL user NUL password`.
fn plain(text: &str) -> Result<Credential, &'static str> {
    let mut parts = text.split('\0');
    let (Some(authorization_id), Some(username), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the PLAIN message does not have three parts");
    };
    if username.is_empty() || username.len() > NAME_BYTES_MAX || authorization_id.len() > NAME_BYTES_MAX {
        return Err("the PLAIN message has no user name, or a name that is too long");
    }
    Ok(Credential {
        token: checked_token(password)?,
        authorization_id: (!authorization_id.is_empty()).then(|| authorization_id.to_owned()),
        username: Some(username.to_owned()),
    })
}

/// A bearer token's characters are those of RFC 6750 §2.1 (`b64token`).
fn checked_token(text: &str) -> Result<Zeroizing<String>, &'static str> {
    if text.is_empty() {
        return Err("the token is empty");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')) {
        return Err("the token has characters that no bearer token has");
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn parse(mechanism: Mechanism, message: &[u8]) -> Result<(String, Option<String>, Option<String>), &'static str> {
        let credential = Credential::parse(mechanism, message)?;
        Ok((credential.token().to_owned(), credential.authorization_id, credential.username))
    }

    #[test]
    fn what_clients_send_is_read() {
        let bearer = |text: &str| parse(Mechanism::OAuthBearer, text.as_bytes()).unwrap();
        let token = || "a.b-_~+/=".to_owned();
        assert_eq!(bearer("n,,\x01auth=Bearer a.b-_~+/=\x01\x01"), (token(), None, None));
        assert_eq!(bearer("y,,\x01auth=bearer  a.b-_~+/= \x01\x01"), (token(), None, None));
        assert_eq!(
            bearer("n,a=al=2Cice=3D,\x01auth=Bearer a.b-_~+/=\x01logicalCluster=lkc-1=2\x01\x01"),
            (token(), Some("al,ice=".to_owned()), None)
        );
        let plain = |text: &str| parse(Mechanism::Plain, text.as_bytes()).unwrap();
        assert_eq!(plain("\0alice\0tok"), ("tok".to_owned(), None, Some("alice".to_owned())));
        assert_eq!(plain("bob\0alice\0tok"), ("tok".to_owned(), Some("bob".to_owned()), Some("alice".to_owned())));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "",
            "n,,",
            "n,,\x01",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer tok",
            "n,,\x01auth=Bearer tok\x01",
            "n,,auth=Bearer tok\x01\x01",
            "p=tls,,\x01auth=Bearer tok\x01\x01",
            "n,b=x,\x01auth=Bearer tok\x01\x01",
            "n,a=,\x01auth=Bearer tok\x01\x01",
            "n,a=x,y,\x01auth=Bearer tok\x01\x01",
            "n,,\x01auth=Basic tok\x01\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "n,,\x01auth=Bearertok\x01\x01",
            "n,,\x01auth=Bearer to k\x01\x01",
            "n,,\x01auth=Bearer tok\x01auth=Bearer tok\x01\x01",
            "n,,\x01auth=Bearer tok\x01ext\x01\x01",
            "n,,\x01auth=Bearer tok\x01e1=x\x01\x01",
            "n,,\x01auth=Bearer tok\x01ext=\u{7}\x01\x01",
            "n,,\x01ext=x\x01\x01",
            "\x01",
        ] {
            assert!(parse(Mechanism::OAuthBearer, text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["", "tok", "alice\0tok", "\0\0tok", "\0alice\0", "\0alice\0tok\0", "\0alice\0t k", "\0alice\0tök"]
        {
            assert!(parse(Mechanism::Plain, text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(Mechanism::Plain, b"\0alice\0\xff").is_err());
    }

    #[test]
    fn names_must_be_the_tokens_own() {
        let principal = Principal {
            issuer: Arc::from("https://id.example"),
            subject: Arc::from("uuid-1"),
            name: Arc::from("alice"),
            groups: Vec::new(),
        };
        let check = |mechanism, text: &str, accepted: bool| {
            let credential = Credential::parse(mechanism, text.as_bytes()).unwrap();
            assert_eq!(credential.check_names(&principal).is_ok(), accepted, "{text:?}");
        };
        for (name, accepted) in [("alice", true), ("uuid-1", true), ("token", true), ("bob", false), ("Alice", false)] {
            check(Mechanism::Plain, &format!("\0{name}\0tok"), accepted);
        }
        check(Mechanism::Plain, "alice\0token\0tok", true);
        check(Mechanism::Plain, "bob\0alice\0tok", false);
        check(Mechanism::Plain, "token\0token\0tok", false);
        check(Mechanism::OAuthBearer, "n,a=alice,\x01auth=Bearer t\x01\x01", true);
        check(Mechanism::OAuthBearer, "n,a=bob,\x01auth=Bearer t\x01\x01", false);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Credential::parse(Mechanism::Plain, &bytes);
            let _ = Credential::parse(Mechanism::OAuthBearer, &bytes);
        }
    }
}
