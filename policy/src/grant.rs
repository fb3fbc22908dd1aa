//! Compiled grants: who, on what, which operations, and when. Immutable and shared by all views.

use std::sync::Arc;

use tidegate_core::words::{Operation, Principal, Timestamp};

use crate::document::text::{Moment, PartitionRange};
use crate::window::Schedule;

/// The name of the principal of a connection without authentication.
pub(crate) const ANONYMOUS: &str = "ANONYMOUS";

/// A set of operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Operations(u16);

impl Operations {
    /// The operations given and all that they imply.
    pub(crate) fn implied_by(given: impl IntoIterator<Item = Operation>) -> Self {
        let implied = |given: Operation| Operation::ALL.into_iter().filter(move |other| given.implies(*other));
        Self(given.into_iter().flat_map(implied).fold(0, |set, operation| set | Self::bit(operation)))
    }

    pub(crate) const fn contains(self, operation: Operation) -> bool {
        self.0 & Self::bit(operation) != 0
    }

    const fn bit(operation: Operation) -> u16 {
        1 << operation as u16
    }
}

/// The kinds of resources, as in Kafka's ACLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Topic,
    Group,
    TransactionalId,
    Cluster,
    DelegationToken,
    User,
}

impl Kind {
    /// Whether Kafka knows the operation for resources of this kind (`AclEntry.supportedOperations`).
    pub(crate) const fn knows(self, operation: Operation) -> bool {
        use Operation as O;
        match self {
            Self::Topic => matches!(
                operation,
                O::Read
                    | O::Write
                    | O::Create
                    | O::Delete
                    | O::Describe
                    | O::Alter
                    | O::DescribeConfigs
                    | O::AlterConfigs
            ),
            Self::Group => {
                matches!(operation, O::Read | O::Describe | O::Delete | O::DescribeConfigs | O::AlterConfigs)
            }
            Self::TransactionalId => matches!(operation, O::Write | O::Describe | O::TwoPhaseCommit),
            Self::Cluster => matches!(
                operation,
                O::Create
                    | O::ClusterAction
                    | O::DescribeConfigs
                    | O::AlterConfigs
                    | O::IdempotentWrite
                    | O::Alter
                    | O::Describe
            ),
            Self::DelegationToken => matches!(operation, O::Describe),
            Self::User => matches!(operation, O::CreateTokens | O::DescribeTokens),
        }
    }

    /// Whether requests ask for the operation partition by partition, so that a grant of some
    /// partitions can cover them.
    pub(crate) const fn knows_for_partitions(operation: Operation) -> bool {
        matches!(operation, Operation::Read | Operation::Write | Operation::Describe | Operation::Delete)
    }
}

/// Which names are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Any,
    Literal(Arc<str>),
    Prefix(Arc<str>),
}

impl Pattern {
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(literal) => **literal == *name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// Whether every name that `other` means is meant.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Literal(name)) => self.matches(name),
            (Self::Prefix(prefix), Self::Prefix(other)) => other.starts_with(&**prefix),
            _ => false,
        }
    }
}

/// A resource of a grant.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) kind: Kind,
    pub(crate) pattern: Pattern,
    /// Of a topic, only these partitions.
    pub(crate) partitions: Option<Arc<[PartitionRange]>>,
}

impl Scope {
    /// Whether all of `other` lies within. Ranges that only together cover another do not count.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        let partitions = match (&self.partitions, &other.partitions) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(most), Some(wanted)) => wanted
                .iter()
                .all(|range| most.iter().any(|outer| outer.first <= range.first && range.last <= outer.last)),
        };
        self.kind == other.kind && self.pattern.includes(&other.pattern) && partitions
    }
}

/// Who is meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Who {
    pub(crate) everyone: bool,
    pub(crate) principals: Vec<Named>,
    pub(crate) groups: Vec<Named>,
}

/// A name, of one issuer or of any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: Arc<str>,
    pub(crate) issuer: Option<Arc<str>>,
}

impl Named {
    fn is(&self, name: &str, issuer: &str) -> bool {
        let vouched = match &self.issuer {
            Some(expected) => **expected == *issuer,
            // An issuer's subject that happens to be called ANONYMOUS is not the unauthenticated one.
            None => &*self.name != ANONYMOUS || issuer.is_empty(),
        };
        vouched && *self.name == *name
    }
}

impl Who {
    /// Whether `principal` is named, itself or through a group; `everyone` is left to the caller.
    pub(crate) fn names(&self, principal: &Principal) -> bool {
        let issuer = &*principal.issuer;
        self.principals.iter().any(|named| named.is(&principal.name, issuer))
            || principal.groups.iter().any(|group| self.groups.iter().any(|named| named.is(group, issuer)))
    }

    /// Whether a grant to these is one to `principal`.
    pub(crate) fn grants_to(&self, principal: &Principal) -> bool {
        let anonymous = &*principal.name == ANONYMOUS && principal.issuer.is_empty();
        (self.everyone && !anonymous) || self.names(principal)
    }

    /// Whether a mask for these applies to `principal`. Where a grant must not reach somebody
    /// unauthenticated, a mask must.
    pub(crate) fn masks_for(&self, principal: &Principal) -> bool {
        self.everyone || self.names(principal)
    }
}

/// A compiled grant.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) name: Arc<str>,
    pub(crate) purpose: Arc<str>,
    pub(crate) who: Who,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) operations: Operations,
    /// [`Timestamp`] of least value where it has no beginning.
    pub(crate) not_before: Timestamp,
    /// [`Timestamp::MAX`] where it has no end.
    pub(crate) not_after: Timestamp,
    pub(crate) schedule: Option<Schedule>,
    /// Whether somebody opened it for himself in an emergency.
    pub(crate) emergency: bool,
    pub(crate) denials: Denials,
}

/// What a denial says of a grant that would have allowed at another time. Formatted once.
#[derive(Debug)]
pub(crate) struct Denials {
    pub(crate) not_yet: Arc<str>,
    pub(crate) ended: Arc<str>,
    pub(crate) outside_window: Arc<str>,
}

impl Denials {
    pub(crate) fn of(name: &str, not_before: Timestamp, not_after: Timestamp) -> Self {
        Self {
            not_yet: format!("grant {name} starts {}", Moment(not_before)).into(),
            ended: format!("grant {name} ended {}", Moment(not_after)).into(),
            outside_window: format!("grant {name} outside its window").into(),
        }
    }
}
