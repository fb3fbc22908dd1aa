//! Schemas of the registry, as far as they are known: the control thread puts, shards look.
//!
//! A shard never waits: what is not there yet is asked for, and whoever needs it comes again. Schemas
//! never change under their ids, so what is known stays; that one cannot be had is believed for a while
//! only.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tidegate_policy::mask::schema::{Lookup, Schema, SchemaId, Schemas};
use tokio::sync::mpsc;

use super::Ask;

/// What was heard of a schema.
#[derive(Debug, Clone)]
enum Shelved {
    Known(Arc<Schema>),
    /// Why it cannot be had, and until when nobody asks again.
    Unusable(Arc<str>, Instant),
}

/// The schemas that are known.
pub struct SchemaShelf {
    is_there: bool,
    schemas_max: usize,
    known: ArcSwap<HashMap<SchemaId, Shelved>>,
    /// In the order in which they came. Only the control thread takes it.
    order: Mutex<VecDeque<SchemaId>>,
    asks: mpsc::Sender<Ask>,
}

impl fmt::Debug for SchemaShelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaShelf").field("known", &self.known.load().len()).finish_non_exhaustive()
    }
}

impl SchemaShelf {
    /// An empty shelf. `is_there` says whether there is a registry at all.
    pub(super) fn new(is_there: bool, schemas_max: u32, asks: mpsc::Sender<Ask>) -> Self {
        let schemas_max = usize::try_from(schemas_max).unwrap_or(usize::MAX).max(1);
        Self { is_there, schemas_max, known: ArcSwap::default(), order: Mutex::default(), asks }
    }

    /// Whether there is no need to ask for it (again) now.
    #[must_use]
    pub fn is_settled(&self, id: SchemaId) -> bool {
        match self.known.load().get(&id) {
            Some(Shelved::Known(_)) => true,
            Some(Shelved::Unusable(_, until)) => *until > Instant::now(),
            None => false,
        }
    }

    /// Puts what was heard of a schema: it, or why it cannot be had and until when nobody asks again.
    pub fn put(&self, id: SchemaId, heard: Result<Arc<Schema>, (Arc<str>, Instant)>) {
        let shelved = match heard {
            Ok(schema) => Shelved::Known(schema),
            Err((reason, until)) => Shelved::Unusable(reason, until),
        };
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = HashMap::clone(&self.known.load());
        if known.insert(id, shelved).is_none() {
            order.push_back(id);
        }
        while order.len() > self.schemas_max {
            if let Some(oldest) = order.pop_front() {
                known.remove(&oldest);
            }
        }
        self.known.store(Arc::new(known));
    }
}

impl Schemas for SchemaShelf {
    fn find(&self, id: SchemaId) -> Lookup {
        if !self.is_there {
            return Lookup::Unusable("no schema registry is configured".into());
        }
        match self.known.load().get(&id) {
            Some(Shelved::Known(schema)) => Lookup::Known(schema.clone()),
            Some(Shelved::Unusable(reason, until)) if *until > Instant::now() => Lookup::Unusable(reason.clone()),
            _ => {
                // Where its queue is full, whoever comes again asks again.
                let _ = self.asks.try_send(Ask::Schema(id));
                Lookup::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_known_is_asked_for_and_failures_are_believed_for_a_while() {
        let (asks, mut asked) = mpsc::channel(8);
        let shelf = SchemaShelf::new(true, 2, asks);
        let id = SchemaId::Number;
        assert!(matches!(shelf.find(id(1)), Lookup::Pending));
        assert_eq!(asked.try_recv(), Ok(Ask::Schema(id(1))));
        let schema = Arc::new(Schema::compile(None, "\"string\"", &[]).unwrap());
        shelf.put(id(1), Ok(schema.clone()));
        assert!(matches!(shelf.find(id(1)), Lookup::Known(_)));
        shelf.put(id(2), Err(("gone".into(), Instant::now() + Duration::from_secs(60))));
        assert!(matches!(shelf.find(id(2)), Lookup::Unusable(reason) if &*reason == "gone"));
        assert!(shelf.is_settled(id(2)));
        shelf.put(id(2), Err(("gone".into(), Instant::now())));
        assert!(matches!(shelf.find(id(2)), Lookup::Pending));
        // Bounded: the oldest goes.
        shelf.put(id(3), Ok(schema));
        assert!(!shelf.is_settled(id(1)));
        assert!(shelf.is_settled(id(3)));
    }

    #[test]
    fn without_a_registry_nothing_is_asked() {
        let (asks, mut asked) = mpsc::channel(8);
        assert!(matches!(SchemaShelf::new(false, 2, asks).find(SchemaId::Number(1)), Lookup::Unusable(_)));
        assert!(asked.try_recv().is_err());
    }
}
