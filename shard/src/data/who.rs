//! Who: what every entry of a session says alike, encoded once instead of with every request.
//!
//! Session, principal, groups, address and `client.id` change rarely or never; a change is noticed
//! by comparing what the encoding was made of, so nobody has to remember to tell.

use std::cell::{Ref, RefCell};
use std::sync::Arc;

use prost::Message as _;
use tidegate_core::event::Event;
use tidegate_core::words::Principal;

use super::session::Session;

/// The encoded part, and what it was made of.
#[derive(Debug, Default)]
pub struct Who {
    made: RefCell<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    client_address: String,
    client_id: Arc<str>,
    principal: Option<Arc<Principal>>,
    encoded: Box<[u8]>,
}

impl Who {
    /// What `session`'s entries say of it, as fields of an encoded [`Event`].
    pub fn encoded(&self, session: &Session) -> Ref<'_, [u8]> {
        if !self.made.borrow().as_ref().is_some_and(|made| made.is_of(session)) {
            *self.made.borrow_mut() = Some(Made {
                client_address: session.client_address.clone(),
                client_id: session.client_id.clone(),
                principal: session.principal.clone(),
                encoded: event(session).encode_to_vec().into(),
            });
        }
        Ref::map(self.made.borrow(), |made| made.as_ref().map_or(&[][..], |made| &made.encoded))
    }
}

impl Made {
    fn is_of(&self, session: &Session) -> bool {
        let same_principal = match (&self.principal, &session.principal) {
            (Some(made), Some(now)) => Arc::ptr_eq(made, now),
            (None, None) => true,
            _ => false,
        };
        same_principal
            && Arc::ptr_eq(&self.client_id, &session.client_id)
            && self.client_address == session.client_address
    }
}

/// What `session`'s entries say of it; the rest is not set.
#[must_use]
pub fn event(session: &Session) -> Event {
    let mut event = Event {
        session: session.id.to_string(),
        client_address: session.client_address.clone(),
        client_id: session.client_id.to_string(),
        ..Event::default()
    };
    if let Some(principal) = &session.principal {
        event.principal = principal.name.to_string();
        event.issuer = principal.issuer.to_string();
        event.subject = principal.subject.to_string();
        event.groups = principal.groups.iter().map(ToString::to_string).collect();
    }
    event
}
