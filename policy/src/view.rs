//! What one principal may do under one policy snapshot, compiled for lookup per request.

use std::sync::Arc;

use tidegate_core::words::{Direction, Operation, Resource, Timestamp};

pub use crate::mask::MaskPlan;

/// The answer to one question of authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The grant's name, or the reason for denial (`no grant`, `grant expired: NAME`, …).
    pub rule: Arc<str>,
    /// The purpose that the grant declares; empty where denied.
    pub purpose: Arc<str>,
}

/// A principal's rights under one snapshot.
#[derive(Debug)]
pub struct View {}

impl View {
    /// The version of the snapshot this was compiled from.
    #[must_use]
    pub fn version(&self) -> u64 {
        0
    }

    /// May the principal do `operation` on `resource` at `now`?
    #[must_use]
    pub fn authorise(&self, _operation: Operation, _resource: Resource<'_>, _now: Timestamp) -> Decision {
        Decision { allowed: false, rule: Arc::from("no grant"), purpose: Arc::from("") }
    }

    /// May the principal do `operation` on any resource of the kind of `like` (its name is ignored)?
    /// Kafka's `authorizeByResourceType`.
    #[must_use]
    pub fn authorise_any(&self, _operation: Operation, _like: Resource<'_>, _now: Timestamp) -> Decision {
        Decision { allowed: false, rule: Arc::from("no grant"), purpose: Arc::from("") }
    }

    /// Whether any grant of the principal holds at `now`. False closes its connections.
    #[must_use]
    pub fn has_any_grant(&self, _now: Timestamp) -> bool {
        false
    }

    /// When the last grant that holds at `now` ends; `None` where one has no end.
    #[must_use]
    pub fn grants_end(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    /// What masking applies to records of `topic` in `direction`; `None` where no rule does and
    /// records need not be looked at.
    #[must_use]
    pub fn mask(&self, _topic: &str, _direction: Direction) -> Option<Arc<MaskPlan>> {
        None
    }
}
