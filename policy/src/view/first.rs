//! Which first uses of topics were approved. Part of a view, since authorisation asks about each; it outlives the
//! view: what was approved once is so under the next policy too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::file::HeldKind;

/// Topics that are remembered, each with one answer. Over it all are forgotten and looked up anew.
const TOPICS_MAX: usize = 10_000;

/// What is known of a principal's first uses of topics.
#[derive(Debug, Default)]
pub struct FirstUses {
    /// By topic; two kinds each: produce and consume.
    known: RefCell<HashMap<Box<str>, [Known; 2]>>,
}

#[derive(Debug, Default, Clone)]
enum Known {
    #[default]
    Nothing,
    Approved,
    /// Why not.
    Refused(Arc<str>),
}

impl FirstUses {
    /// The first use is approved: it waits no more.
    pub fn pass(&self, kind: HeldKind, topic: &str) {
        self.set(kind, topic, Known::Approved);
    }

    /// The first use is not approved, for a reason that begins with [`super::HELD`].
    pub fn refuse(&self, kind: HeldKind, topic: &str, reason: &str) {
        self.set(kind, topic, Known::Refused(Arc::from(reason)));
    }

    pub(super) fn is_approved(&self, kind: HeldKind, topic: &str) -> bool {
        self.known.borrow().get(topic).is_some_and(|known| matches!(known[place(kind)], Known::Approved))
    }

    pub(super) fn reason(&self, kind: HeldKind, topic: &str) -> Option<Arc<str>> {
        match &self.known.borrow().get(topic)?[place(kind)] {
            Known::Refused(reason) => Some(reason.clone()),
            Known::Nothing | Known::Approved => None,
        }
    }

    fn set(&self, kind: HeldKind, topic: &str, known: Known) {
        let mut all = self.known.borrow_mut();
        if all.len() >= TOPICS_MAX && !all.contains_key(topic) {
            all.clear();
        }
        all.entry(topic.into()).or_default()[place(kind)] = known;
    }
}

const fn place(kind: HeldKind) -> usize {
    matches!(kind, HeldKind::FirstConsume) as usize
}
