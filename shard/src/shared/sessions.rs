//! The sessions that are open now, for those who list and revoke them. A shard enters one where it
//! authenticates and takes it out where it ends; only lists read it.
//!
//! Invariants: each shard writes its own map, whose lock nobody else holds but a list, and that only
//! while it copies pointers; nothing here is touched per request. Bounded by the connections of a
//! shard. Whether a session may go on is never decided from this: that is the policy's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::words::{Principal, SessionId, Timestamp};

/// What lists show of an open session.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// Its id.
    pub id: SessionId,
    /// Who.
    pub principal: Arc<Principal>,
    /// The client's address, `ip:port`.
    pub client_address: Arc<str>,
    /// The client's `client.id` when it authenticated last.
    pub client_id: Arc<str>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The broker that the connection is for; -1 for any.
    pub broker: i32,
    /// When it authenticated last.
    pub since: Timestamp,
    /// When what it authenticated with ends, where it does.
    pub expires: Option<Timestamp>,
    /// The id of the token (`jti`) that it authenticated with.
    pub token_id: Option<Arc<str>>,
    /// The login session (`sid`) that the token is part of.
    pub login: Option<Arc<str>>,
    /// The rule by which it was recorded when it authenticated last.
    pub recorded: Option<Arc<str>>,
}

type Open = HashMap<SessionId, Arc<LiveSession>>;

/// The open sessions, by shard.
#[derive(Debug)]
pub struct Sessions {
    shards: Vec<Mutex<Open>>,
}

impl Sessions {
    /// None yet.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::default()).collect() }
    }

    fn of(&self, shard: u16) -> Option<MutexGuard<'_, Open>> {
        Some(self.shards.get(usize::from(shard))?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session of `shard` authenticated, for the first time or anew.
    pub fn enter(&self, shard: u16, session: LiveSession) {
        if let Some(mut open) = self.of(shard) {
            open.insert(session.id, Arc::new(session));
        }
    }

    /// A session of `shard` ended.
    pub fn leave(&self, shard: u16, id: SessionId) {
        if let Some(mut open) = self.of(shard) {
            open.remove(&id);
        }
    }

    /// All that are open now, in the order of their ids, which is that of their beginning.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<LiveSession>> {
        let mut all: Vec<Arc<LiveSession>> = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned());
        }
        all.sort_unstable_by_key(|session| session.id);
        all
    }

    /// The open session of this id.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<Arc<LiveSession>> {
        self.shards.iter().find_map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_listed_from_its_login_to_its_end() {
        let sessions = Sessions::new(2);
        let session = |number: u128| LiveSession {
            recorded: None,
            id: SessionId(uuid::Uuid::from_u128(number)),
            principal: Arc::new(Principal::anonymous()),
            client_address: Arc::from("127.0.0.1:1"),
            client_id: Arc::from(""),
            listener: Arc::from("clients"),
            broker: -1,
            since: Timestamp(1),
            expires: None,
            token_id: None,
            login: None,
        };
        sessions.enter(1, session(2));
        sessions.enter(0, session(3));
        sessions.enter(0, session(1));
        sessions.enter(0, LiveSession { since: Timestamp(9), ..session(1) });
        let ids = |sessions: &Sessions| sessions.list().iter().map(|open| open.id.0.as_u128()).collect::<Vec<_>>();
        assert_eq!(ids(&sessions), [1, 2, 3]);
        assert_eq!(sessions.get(session(1).id).unwrap().since, Timestamp(9), "a new login replaces the old one");
        sessions.leave(0, session(2).id);
        assert_eq!(ids(&sessions), [1, 2, 3], "a shard takes out only its own");
        sessions.leave(1, session(2).id);
        assert_eq!(ids(&sessions), [1, 3]);
        assert!(sessions.get(session(2).id).is_none());
    }
}
