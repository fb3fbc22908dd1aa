//! People in browsers: `/authorize` sends them to their identity provider, `/callback` has them back, and a code goes
//! to the program that asked (RFC 6749 §4.1 with PKCE, RFC 7636; native programs, RFC 8252).
//!
//! A login is bound to the browser that began it by a cookie, to the provider by state, nonce and a verifier of the
//! gateway's own, and to the program by its challenge. A program on somebody's machine is reached by a redirect to the
//! loopback and nowhere else, so that a code can't be sent to strangers. A code is good for a minute and one use.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use tidegate_core::words::{Principal, Timestamp};
use url::Url;
use zeroize::Zeroizing;

use super::cookie::Cookies;
use super::oauth::{Form, OAuthError};
use super::pages::{Provider, choices, page, redirect};
use super::refresh::Source;
use super::saml::SamlLogin;
use super::shelf::Shelf;
use super::token::{Asked, Granted, known_client, new_session};
use super::{Issuer, lock};
use crate::config::tokens::CLI_CLIENT;
use crate::control::listen::Peer;
use crate::control::now;
use crate::tokens::secret::{SecretHash, draw, s256};

/// Where a provider sends a browser back to.
pub(super) const CALLBACK: &str = "/callback";
/// How long somebody may take at his provider, in milliseconds.
pub(super) const LOGIN_MILLIS: i64 = 10 * 60_000;
/// How long a code is good, in milliseconds.
const CODE_MILLIS: i64 = 60_000;
/// Logins under way, and codes, that are kept.
const KEPT_MAX: usize = 4096;
/// The cookies that bind logins to their browsers. They come with every request, so that the next login of the same
/// browser can be told how many there are.
pub(super) const COOKIES: Cookies = Cookies { prefix: "tidegate_login", path: "/" };

/// A login under way at a provider.
struct Login {
    idp: usize,
    browser: SecretHash,
    nonce: Zeroizing<String>,
    verifier: Zeroizing<String>,
    purpose: Purpose,
}

/// What somebody logs in for.
pub(super) enum Purpose {
    /// A program on his machine, which gets a code.
    Program(Request),
    /// A device elsewhere, about which he is asked.
    Device(SecretHash),
}

/// What a program asked for.
pub(super) struct Request {
    client_id: String,
    redirect_uri: Url,
    challenge: String,
    state: Option<String>,
}

/// A code that was given out.
enum Code {
    Good {
        client_id: String,
        redirect_uri: String,
        challenge: String,
        principal: Principal,
        source: Source,
    },
    /// It was used, and this login came of it.
    Used {
        sid: Arc<str>,
    },
}

/// Logins under way and codes given out.
pub(super) struct Logins {
    logins: Shelf<SecretHash, Login>,
    pub(super) saml: Shelf<SecretHash, SamlLogin>,
    codes: Shelf<SecretHash, Code>,
}

impl Default for Logins {
    fn default() -> Self {
        Self { logins: Shelf::new(KEPT_MAX), saml: Shelf::new(KEPT_MAX), codes: Shelf::new(KEPT_MAX) }
    }
}

impl Logins {
    /// When a login under way is over.
    pub(super) fn end_of(&self, of: &SecretHash, now: Timestamp) -> Option<Timestamp> {
        self.logins.end_of(of, now).or_else(|| self.saml.end_of(of, now))
    }

    /// Ends a login under way.
    pub(super) fn end(&mut self, of: &SecretHash, now: Timestamp) {
        let _ = self.logins.take(of, now);
        let _ = self.saml.take(of, now);
    }
}

/// `GET /authorize`.
pub(super) async fn authorize(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    match issuer.begin_login(peer, &headers, query.as_deref().unwrap_or_default()).await {
        Ok(response) => response,
        Err(error) => {
            issuer.refused(peer.ip(), CLI_CLIENT, "authorize", &error, None);
            page(error.status, "This login cannot begin", &error.description)
        }
    }
}

/// `GET /callback`.
pub(super) async fn callback(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    match issuer.end_login(peer.ip(), &headers, query.as_deref().unwrap_or_default()).await {
        Ok(response) => response,
        Err(error) => {
            issuer.refused(peer.ip(), CLI_CLIENT, "callback", &error, None);
            page(error.status, "You are not logged in", &error.description)
        }
    }
}

impl Issuer {
    async fn begin_login(&self, peer: SocketAddr, headers: &HeaderMap, query: &str) -> Result<Response, OAuthError> {
        self.admit(peer.ip(), CLI_CLIENT, "authorize")?;
        let form = Form::parse(query.as_bytes())?;
        let request = check_request(&form)?;
        let providers = self.providers();
        let wanted = match (form.get("idp"), &providers[..]) {
            (Some(wanted), _) => wanted,
            (None, [only]) => only.name,
            (None, []) => "",
            (None, _) => return Ok(choices(query, &providers)),
        };
        self.send_to_provider(wanted, Purpose::Program(request), headers).await
    }

    /// Sends a browser to an identity provider: an issuer's URL or an entity id.
    pub(super) async fn send_to_provider(
        &self,
        wanted: &str,
        purpose: Purpose,
        headers: &HeaderMap,
    ) -> Result<Response, OAuthError> {
        let unknown = || OAuthError::invalid_request("no such identity provider is configured to log in at");
        let Some((index, idp)) = self.idps.iter().enumerate().find(|(_, idp)| idp.issuer().issuer == wanted) else {
            let saml = self.saml.as_ref().filter(|saml| saml.labels().any(|(known, _)| known == wanted));
            return self.begin_saml(saml.ok_or_else(unknown)?, wanted, purpose, headers);
        };
        let random = || draw("").map_err(|_| OAuthError::server_error("the system has no randomness"));
        let (state, nonce, verifier, browser) = (random()?, random()?, random()?, random()?);
        let url = idp.authorization_url(&state, &nonce, &s256(&verifier)).await?;
        let login = Login { idp: index, browser: SecretHash::of(&browser), nonce, verifier, purpose };
        let (now, of) = (now(), SecretHash::of(&state));
        let gone = {
            let mut logins = lock(&self.logins);
            let gone = logins.make_room(COOKIES.others(headers), now);
            logins
                .logins
                .put(of, login, now.plus_millis(LOGIN_MILLIS), now)
                .map_err(|_| OAuthError::unavailable("too many people are logging in"))?;
            gone
        };
        let secure = if self.config.issuer.starts_with("https:") { "Lax; Secure" } else { "Lax" };
        let cookie = COOKIES.make(&of, &browser, secure);
        redirect(&url, std::iter::once(cookie).chain(gone.iter().map(|of| COOKIES.remove(of))))
    }

    async fn end_login(&self, peer: IpAddr, headers: &HeaderMap, query: &str) -> Result<Response, OAuthError> {
        self.admit(peer, CLI_CLIENT, "callback")?;
        let form = Form::parse(query.as_bytes())?;
        let state = SecretHash::of(form.need("state")?);
        let login = lock(&self.logins).logins.take(&state, now());
        let login = login.ok_or_else(|| OAuthError::invalid_grant("the login is not known, over, or took too long"))?;
        if !COOKIES.is_from(headers, &state, &login.browser) {
            return Err(OAuthError::invalid_grant("the login was begun in another browser"));
        }
        let Some(idp) = self.idps.get(login.idp) else { return Err(OAuthError::server_error("no such provider")) };
        if form.get("iss").is_some_and(|iss| iss != idp.issuer().issuer) {
            return Err(OAuthError::invalid_grant("another provider answers than was asked"));
        }
        if form.get("error").is_some() {
            let error = OAuthError::new(StatusCode::FORBIDDEN, "access_denied", "the identity provider refused");
            return Err(error);
        }
        let said = idp.redeem(form.need("code")?, &login.verifier).await?;
        let verified = self.verify_said(idp, &said, Some(&login.nonce)).await?;
        self.check_standing(&verified.principal, None)?;
        let ends = self.end_of(&verified);
        let source = Source { idp: said.refresh_token.map(|token| (login.idp, token)), ends };
        self.end_at_purpose(login.purpose, verified.principal, source, &state)
    }

    /// Somebody has logged in: the code for his program, or the question about his device.
    pub(super) fn end_at_purpose(
        &self,
        purpose: Purpose,
        principal: Principal,
        source: Source,
        login: &SecretHash,
    ) -> Result<Response, OAuthError> {
        match purpose {
            Purpose::Program(request) => self.give_code(request, principal, source, login, now()),
            Purpose::Device(code) => self.ask_about_device(code, principal, source, login, now()),
        }
    }

    /// Sends the browser back to the program with a code.
    fn give_code(
        &self,
        request: Request,
        principal: Principal,
        source: Source,
        login: &SecretHash,
        now: Timestamp,
    ) -> Result<Response, OAuthError> {
        let Request { client_id, redirect_uri, challenge, state } = request;
        let code = draw("").map_err(|_| OAuthError::server_error("the system has no randomness"))?;
        let mut url = redirect_uri.clone();
        url.query_pairs_mut().append_pair("code", &code).append_pair("iss", &self.config.issuer);
        if let Some(state) = &state {
            url.query_pairs_mut().append_pair("state", state);
        }
        let good = Code::Good { client_id, redirect_uri: redirect_uri.into(), challenge, principal, source };
        lock(&self.logins)
            .codes
            .put(SecretHash::of(&code), good, now.plus_millis(CODE_MILLIS), now)
            .map_err(|_| OAuthError::unavailable("too many people are logging in"))?;
        redirect(&url, [COOKIES.remove(login)])
    }

    /// RFC 6749 §4.1.3 and RFC 7636 §4.6. A code that comes twice ends what came of it.
    pub(super) async fn redeem_code(&self, asked: Asked<'_>) -> Result<Granted, OAuthError> {
        let Asked { form, client, now } = asked;
        let client = known_client(&client)?;
        let hash = SecretHash::of(form.need("code")?);
        let (verifier, uri) = (form.need("code_verifier")?, form.need("redirect_uri")?);
        let unknown = || OAuthError::invalid_grant("the code is not known, was used, or is too old");
        let sid = new_session();
        let code = {
            let mut logins = lock(&self.logins);
            let kept = logins.codes.get_mut(&hash, now).ok_or_else(unknown)?;
            // Whatever comes of it, it is used.
            std::mem::replace(kept, Code::Used { sid: sid.clone() })
        };
        let (client_id, redirect_uri, challenge, principal, source) = match code {
            Code::Good { client_id, redirect_uri, challenge, principal, source } => {
                (client_id, redirect_uri, challenge, principal, source)
            }
            Code::Used { sid } => {
                let family = lock(&self.families).remove(&sid);
                if let Some(family) = family {
                    self.end_family(&family, "its code came a second time").await;
                }
                return Err(unknown());
            }
        };
        let is_verifier = (43..=128).contains(&verifier.len());
        if client_id != client || redirect_uri != uri || !is_verifier || s256(verifier) != challenge {
            return Err(OAuthError::invalid_grant("the code is another program's, or the verifier is wrong"));
        }
        self.begin(principal, source, &client, sid, now)
    }

    /// Where people can log in.
    pub(super) fn providers(&self) -> Vec<Provider<'_>> {
        let oidc = self.idps.iter().map(|idp| Provider { name: &idp.issuer().issuer, label: idp.label() });
        let saml = self.saml.iter().flat_map(|saml| saml.labels()).map(|(name, label)| Provider { name, label });
        oidc.chain(saml).collect()
    }
}

fn check_request(form: &Form) -> Result<Request, OAuthError> {
    let client_id = form.need("client_id")?;
    if client_id != CLI_CLIENT {
        return Err(OAuthError::invalid_request("the program is not known"));
    }
    let redirect_uri = form.need("redirect_uri")?;
    let redirect_uri = Url::parse(redirect_uri)
        .ok()
        .filter(|url| is_loopback(url) && url.as_str() == redirect_uri)
        .ok_or_else(|| {
            OAuthError::invalid_request("`redirect_uri` must be http://127.0.0.1:PORT/PATH or http://[::1]:PORT/PATH")
        })?;
    if form.need("response_type")? != "code" {
        return Err(OAuthError::invalid_request("`response_type` must be `code`"));
    }
    let challenge = form.need("code_challenge")?;
    if form.need("code_challenge_method")? != "S256" || challenge.len() != 43 {
        return Err(OAuthError::invalid_request("PKCE is needed, by S256"));
    }
    let state = form.get("state").map(str::to_owned);
    if state.as_ref().is_some_and(|state| state.len() > 1024) {
        return Err(OAuthError::invalid_request("`state` is too long"));
    }
    Ok(Request { client_id: client_id.to_owned(), redirect_uri, challenge: challenge.to_owned(), state })
}

/// RFC 8252 §7.3: an address of the loopback, at any port. Names are not enough (§8.3).
fn is_loopback(url: &Url) -> bool {
    let local = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        _ => false,
    };
    local
        && url.scheme() == "http"
        && url.port().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_goes_to_programs_on_the_same_machine_and_nowhere_else() {
        let challenge = s256("x");
        let check = |change: &[(&str, &str)]| {
            let mut fields = std::collections::BTreeMap::from([
                ("client_id", CLI_CLIENT),
                ("redirect_uri", "http://127.0.0.1:4711/callback"),
                ("response_type", "code"),
                ("code_challenge", challenge.as_str()),
                ("code_challenge_method", "S256"),
            ]);
            fields.extend(change.iter().copied());
            let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            check_request(&Form::parse(text.as_bytes()).ok().unwrap()).is_ok()
        };
        assert!(check(&[]));
        assert!(
            check(&[("redirect_uri", "http://[::1]:80/x")]) == is_loopback(&Url::parse("http://[::1]:80/x").unwrap())
        );
        for (field, bad) in [
            ("redirect_uri", "https://evil.example/callback"),
            ("redirect_uri", "http://localhost:4711/callback"),
            ("redirect_uri", "http://127.0.0.1.evil.example:1/"),
            ("redirect_uri", "http://127.0.0.1:1@evil.example:1/"),
            ("redirect_uri", "http://user@127.0.0.1:1/"),
            ("redirect_uri", "http://127.0.0.1:1/?x=1"),
            ("redirect_uri", "http://127.0.0.1:1/#x"),
            ("redirect_uri", "javascript:alert(1)"),
            ("redirect_uri", ""),
            ("client_id", "evil"),
            ("response_type", "token"),
            ("code_challenge", ""),
            ("code_challenge", "short"),
            ("code_challenge_method", "plain"),
            ("code_challenge_method", ""),
        ] {
            assert!(!check(&[(field, bad)]), "{field}={bad}");
        }
    }
}
