//! What one principal may do under one policy snapshot, compiled for lookup per request.
//!
//! A view belongs to one shard thread. It holds only the principal's own grants and mask rules, and
//! remembers what does not change from one request to the next: the span in which a window stays
//! open or closed, and the mask plan of a topic. A lookup allocates nothing once that is warm.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::words::{Direction, Operation, Resource, Timestamp};

pub use self::first::FirstUses;
pub use crate::mask::MaskPlan;

use crate::authority::{HeldKind, HoldRule};
use crate::document::text::PartitionRange;
use crate::file::OnUnparseable;
use crate::grant::{Grant, Kind, Operations, Pattern};
use crate::mask::{MaskEntry, Operator};
use crate::recording::RecordingRule;
use crate::window::Span;

/// Mask plans that a view remembers per direction; over it they are forgotten and compiled anew.
const PLANS_MAX: usize = 4096;
/// Grants that take over from each other that [`View::grants_end`] follows. What comes behind is
/// found when the time named has come.
const SUCCESSIONS_MAX: usize = 64;

/// How the reason of what waits for an approver begins.
pub const HELD: &str = "held by rule ";

/// The answer to one question of authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Where allowed, the name of the first grant in the file that allows it. Else the reason:
    /// `no grant`, or of the first grant that would allow it at another time `grant NAME ended
    /// TIME`, `grant NAME starts TIME` or `grant NAME outside its window`.
    pub rule: Arc<str>,
    /// The purpose that the grant declares; empty where denied.
    pub purpose: Arc<str>,
}

impl Decision {
    /// Whether a grant allows it, and only an approval is missing.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.allowed && self.rule.starts_with(HELD)
    }
}

/// A principal's rights under one snapshot.
#[derive(Debug)]
pub struct View {
    version: u64,
    on_unparseable: OnUnparseable,
    /// In the file's order.
    grants: Vec<Held>,
    topics: Index,
    groups: Index,
    transactional_ids: Index,
    cluster: Index,
    delegation_tokens: Index,
    users: Index,
    /// In the file's order.
    masks: Vec<MaskInView>,
    /// In the file's order.
    holds: Vec<Arc<HoldRule>>,
    /// Whether a rule of `holds` is about first uses.
    holds_first_uses: bool,
    first_uses: FirstUses,
    recording: Option<Arc<RecordingRule>>,
    /// Topics whose records readers get masked in a way that the principal's own are not on their way in; only where
    /// it is recorded.
    masked_for_readers: Vec<Pattern>,
    plans: [RefCell<Plans>; 2],
    no_grant: Arc<str>,
    no_purpose: Arc<str>,
}

type Plans = HashMap<Box<str>, Option<Arc<MaskPlan>>>;

/// A mask rule as it stands towards one principal.
#[derive(Debug, Clone)]
pub(crate) struct MaskInView {
    pub(crate) topics: Arc<[Pattern]>,
    pub(crate) directions: Arc<[Direction]>,
    pub(crate) entries: Arc<[MaskEntry]>,
    /// Whether the principal sees the data as it is.
    pub(crate) exempt: bool,
}

/// A grant and the span for which its schedule's answer is known.
#[derive(Debug)]
struct Held {
    grant: Arc<Grant>,
    span: Cell<Span>,
}

/// The scopes of one kind of resource by how they name it.
#[derive(Debug, Default)]
struct Index {
    literal: HashMap<Arc<str>, Vec<Entry>>,
    prefixes: Vec<(Arc<str>, Entry)>,
    any: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Index of the grant in the view.
    grant: usize,
    operations: Operations,
    partitions: Option<Arc<[PartitionRange]>>,
}

impl View {
    pub(crate) fn new(
        version: u64,
        on_unparseable: OnUnparseable,
        grants: impl IntoIterator<Item = Arc<Grant>>,
        masks: Vec<MaskInView>,
    ) -> Self {
        let mut view = Self {
            version,
            on_unparseable,
            grants: Vec::new(),
            topics: Index::default(),
            groups: Index::default(),
            transactional_ids: Index::default(),
            cluster: Index::default(),
            delegation_tokens: Index::default(),
            users: Index::default(),
            masks,
            holds: Vec::new(),
            holds_first_uses: false,
            first_uses: FirstUses::default(),
            recording: None,
            masked_for_readers: Vec::new(),
            plans: Default::default(),
            no_grant: Arc::from("no grant"),
            no_purpose: Arc::from(""),
        };
        for grant in grants {
            for scope in &grant.scopes {
                let (at, operations, partitions) = (view.grants.len(), grant.operations, scope.partitions.clone());
                view.index_mut(scope.kind).add(&scope.pattern, Entry { grant: at, operations, partitions });
            }
            view.grants.push(Held { grant, span: Cell::new(Span::NEVER) });
        }
        view
    }

    pub(crate) fn with_holds(self, holds: Vec<Arc<HoldRule>>) -> Self {
        let first = |rule: &Arc<HoldRule>| {
            rule.matches(HeldKind::FirstProduce, None, None) || rule.matches(HeldKind::FirstConsume, None, None)
        };
        Self { holds_first_uses: holds.iter().any(first), holds, ..self }
    }

    pub(crate) fn with_recording(self, recording: Arc<RecordingRule>, masked_for_readers: Vec<Pattern>) -> Self {
        Self { recording: Some(recording), masked_for_readers, ..self }
    }

    /// The rule by which the principal's sessions are recorded; `None` where they are not.
    #[must_use]
    pub fn recording(&self) -> Option<&Arc<RecordingRule>> {
        self.recording.as_ref()
    }

    /// Whether a rule masks records of this topic for some readers that does not mask them when this principal
    /// writes them. Only known of principals that are recorded.
    #[must_use]
    pub fn is_masked_for_readers(&self, topic: &str) -> bool {
        self.masked_for_readers.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether any rule could make an operation of this principal wait. False costs nothing more.
    #[must_use]
    pub fn has_holds(&self) -> bool {
        !self.holds.is_empty()
    }

    /// The first rule in the file that makes an operation of this kind wait, on this topic and this configuration;
    /// `None` where it has none. Allocates nothing.
    #[must_use]
    pub fn hold_rule(&self, kind: HeldKind, topic: Option<&str>, config: Option<&str>) -> Option<&Arc<HoldRule>> {
        self.holds.iter().find(|rule| rule.matches(kind, topic, config))
    }

    /// The version of the snapshot this was compiled from.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What happens to records that mask rules apply to but that cannot be parsed.
    #[must_use]
    pub fn on_unparseable(&self) -> OnUnparseable {
        self.on_unparseable
    }

    /// A view that allows nothing.
    #[must_use]
    pub fn nothing(version: u64) -> Self {
        Self::new(version, OnUnparseable::Reject, [], Vec::new())
    }

    /// Whether first uses of some topics wait for an approver.
    #[must_use]
    pub fn holds_first_uses(&self) -> bool {
        self.holds_first_uses
    }

    /// First uses, as far as they are known to be approved or not.
    #[must_use]
    pub fn first_uses(&self) -> &FirstUses {
        &self.first_uses
    }

    /// Takes over what an earlier view of the same principal knew about first uses.
    pub fn keep_first_uses(&mut self, before: &mut Self) {
        self.first_uses = std::mem::take(&mut before.first_uses);
    }

    /// The rule by which the first use of a topic (`kind` says which) waits and was not approved yet.
    #[must_use]
    pub fn first_use_rule(&self, kind: HeldKind, topic: &str) -> Option<&Arc<HoldRule>> {
        if !self.holds_first_uses || self.first_uses.is_approved(kind, topic) {
            return None;
        }
        self.hold_rule(kind, Some(topic), None)
    }

    /// May the principal do `operation` on `resource` at `now`? Not where that is a topic's first use and waits
    /// for an approver ([`Decision::is_held`]); else as [`View::is_granted`].
    #[must_use]
    pub fn authorise(&self, operation: Operation, resource: Resource<'_>, now: Timestamp) -> Decision {
        let decision = self.granted(operation, resource, now);
        if !self.holds_first_uses || !decision.allowed {
            return decision;
        }
        let (Resource::Topic { name, .. }, Some(kind)) = (resource, first_use_of(operation)) else { return decision };
        let Some(rule) = self.first_use_rule(kind, name) else { return decision };
        let reason = self.first_uses.reason(kind, name).unwrap_or_else(|| format!("{HELD}{}", rule.name).into());
        Decision { allowed: false, rule: reason, purpose: self.no_purpose.clone() }
    }

    /// Whether a grant allows `operation` on `resource` at `now`, whatever waits for an approver.
    #[must_use]
    pub fn is_granted(&self, operation: Operation, resource: Resource<'_>, now: Timestamp) -> bool {
        self.granted(operation, resource, now).allowed
    }

    /// The grants' answer.
    ///
    ///
    /// A grant of some partitions covers questions that name one of them, and describe of the topic
    /// as a whole. IdempotentWrite on the cluster is allowed to whoever may write any topic, as a
    /// broker has it since Kafka 2.8 (KIP-679).
    fn granted(&self, operation: Operation, resource: Resource<'_>, now: Timestamp) -> Decision {
        let (kind, partition) = match resource {
            Resource::Topic { partition, .. } => (Kind::Topic, partition),
            _ => (kind_of(resource), None),
        };
        let covering = self.index(kind).matching(resource.name()).filter(|entry| entry.covers(operation, partition));
        let decision = self.decide(covering, now);
        if !decision.allowed && operation == Operation::IdempotentWrite && kind == Kind::Cluster {
            let through_topic = self.authorise_any(Operation::Write, Resource::topic(""), now);
            if through_topic.allowed {
                return through_topic;
            }
        }
        decision
    }

    /// May the principal do `operation` on any resource of the kind of `like` (its name is ignored)?
    /// Kafka's `authorizeByResourceType`.
    #[must_use]
    pub fn authorise_any(&self, operation: Operation, like: Resource<'_>, now: Timestamp) -> Decision {
        let entries = self.index(kind_of(like)).all();
        self.decide(entries.filter(|entry| entry.operations.contains(operation)), now)
    }

    /// Whether any grant of the principal holds at `now`. False closes its connections.
    #[must_use]
    pub fn has_any_grant(&self, now: Timestamp) -> bool {
        self.grants.iter().any(|held| held.holds(now))
    }

    /// Whether the principal has something open that he opened for himself in an emergency: what he does then is
    /// recorded, whatever the rules of recording say.
    #[must_use]
    pub fn in_emergency(&self, now: Timestamp) -> bool {
        self.grants.iter().any(|held| held.grant.emergency && held.holds(now))
    }

    /// When the principal will have no grant left that holds, grants that take over in time
    /// included; `None` where that never comes, `now` where it has none.
    #[must_use]
    pub fn grants_end(&self, now: Timestamp) -> Option<Timestamp> {
        let mut end = now;
        for _ in 0..SUCCESSIONS_MAX {
            match self.grants.iter().filter(|held| held.holds(end)).map(|held| held.end_after(end)).max() {
                Some(Timestamp::MAX) => return None,
                Some(later) => end = later,
                None => break,
            }
        }
        Some(end)
    }

    /// What masking applies to records of `topic` in `direction`; `None` where no rule does and
    /// records need not be looked at. For each class the first rule in the file decides that names
    /// the topic, the direction and the principal; an exemption decides too, and is counted.
    #[must_use]
    pub fn mask(&self, topic: &str, direction: Direction) -> Option<Arc<MaskPlan>> {
        if self.masks.is_empty() {
            return None;
        }
        let [produce, fetch] = &self.plans;
        let mut plans = match direction {
            Direction::Produce => produce,
            Direction::Fetch => fetch,
        }
        .borrow_mut();
        if let Some(plan) = plans.get(topic) {
            return plan.clone();
        }
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        let plan = self.compile_mask(topic, direction);
        plans.insert(topic.into(), plan.clone());
        plan
    }

    fn compile_mask(&self, topic: &str, direction: Direction) -> Option<Arc<MaskPlan>> {
        let applies = |mask: &&MaskInView| {
            mask.directions.contains(&direction) && mask.topics.iter().any(|pattern| pattern.matches(topic))
        };
        let entries = self.masks.iter().filter(applies).flat_map(|mask| {
            let operator = |entry: &MaskEntry| if mask.exempt { Operator::None } else { entry.operator.clone() };
            mask.entries.iter().map(move |entry| MaskEntry { operator: operator(entry), ..entry.clone() })
        });
        let plan = MaskPlan::compile(entries, self.on_unparseable);
        (!plan.is_empty()).then(|| Arc::new(plan))
    }

    /// The first grant in the file decides, of those that hold now; else of those that would at
    /// another time.
    fn decide<'a>(&self, covering: impl Iterator<Item = &'a Entry>, now: Timestamp) -> Decision {
        let (mut allowing, mut out_of_time) = (usize::MAX, usize::MAX);
        for entry in covering {
            let held = self.grants.get(entry.grant).is_some_and(|held| held.holds(now));
            let first = if held { &mut allowing } else { &mut out_of_time };
            *first = entry.grant.min(*first);
        }
        if let Some(Held { grant, .. }) = self.grants.get(allowing) {
            return Decision { allowed: true, rule: grant.name.clone(), purpose: grant.purpose.clone() };
        }
        let reason = self.grants.get(out_of_time).map_or(&self.no_grant, |held| held.denial(now));
        Decision { allowed: false, rule: reason.clone(), purpose: self.no_purpose.clone() }
    }

    fn index(&self, kind: Kind) -> &Index {
        match kind {
            Kind::Topic => &self.topics,
            Kind::Group => &self.groups,
            Kind::TransactionalId => &self.transactional_ids,
            Kind::Cluster => &self.cluster,
            Kind::DelegationToken => &self.delegation_tokens,
            Kind::User => &self.users,
        }
    }

    fn index_mut(&mut self, kind: Kind) -> &mut Index {
        match kind {
            Kind::Topic => &mut self.topics,
            Kind::Group => &mut self.groups,
            Kind::TransactionalId => &mut self.transactional_ids,
            Kind::Cluster => &mut self.cluster,
            Kind::DelegationToken => &mut self.delegation_tokens,
            Kind::User => &mut self.users,
        }
    }
}

fn first_use_of(operation: Operation) -> Option<HeldKind> {
    match operation {
        Operation::Read => Some(HeldKind::FirstConsume),
        Operation::Write => Some(HeldKind::FirstProduce),
        _ => None,
    }
}

fn kind_of(resource: Resource<'_>) -> Kind {
    match resource {
        Resource::Topic { .. } => Kind::Topic,
        Resource::Group(_) => Kind::Group,
        Resource::TransactionalId(_) => Kind::TransactionalId,
        Resource::Cluster => Kind::Cluster,
        Resource::DelegationToken(_) => Kind::DelegationToken,
        Resource::User(_) => Kind::User,
    }
}

impl Index {
    fn add(&mut self, pattern: &Pattern, entry: Entry) {
        match pattern {
            Pattern::Any => self.any.push(entry),
            Pattern::Literal(name) => self.literal.entry(name.clone()).or_default().push(entry),
            Pattern::Prefix(prefix) => self.prefixes.push((prefix.clone(), entry)),
        }
    }

    fn matching(&self, name: &str) -> impl Iterator<Item = &Entry> {
        let literal = self.literal.get(name).into_iter().flatten();
        let prefixed = self.prefixes.iter().filter(move |(prefix, _)| name.starts_with(&**prefix));
        literal.chain(prefixed.map(|(_, entry)| entry)).chain(&self.any)
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.literal.values().flatten().chain(self.prefixes.iter().map(|(_, entry)| entry)).chain(&self.any)
    }
}

impl Entry {
    fn covers(&self, operation: Operation, partition: Option<i32>) -> bool {
        let in_partitions = match (&self.partitions, partition) {
            (None, _) => true,
            (Some(ranges), Some(partition)) => {
                ranges.iter().any(|range| (range.first..=range.last).contains(&partition))
            }
            (Some(_), None) => operation == Operation::Describe,
        };
        in_partitions && self.operations.contains(operation)
    }
}

impl Held {
    fn holds(&self, now: Timestamp) -> bool {
        self.grant.not_before <= now && now < self.grant.not_after && self.span_at(now).is_none_or(|span| span.open)
    }

    /// When a grant that holds at `now` ends or its window closes.
    fn end_after(&self, now: Timestamp) -> Timestamp {
        self.span_at(now).map_or(self.grant.not_after, |span| span.until.min(self.grant.not_after))
    }

    /// Why a grant does not hold at `now`.
    fn denial(&self, now: Timestamp) -> &Arc<str> {
        let denials = &self.grant.denials;
        if now < self.grant.not_before {
            &denials.not_yet
        } else if now >= self.grant.not_after {
            &denials.ended
        } else {
            &denials.outside_window
        }
    }

    fn span_at(&self, now: Timestamp) -> Option<Span> {
        let schedule = self.grant.schedule.as_ref()?;
        let known = self.span.get();
        if known.contains(now) {
            return Some(known);
        }
        let span = schedule.span_at(now);
        self.span.set(span);
        Some(span)
    }
}

mod first;
#[cfg(test)]
mod tests;
