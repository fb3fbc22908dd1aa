//! The records of one message, looked at ahead of the decision, over as many turns as it takes.
//!
//! Scanning is what takes long; deciding, noting and putting together do not. So the first is done
//! in turns that change neither message nor evidence, and the second at one moment, with the rights
//! of that moment. A policy that changed in between makes the first begin anew.
//!
//! Records that no plan applies to are not looked at ahead: counting their batch headers is some
//! 10 ns a batch.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_policy::mask::MaskPlan;

use super::super::stage::{Draft, Scope};
use super::inspect::{Inspection, Look, Looked, Looking, Use, unmasked};

/// Where a partition stands in its message: the topic's and the partition's index.
pub(super) type Place = (usize, usize);

/// Records to be looked at.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) place: Place,
    pub(super) records: Bytes,
    pub(super) plan: Arc<MaskPlan>,
}

/// What was looked at of one message, and what is still to be.
#[derive(Debug)]
pub(super) struct Ahead {
    to: Use,
    /// The policy that it is done under; `None` before it began.
    policy_version: Option<u64>,
    /// Not looked at yet, in the message's order.
    parts: VecDeque<Part>,
    /// Being looked at.
    looking: Option<(Place, Looking)>,
    /// Looked at, in the message's order.
    looked: VecDeque<(Place, Looked)>,
    /// Some of what was asked for waits for what is being fetched.
    waits: bool,
}

impl Ahead {
    /// Nothing yet.
    pub(super) fn new(to: Use) -> Self {
        Self { to, policy_version: None, parts: VecDeque::new(), looking: None, looked: VecDeque::new(), waits: false }
    }

    /// Whether what there is to look at has to be said (again): at the beginning, and where the
    /// policy has changed since.
    pub(super) fn wants_parts(&self, scope: &Scope<'_>) -> bool {
        self.policy_version != Some(scope.view.version())
    }

    /// Begins, with nothing of what was done before.
    pub(super) fn begin(&mut self, parts: VecDeque<Part>, scope: &Scope<'_>) {
        *self = Self { policy_version: Some(scope.view.version()), parts, ..Self::new(self.to) };
    }

    /// Looks on until all is looked at (true) or the turn's work is used up (false).
    pub(super) fn step(&mut self, scope: &mut Scope<'_>) -> bool {
        loop {
            let (place, looking) = match self.looking.take() {
                Some(under_way) => under_way,
                None => {
                    let Some(Part { place, records, plan }) = self.parts.pop_front() else { return true };
                    (place, Looking::new(records, plan, self.to, scope.on_unparseable))
                }
            };
            match looking.step(scope) {
                Look::Done(looked) => self.looked.push_back((place, looked)),
                Look::Again(looking) => {
                    self.looking = Some((place, *looking));
                    return false;
                }
            }
        }
    }

    /// What comes of the records at `place` under `plan`, noted in the draft. Places are asked for
    /// in the message's order.
    pub(super) fn inspect(
        &mut self,
        place: Place,
        records: &Bytes,
        (topic, partition): (&str, i32),
        plan: Option<&Arc<MaskPlan>>,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) -> Inspection {
        while self.looked.front().is_some_and(|(at, _)| *at < place) {
            self.looked.pop_front();
        }
        let Some(plan) = plan else { return unmasked(records, topic, partition, self.to, scope, draft) };
        let is_it = self.looked.front().is_some_and(|(at, looked)| *at == place && looked.is_under(plan));
        let looked = match if is_it { self.looked.pop_front() } else { None } {
            Some((_, looked)) => looked,
            // A grant that began only now, or a topic that got its name only now: rare enough to be
            // looked at in one go.
            None => at_once(Looking::new(records.clone(), plan.clone(), self.to, scope.on_unparseable), scope),
        };
        self.waits |= looked.waits();
        looked.note(self.to, topic, partition, draft)
    }

    /// Whether some of the records that were asked for wait for what is being fetched: the client should
    /// come again, and need not at once.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }
}

fn at_once(mut looking: Looking, scope: &mut Scope<'_>) -> Looked {
    let left = scope.work;
    loop {
        scope.work = usize::MAX;
        match looking.step(scope) {
            Look::Done(looked) => {
                scope.work = left;
                return looked;
            }
            Look::Again(rest) => looking = *rest,
        }
    }
}
