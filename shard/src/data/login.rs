//! Login at the upstream: at first, and anew before that login ends (KIP-368).
//!
//! The conversation itself is `crate::upstream`'s; here its frames take their place among the
//! client's. While a new login is under way no request is taken, since a broker expects nothing
//! else between its steps, and it begins only once every earlier request was answered.

use bytes::Bytes;
use tidegate_core::words::{Principal, Timestamp};

use super::session::{HeldFor, Phase, Session};
use super::shard::Shard;
use crate::shared::{Ask, Refusal};
use crate::upstream::{Action, LoggedIn, LoginError, UpstreamCredentials, UpstreamLogin};

/// The `client.id` of the gateway's own requests.
pub const CLIENT_ID: &str = "tidegate";

/// The share of an upstream login's lifetime after which the gateway logs in anew, in percent.
const RENEW_PERCENT: i64 = 80;

impl Session {
    /// Begins the login on a connection just made.
    pub fn begin_login(&mut self, shard: &Shard, now: Timestamp) {
        let Some(credentials) = self.upstream_credentials(shard, now) else { return };
        self.login = Some(UpstreamLogin::new(&credentials, CLIENT_ID));
        self.drive_login(shard, now);
    }

    /// Takes a frame of the login's conversation.
    pub(super) fn login_frame(&mut self, shard: &Shard, frame: Bytes, now: Timestamp) {
        if let Some(login) = &mut self.login {
            login.on_frame(frame);
        }
        self.drive_login(shard, now);
    }

    /// Logs in anew where it is time and nothing is under way.
    pub(super) fn log_in_anew_where_due(&mut self, shard: &Shard, now: Timestamp) {
        let due = self.upstream_login_due.is_some_and(|due| due <= now);
        let (true, Some(versions)) = (due && self.login.is_none(), self.versions.clone()) else { return };
        self.login_is_wanted = true;
        // One that waits for an approver waits outside of the upstream's sight.
        let is_between = self.held.as_ref().is_some_and(|held| held.reason != HeldFor::Approval);
        if self.phase != Phase::Open || !self.pending.is_empty() || is_between {
            return;
        }
        let Some(credentials) = self.upstream_credentials(shard, now) else { return };
        let login = UpstreamLogin::reauthenticate(&credentials, CLIENT_ID, &versions, self.next_own_id);
        self.login = Some(login);
        self.login_is_wanted = false;
        self.drive_login(shard, now);
    }

    /// What this session logs in with. `None` where there is nothing: then the connection is on its way out.
    fn upstream_credentials(&mut self, shard: &Shard, now: Timestamp) -> Option<UpstreamCredentials> {
        let credentials = shard.shared.upstream_login.load();
        let anonymous = Principal::anonymous();
        let principal = self.principal.as_deref().unwrap_or(&anonymous);
        match credentials.for_session(principal, &self.id.to_string(), now) {
            Ok(credentials) => Some(credentials),
            Err(error) => {
                self.login_is_wanted = false;
                self.refuse(shard, Refusal::Authentication, LoginError::from(error).to_string(), now);
                None
            }
        }
    }

    fn drive_login(&mut self, shard: &Shard, now: Timestamp) {
        while let Some(login) = &mut self.login {
            match login.next() {
                Action::Send(frame) => self.to_upstream.push(frame, 0),
                Action::Receive => return,
                Action::Done(done) => self.logged_in(shard, done, now),
                Action::Failed(error) => {
                    self.login = None;
                    shard.shared.ask(Ask::RefreshCluster);
                    tracing::error!(broker = self.broker(), %error, "the gateway cannot log in to the upstream");
                    self.upstream_gone(shard, &error.to_string(), now);
                }
            }
        }
    }

    fn logged_in(&mut self, shard: &Shard, done: LoggedIn, now: Timestamp) {
        self.login = None;
        self.versions = Some(done.versions);
        self.next_own_id = done.next_correlation_id;
        // The earlier of the two: a broker may say nothing, and a token ends all the same.
        let token_millis = shard.shared.upstream_login.load().lifetime_millis();
        let millis = [done.session_lifetime_millis, token_millis].into_iter().flatten().min();
        self.upstream_login_due = millis.map(|millis| now.plus_millis(millis / 100 * RENEW_PERCENT));
        if self.phase == Phase::Connecting {
            self.phase = Phase::Open;
        }
    }
}
