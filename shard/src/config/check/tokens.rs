//! Checks `tokens` and `upstream.sasl.mint`.

use std::collections::HashSet;
use std::time::Duration;

use super::Checker;
use crate::config::file;
use crate::config::tokens::{LIFETIME_MAX, Login, Mint, ROTATION_MIN, Tokens};
use crate::config::{ClientAuth, IssuerConfig, UpstreamSasl};

/// The longest that a token for the upstream may live, in seconds.
const MINT_SECONDS_MAX: u32 = 300;
/// The least: login and what is under way must fit into it.
const MINT_SECONDS_MIN: u32 = 10;
/// A login can be refreshed for a month at most.
const REFRESH_MAX: Duration = Duration::from_secs(30 * 86_400);
const ROTATION_MAX: Duration = Duration::from_secs(366 * 86_400);

impl Checker<'_> {
    pub(super) fn tokens(&mut self, tokens: &file::Tokens, issuers: &[IssuerConfig]) -> Option<Tokens> {
        let bind = self.read("tokens.bind", &tokens.bind)?;
        if bind.port() == 0 {
            self.complain("tokens.bind", "must name a port: clients need to know it");
        } else {
            self.take_port("tokens.bind", bind);
        }
        self.own_issuer(tokens, bind.ip().is_loopback(), issuers);
        let tls = tokens.tls.as_ref().map(|tls| self.listener_tls("tokens.tls", tls));
        if tls.as_ref().is_some_and(|tls| tls.client_auth != ClientAuth::None) {
            self.complain("tokens.tls.client_auth", "must be `none`: a browser that logs in has no certificate");
        }
        let lifetime = self.span("tokens.lifetime", &tokens.lifetime, LIFETIME_MAX);
        let rotation = self.span("tokens.key_rotation", &tokens.key_rotation, ROTATION_MAX);
        if rotation < ROTATION_MIN {
            self.complain("tokens.key_rotation", "must be at least 2h: a key is published for an hour before it signs");
        }
        let mut seen = HashSet::new();
        let mut login = Vec::new();
        for (index, written) in tokens.login.iter().enumerate() {
            let path = format!("tokens.login[{index}]");
            if !seen.insert(&written.issuer) {
                self.complain(format!("{path}.issuer"), format!("`{}` stands here twice", written.issuer));
            }
            login.extend(self.login_at(&path, written, issuers));
        }
        if tokens.audience.is_empty() {
            self.complain("tokens.audience", "must not be empty");
        }
        Some(Tokens {
            bind,
            issuer: tokens.issuer.as_str().into(),
            tls,
            audience: tokens.audience.as_str().into(),
            lifetime,
            refresh_max: self.span("tokens.refresh_max", &tokens.refresh_max, REFRESH_MAX),
            algorithm: tokens.algorithm,
            key_rotation: rotation,
            service_accounts_file: tokens
                .service_accounts_file
                .as_ref()
                .map(|file| self.readable("tokens.service_accounts_file", file)),
            login,
        })
    }

    fn own_issuer(&mut self, tokens: &file::Tokens, is_local: bool, issuers: &[IssuerConfig]) {
        let issuer = &tokens.issuer;
        if !IssuerConfig::new(issuer, "x").may_fetch(issuer) || issuer.contains(['?', '#']) || issuer.ends_with('/') {
            self.complain(
                "tokens.issuer",
                format!(
                    "`{issuer}` must be an https:// URL without a slash at the end (http:// only on the loopback): \
                     browsers and brokers reach the gateway under it"
                ),
            );
        }
        if tokens.tls.is_none() && !is_local {
            self.complain(
                "tokens.tls",
                "is needed: tokens and secrets would cross the network in clear. Without TLS, bind to the loopback only",
            );
        }
        if issuers.iter().any(|other| other.issuer == *issuer) {
            self.complain("tokens.issuer", "is one of `identity.issuers` too; the gateway knows its own keys");
        }
    }

    fn login_at(&mut self, path: &str, written: &file::TokensLogin, issuers: &[IssuerConfig]) -> Option<Login> {
        let Some(issuer) = issuers.iter().find(|issuer| issuer.issuer == written.issuer) else {
            self.complain(format!("{path}.issuer"), "must be one of `identity.issuers`, which says how to verify it");
            return None;
        };
        if written.client_id.is_empty() {
            self.complain(format!("{path}.client_id"), "must not be empty");
        }
        let is_scope = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if !written.scopes.iter().any(|scope| scope == "openid") || !written.scopes.iter().all(is_scope) {
            self.complain(format!("{path}.scopes"), "must be words, and `openid` one of them");
        }
        Some(Login {
            issuer: issuer.clone(),
            client_id: written.client_id.clone(),
            client_secret_file: written
                .client_secret_file
                .as_ref()
                .map(|file| self.readable(&format!("{path}.client_secret_file"), file)),
            scope: written.scopes.join(" "),
            label: written.label.clone().unwrap_or_else(|| written.issuer.clone()),
        })
    }

    /// Tokens for the upstream need the issuer whose key set the brokers fetch.
    pub(super) fn mint(&mut self, sasl: &UpstreamSasl, tokens: Option<&file::Tokens>) {
        let UpstreamSasl::OAuthBearer { token_file, mint } = sasl else { return };
        let mint = match (token_file, mint) {
            (Some(_), None) => return,
            (None, Some(mint)) => mint,
            _ => {
                let what = "needs either `token_file` (a token that something else keeps fresh) or `mint` (the gateway \
                            makes one for each session), and not both";
                return self.complain("upstream.sasl", what);
            }
        };
        let Mint { audience, scope, lifetime_seconds, gateway_principal, .. } = mint;
        let Some(tokens) = tokens else {
            return self.complain("upstream.sasl.mint", "needs `tokens`: brokers fetch the gateway's keys from there");
        };
        if audience.is_empty() || *audience == tokens.audience {
            self.complain(
                "upstream.sasl.mint.audience",
                "must not be empty and not be `tokens.audience`, or a token that a broker saw would be good at the gateway",
            );
        }
        if !(MINT_SECONDS_MIN..=MINT_SECONDS_MAX).contains(lifetime_seconds) {
            self.complain(
                "upstream.sasl.mint.lifetime_seconds",
                format!("must be from {MINT_SECONDS_MIN} to {MINT_SECONDS_MAX}"),
            );
        }
        if scope.is_empty() || gateway_principal.is_empty() {
            self.complain("upstream.sasl.mint", "`scope` and `gateway_principal` must not be empty");
        }
    }
}
