//! Logins that go on: refresh tokens that are good for one use each (RFC 9700 §4.14.2).
//!
//! All that is refreshed from one login is a family, with one session id. A refresh token that comes twice means that
//! somebody else has it too: the family ends, whoever of them is the right one. A refresh asks the identity provider
//! anew where it gave the gateway a refresh token of its own, so that who lost a group there has lost it here: the
//! tokens that still name it are revoked before the new one is given, and with them every connection that rests on
//! one. Where the provider gave none, the login goes on only until the provider's own word ends. A login also ends
//! with the principal's last grant, and after `tokens.refresh_max` in any case. [`super::families`] keeps them.

use std::sync::Arc;

use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::authority::Actor;

use super::families::{Good, NotKept, Presented, Step, Word};
use super::oauth::OAuthError;
use super::token::{Asked, Granted, known_client};
use super::{Issuer, lock};
use crate::upstream::Secret;

/// Whose word a login rests on, and how it is asked for anew.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The identity provider, where it can be asked anew: its index, and the refresh token that it gave.
    pub idp: Option<(usize, Secret)>,
    /// When its word ends; matters only where it cannot be asked anew.
    pub ends: Timestamp,
}

impl From<NotKept> for OAuthError {
    fn from(why: NotKept) -> Self {
        match why {
            NotKept::Full => Self::unavailable("too many people are logged in"),
            NotKept::Ended => Self::invalid_grant("the login has ended"),
            NotKept::Failed => Self::unavailable("the gateway cannot keep the login; its log says why"),
        }
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
        let issuer_of = |index: usize| self.idps.get(index).map(|idp| Arc::from(idp.issuer().issuer.as_str()));
        let idp = source.idp.and_then(|(index, secret)| Some((issuer_of(index)?, secret)));
        let word = Word { idp, ends: source.ends };
        let step = Step {
            sid: &sid,
            principal: &principal,
            word: &word,
            had_grant: self.has_grant(&principal, now),
            token: (minted.jti.clone(), minted.expires),
        };
        let refresh_token = Some(lock(&self.families).begin(&step, client_id, until, now)?.into_text());
        let client_id = client_id.to_owned();
        Ok(Granted { principal, client_id, sid, minted, refresh_token, issued_token_type: None })
    }

    /// RFC 6749 §6.
    pub(super) async fn refresh(&self, asked: Asked<'_>) -> Result<Granted, OAuthError> {
        let Asked { form, client, now } = asked;
        let client_id = known_client(&client)?;
        let presented = lock(&self.families).present(form.need("refresh_token")?, &client_id, now);
        let good = match presented {
            Presented::Good(good) => good,
            Presented::Unknown => {
                return Err(OAuthError::invalid_grant("the refresh token is not known or its login is over"));
            }
            Presented::Crowded => return Err(OAuthError::too_many(60)),
            Presented::Reused(family) => {
                self.end_family(&family, "a refresh token came a second time: somebody else has it").await;
                return Err(OAuthError::invalid_grant("the refresh token was used before; its login has ended"));
            }
        };
        let granted = match self.renew(&good, now).await {
            Ok((principal, word)) => self.go_on(&good, principal, &word, client_id, now).await,
            Err(error) => Err(error),
        };
        match granted {
            Err(error) if error.code == "temporarily_unavailable" => {
                lock(&self.families).put_back(&good.sid, &good.token);
                Err(error)
            }
            Err(error) => {
                let family = lock(&self.families).remove(&good.sid);
                if let Some(family) = family {
                    self.end_family(&family, &error.description).await;
                }
                Err(error)
            }
            granted => granted,
        }
    }

    /// Asks whose word it is anew.
    async fn renew(&self, good: &Good, now: Timestamp) -> Result<(Principal, Word), OAuthError> {
        let (mut renewed, mut word) = (good.principal.clone(), good.word.clone());
        if let Some((issuer, refresh)) = good.word.idp.clone() {
            let idp = self.idps.iter().find(|idp| idp.issuer().issuer == *issuer);
            let idp = idp.ok_or_else(|| OAuthError::invalid_grant("the provider is gone"))?;
            let said = idp.refresh(&refresh).await?;
            let verified = self.verify_said(idp, &said, None).await?;
            if verified.principal.subject != renewed.subject {
                return Err(OAuthError::invalid_grant("the provider answers with somebody else"));
            }
            word.ends = self.end_of(&verified);
            word.idp = Some((issuer, said.refresh_token.unwrap_or(refresh)));
            renewed = verified.principal;
        }
        self.check_standing(&renewed, Some(&good.sid))?;
        if good.had_grant && !self.has_grant(&renewed, now) {
            return Err(OAuthError::invalid_grant("the last grant of the principal has ended"));
        }
        Ok((renewed, word))
    }

    async fn go_on(
        &self,
        good: &Good,
        principal: Principal,
        word: &Word,
        client_id: String,
        now: Timestamp,
    ) -> Result<Granted, OAuthError> {
        self.end_what_was_lost(good, &principal).await;
        let minted = self.mint(&principal, &client_id, &good.sid, good.until, now)?;
        let step = Step {
            sid: &good.sid,
            principal: &principal,
            word,
            had_grant: self.has_grant(&principal, now),
            token: (minted.jti.clone(), minted.expires),
        };
        let refresh_token = Some(lock(&self.families).go_on(&good.token, &step, now)?.into_text());
        let sid = good.sid.clone();
        Ok(Granted { principal, client_id, sid, minted, refresh_token, issued_token_type: None })
    }

    /// Revokes the login's tokens where they say more than its provider says by now: a group, or another name.
    async fn end_what_was_lost(&self, good: &Good, renewed: &Principal) {
        let before = &good.principal;
        let lost = before.groups.iter().filter(|group| !renewed.groups.contains(group));
        let mut lost: Vec<String> = lost.map(|group| format!("the group {group}")).collect();
        if before.name != renewed.name {
            lost.push(format!("the name {}", before.name));
        }
        if lost.is_empty() {
            return;
        }
        let mut reason = format!("lost at the identity provider: {}", lost.join(", "));
        if let Some((end, _)) = reason.char_indices().nth(1000) {
            reason.truncate(end);
        }
        let tokens = lock(&self.families).take_tokens(&good.sid);
        for (jti, expires) in tokens {
            self.revoke_token(&Actor::gateway(), before, &good.sid, &jti, expires, &reason).await;
        }
    }

    /// Whether the principal has a grant now.
    fn has_grant(&self, principal: &Principal, now: Timestamp) -> bool {
        self.shared.policy.load().view(principal).has_any_grant(now)
    }
}
