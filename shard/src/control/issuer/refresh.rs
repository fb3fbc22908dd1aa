//! Logins that go on: refresh tokens that are good for one use each (RFC 9700 §4.14.2).
//!
//! All that is refreshed from one login is a family, with one session id. A refresh token that comes twice means that
//! somebody else has it too: the family ends, whoever of them is the right one. A refresh asks the identity provider
//! anew where it gave the gateway a refresh token of its own, so that who lost a group there has lost it here; where it
//! did not, the login goes on only until the provider's own word ends. A login also ends with the principal's last
//! grant, and after `tokens.refresh_max` in any case. Families live in memory: after a restart people log in anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_core::words::{Principal, Timestamp};
use zeroize::Zeroizing;

use super::oauth::OAuthError;
use super::token::{Asked, Granted, Minted, known_client};
use super::{Issuer, lock};
use crate::tokens::secret::{SecretHash, draw};
use crate::upstream::Secret;

/// Logins that go on at the same time.
const FAMILIES_MAX: usize = 20_000;
/// Refreshes of one login: a month of them at five minutes each.
const USES_MAX: usize = 10_000;
/// What a refresh token begins with.
const PREFIX: &str = "tgr_";

/// Whose word a login rests on, and how it is asked for anew.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The identity provider, where it can be asked anew: its index, and the refresh token that it gave.
    pub idp: Option<(usize, Secret)>,
    /// When its word ends; matters only where it cannot be asked anew.
    pub ends: Timestamp,
}

/// A login and what is refreshed from it.
#[derive(Debug)]
pub(super) struct Family {
    sid: Arc<str>,
    client_id: String,
    principal: Principal,
    source: Source,
    until: Timestamp,
    /// Some grant held when last looked at.
    had_grant: bool,
    /// The refresh token that is good; `None` while it is being used.
    current: Option<SecretHash>,
    used: HashSet<SecretHash>,
    /// The last access token's id and end.
    last: (Arc<str>, Timestamp),
}

/// All families, found by any refresh token that they ever had.
#[derive(Debug, Default)]
pub(super) struct Families {
    by_sid: HashMap<Arc<str>, Family>,
    by_token: HashMap<SecretHash, Arc<str>>,
}

/// What presenting a refresh token comes to.
#[derive(Debug)]
enum Presented {
    /// It is good, and used from now on.
    Good { sid: Arc<str>, principal: Principal, source: Source, had_grant: bool, until: Timestamp },
    /// It was used before: the family has ended.
    Reused(Family),
    /// Nobody knows it, or its login is over.
    Unknown,
}

impl Families {
    fn insert(&mut self, family: Family, now: Timestamp) -> Result<(), OAuthError> {
        if self.by_sid.len() >= FAMILIES_MAX {
            let over: Vec<Arc<str>> =
                self.by_sid.values().filter(|family| family.until <= now).map(|family| family.sid.clone()).collect();
            for sid in over {
                self.remove(&sid);
            }
            if self.by_sid.len() >= FAMILIES_MAX {
                return Err(OAuthError::unavailable("too many people are logged in"));
            }
        }
        if let Some(current) = family.current {
            self.by_token.insert(current, family.sid.clone());
        }
        self.by_sid.insert(family.sid.clone(), family);
        Ok(())
    }

    pub(super) fn remove(&mut self, sid: &str) -> Option<Family> {
        let family = self.by_sid.remove(sid)?;
        for token in family.used.iter().chain(family.current.as_ref()) {
            self.by_token.remove(token);
        }
        Some(family)
    }

    /// The family of a refresh token, which ends.
    pub(super) fn end_of_token(&mut self, token: &str, client_id: &str) -> Option<Family> {
        let sid = self.by_token.get(&SecretHash::of(token))?.clone();
        self.by_sid.get(&sid).filter(|family| family.client_id == client_id)?;
        self.remove(&sid)
    }

    fn present(&mut self, token: &str, client_id: &str, now: Timestamp) -> Presented {
        let hash = SecretHash::of(token);
        let Some(sid) = self.by_token.get(&hash).cloned() else { return Presented::Unknown };
        let Some(family) = self.by_sid.get_mut(&sid) else { return Presented::Unknown };
        if family.client_id != client_id {
            return Presented::Unknown;
        }
        if family.until <= now || family.used.len() >= USES_MAX {
            self.remove(&sid);
            return Presented::Unknown;
        }
        if family.current != Some(hash) {
            return self.remove(&sid).map_or(Presented::Unknown, Presented::Reused);
        }
        family.current = None;
        family.used.insert(hash);
        Presented::Good {
            sid,
            principal: family.principal.clone(),
            source: family.source.clone(),
            had_grant: family.had_grant,
            until: family.until,
        }
    }

    /// The provider could not be asked: the token is good again.
    fn put_back(&mut self, sid: &str, token: &str) {
        if let Some(family) = self.by_sid.get_mut(sid)
            && family.current.is_none()
        {
            let hash = SecretHash::of(token);
            family.used.remove(&hash);
            family.current = Some(hash);
        }
    }
}

impl Family {
    /// Its session's id.
    pub(super) fn sid(&self) -> &Arc<str> {
        &self.sid
    }

    /// Who logged in.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The last access token's id, and when that ends.
    pub(super) fn last_token(&self) -> (&Arc<str>, Timestamp) {
        (&self.last.0, self.last.1)
    }
}

impl Issuer {
    /// A login begins: the first token and the first refresh token.
    pub(super) fn begin(
        &self,
        principal: Principal,
        source: Source,
        client_id: &str,
        sid: Arc<str>,
        now: Timestamp,
    ) -> Result<Granted, OAuthError> {
        self.check_standing(&principal, Some(&sid))?;
        let refresh_max = i64::try_from(self.config.refresh_max.as_millis()).unwrap_or(i64::MAX);
        let until = now.plus_millis(refresh_max).min(if source.idp.is_some() { Timestamp::MAX } else { source.ends });
        let minted = self.mint(&principal, client_id, &sid, until, now)?;
        let (token, hash) = new_token()?;
        let family = Family {
            sid: sid.clone(),
            client_id: client_id.to_owned(),
            had_grant: self.has_grant(&principal, now),
            principal: principal.clone(),
            source,
            until,
            current: Some(hash),
            used: HashSet::new(),
            last: (minted.jti.clone(), minted.expires),
        };
        lock(&self.families).insert(family, now)?;
        let client_id = client_id.to_owned();
        Ok(Granted { principal, client_id, sid, minted, refresh_token: Some(token), issued_token_type: None })
    }

    /// RFC 6749 §6.
    pub(super) async fn refresh(&self, asked: Asked<'_>) -> Result<Granted, OAuthError> {
        let Asked { form, client, now } = asked;
        let client_id = known_client(&client)?;
        let token = form.need("refresh_token")?;
        let presented = lock(&self.families).present(token, &client_id, now);
        let (sid, principal, source, had_grant, until) = match presented {
            Presented::Good { sid, principal, source, had_grant, until } => (sid, principal, source, had_grant, until),
            Presented::Unknown => {
                return Err(OAuthError::invalid_grant("the refresh token is not known or its login is over"));
            }
            Presented::Reused(family) => {
                self.end_family(&family, "a refresh token came a second time: somebody else has it").await;
                return Err(OAuthError::invalid_grant("the refresh token was used before; its login has ended"));
            }
        };
        let renewed = self.renew(principal, source, had_grant, &sid, now).await;
        match renewed {
            Ok((principal, source)) => self.go_on(&sid, principal, source, until, client_id, now),
            Err(error) if error.code == "temporarily_unavailable" => {
                lock(&self.families).put_back(&sid, token);
                Err(error)
            }
            Err(error) => {
                let family = lock(&self.families).remove(&sid);
                if let Some(family) = family {
                    self.end_family(&family, &error.description).await;
                }
                Err(error)
            }
        }
    }

    /// Asks whose word it is anew.
    async fn renew(
        &self,
        principal: Principal,
        mut source: Source,
        had_grant: bool,
        sid: &str,
        now: Timestamp,
    ) -> Result<(Principal, Source), OAuthError> {
        let mut renewed = principal;
        if let Some((index, refresh)) = source.idp.clone() {
            let idp = self.idps.get(index).ok_or_else(|| OAuthError::invalid_grant("the provider is gone"))?;
            let said = idp.refresh(&refresh).await?;
            let verified = self.verify_said(idp, &said, None).await?;
            if verified.principal.subject != renewed.subject {
                return Err(OAuthError::invalid_grant("the provider answers with somebody else"));
            }
            source.ends = self.end_of(&verified);
            source.idp = Some((index, said.refresh_token.unwrap_or(refresh)));
            renewed = verified.principal;
        }
        self.check_standing(&renewed, Some(sid))?;
        if had_grant && !self.has_grant(&renewed, now) {
            return Err(OAuthError::invalid_grant("the last grant of the principal has ended"));
        }
        Ok((renewed, source))
    }

    fn go_on(
        &self,
        sid: &Arc<str>,
        principal: Principal,
        source: Source,
        until: Timestamp,
        client_id: String,
        now: Timestamp,
    ) -> Result<Granted, OAuthError> {
        let minted: Minted = self.mint(&principal, &client_id, sid, until, now)?;
        let (token, hash) = new_token()?;
        let mut families = lock(&self.families);
        let Families { by_sid, by_token } = &mut *families;
        // It may have been revoked while the provider was asked.
        let ended = || OAuthError::invalid_grant("the login has ended");
        let family = by_sid.get_mut(sid).filter(|family| family.current.is_none()).ok_or_else(ended)?;
        family.had_grant = self.has_grant(&principal, now);
        family.principal = principal.clone();
        family.source = source;
        family.current = Some(hash);
        family.last = (minted.jti.clone(), minted.expires);
        by_token.insert(hash, sid.clone());
        drop(families);
        let sid = sid.clone();
        Ok(Granted { principal, client_id, sid, minted, refresh_token: Some(token), issued_token_type: None })
    }

    /// Whether the principal has a grant now.
    fn has_grant(&self, principal: &Principal, now: Timestamp) -> bool {
        self.shared.policy.load().view(principal).has_any_grant(now)
    }
}

fn new_token() -> Result<(Zeroizing<String>, SecretHash), OAuthError> {
    let token = draw(PREFIX).map_err(|_| OAuthError::server_error("the system has no randomness"))?;
    let hash = SecretHash::of(&token);
    Ok((token, hash))
}
