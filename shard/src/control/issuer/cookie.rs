//! Cookies that bind a login to the browser that began it.
//!
//! Each login has its own, named after it, so that logins in several windows of one browser do not take each other's.
//! Invariants: a cookie's name says nothing of its value and gives nothing away (it is the hash of what the login is
//! found by); a browser carries [`LOGINS_MAX`] of logins at most, and where it begins one more its oldest ends; what is
//! over is taken out of it at the next occasion.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidegate_core::words::Timestamp;

use super::login::Logins;
use crate::tokens::secret::SecretHash;

/// Logins that one browser may have under way.
pub(super) const LOGINS_MAX: usize = 8;
/// Cookies of a browser that are looked at.
const READ_MAX: usize = 64;
/// How long a browser keeps one, in seconds: as long as a login may take.
const SECONDS: u32 = 600;

/// Cookies of one purpose: logins under way, or questions about devices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cookies {
    /// What their names begin with.
    pub prefix: &'static str,
    /// Which requests they come with.
    pub path: &'static str,
}

impl Cookies {
    /// A new one, for what is found by `of`. `rest` is `SameSite` and what it takes.
    pub(super) fn make(&self, of: &SecretHash, value: &str, rest: &str) -> String {
        let path = self.path;
        format!("{}={value}; Path={path}; Max-Age={SECONDS}; HttpOnly; SameSite={rest}", self.name(of))
    }

    /// Takes one out of the browser.
    pub(super) fn remove(&self, of: &SecretHash) -> String {
        format!("{}=; Path={}; Max-Age=0; HttpOnly; SameSite=Lax", self.name(of), self.path)
    }

    /// Whether the browser has the one of `of`, with the value that `expected` is the hash of.
    pub(super) fn is_from(&self, headers: &HeaderMap, of: &SecretHash, expected: &SecretHash) -> bool {
        let name = self.name(of);
        let mut values = pairs(headers).filter(|(known, _)| *known == name);
        values.any(|(_, value)| expected.is_of(value))
    }

    /// What the browser's other cookies of this kind are of.
    pub(super) fn others(&self, headers: &HeaderMap) -> Vec<SecretHash> {
        let names = pairs(headers).filter_map(|(name, _)| name.strip_prefix(self.prefix)?.strip_prefix('_'));
        let hashes = names.filter_map(|text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            Some(SecretHash(bytes.try_into().ok()?))
        });
        hashes.take(READ_MAX).collect()
    }

    fn name(&self, of: &SecretHash) -> String {
        format!("{}_{}", self.prefix, URL_SAFE_NO_PAD.encode(of.0))
    }
}

impl Logins {
    /// Makes room for one more login in a browser that has cookies of `others`. Which of them are to go: those whose
    /// login is over, and the oldest beyond [`LOGINS_MAX`], which ends.
    pub(super) fn make_room(&mut self, others: Vec<SecretHash>, now: Timestamp) -> Vec<SecretHash> {
        let (mut gone, mut live) = (Vec::new(), Vec::new());
        for of in others {
            match self.end_of(&of, now) {
                Some(end) => live.push((end, of)),
                None => gone.push(of),
            }
        }
        live.sort_by_key(|(end, _)| *end);
        let over = (live.len() + 1).saturating_sub(LOGINS_MAX);
        for (_, of) in live.into_iter().take(over) {
            self.end(&of, now);
            gone.push(of);
        }
        gone
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const COOKIES: Cookies = Cookies { prefix: "tidegate_x", path: "/" };

    #[test]
    fn a_cookie_is_of_one_login_and_found_among_others() {
        let (one, two) = (SecretHash::of("one"), SecretHash::of("two"));
        let (first, second) = (COOKIES.make(&one, "v1", "Lax"), COOKIES.make(&two, "v2", "Strict"));
        assert!(first.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"), "{first}");
        let sent = |cookies: &[&str]| {
            let pairs: Vec<&str> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(&pairs.join("; ")).unwrap());
            headers
        };
        let both = sent(&["other=1", &first, "tidegate_x_short=1", "tidegate_y_AAAA=2", &second]);
        assert!(COOKIES.is_from(&both, &one, &SecretHash::of("v1")));
        assert!(COOKIES.is_from(&both, &two, &SecretHash::of("v2")));
        assert!(!COOKIES.is_from(&both, &one, &SecretHash::of("v2")), "the other login's");
        assert!(!COOKIES.is_from(&sent(&[&second]), &one, &SecretHash::of("v1")));
        assert_eq!(COOKIES.others(&both), [one, two]);
        assert!(COOKIES.remove(&one).starts_with(&first[..first.find('=').unwrap()]));
    }
}
