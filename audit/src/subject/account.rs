//! An answer about a subject, put together for people: which messages, who read them, in which form.
//!
//! Everything in it points back to entries. A read counts for who reads only where the response left; a
//! write counts for what is stored only where the broker took it and nothing masked it on the way.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tidegate_core::event::{Event, Outcome};

use super::{Answer, Found, Hit};
use crate::json::{outcome_name, time_text};

/// Entries that a line of a summary names; the rest is counted.
const ENTRIES_NAMED: usize = 5;

/// What evidence says of a subject.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Account {
    /// Messages in which the subject's data is or was, as far as evidence saw it, by topic and partition.
    pub messages: Vec<Messages>,
    /// Who got it, by principal.
    pub recipients: Vec<Party>,
    /// Who wrote it.
    pub sources: Vec<Party>,
    /// Each access, in the order of time.
    pub accesses: Vec<Access>,
    /// What could not be searched, a sentence each. Where it is empty, the search is complete.
    pub not_searched: Vec<String>,
}

/// Messages of one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Messages {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Offsets: ranges from first to last, both inclusive.
    pub offsets: Vec<(i64, i64)>,
    /// How many messages.
    pub count: u64,
    /// What was found in them.
    pub classes: BTreeSet<String>,
    /// When evidence first saw them.
    pub first_seen: String,
    /// When it saw them last.
    pub last_seen: String,
}

/// Somebody who read or wrote the subject's data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Party {
    /// The principal's name.
    pub principal: String,
    /// Who vouches for it.
    pub issuer: String,
    /// Its groups: what a report that names nobody says instead.
    pub groups: BTreeSet<String>,
    /// Topics.
    pub topics: BTreeSet<String>,
    /// Purposes that its grants declare.
    pub purposes: BTreeSet<String>,
    /// The grants.
    pub grants: BTreeSet<String>,
    /// Per class, the forms in which it was seen: `in clear`, `masked (redact)`.
    pub classes: BTreeMap<String, BTreeSet<String>>,
    /// Sessions.
    pub sessions: u64,
    /// Messages, each counted once.
    pub messages: u64,
    /// Entries.
    pub entries: u64,
    /// The first of them, as SHARD/SEQUENCE.
    pub first_entries: Vec<String>,
    /// The first time.
    pub first: String,
    /// The last time.
    pub last: String,
}

/// One access to messages of one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Access {
    /// When.
    pub time: String,
    /// The entry, as SHARD/SEQUENCE.
    pub entry: String,
    /// `read` or `write`.
    pub action: &'static str,
    /// The exchange's outcome.
    pub outcome: &'static str,
    /// Whether data reached whom it was for: the reader, or the broker.
    pub completed: bool,
    /// The principal.
    pub principal: String,
    /// Who vouches for it.
    pub issuer: String,
    /// The session.
    pub session: String,
    /// Where from.
    pub client_address: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Offsets: ranges, both ends inclusive; empty where the broker told none.
    pub offsets: Vec<(i64, i64)>,
    /// What was found.
    pub class: String,
    /// The field, where a rule names one.
    pub field: String,
    /// `in clear`, or `masked (…)`.
    pub form: String,
    /// The mask rule.
    pub rule: String,
    /// The grant.
    pub grant: String,
    /// The purpose.
    pub purpose: String,
    /// The approval, where there was one.
    pub approval: String,
}

/// The form that an operator leaves data in.
#[must_use]
pub fn form(operator: &str) -> String {
    match operator {
        "" | "none" | "observe" => "in clear".to_owned(),
        operator => format!("masked ({operator})"),
    }
}

impl Account {
    /// Puts an answer together.
    #[must_use]
    pub fn new(answer: &Answer) -> Self {
        let mut messages: BTreeMap<(String, i32), Seen> = BTreeMap::new();
        let mut parties: [BTreeMap<(String, String), Gathered>; 2] = Default::default();
        let mut accesses = Vec::new();
        for hit in &answer.hits {
            for found in &hit.found {
                let access = access(hit, found);
                let (event, writes) = (&hit.event, access.action == "write");
                let stored = if writes { access.completed && access.form == "in clear" } else { true };
                if stored && found.offsets_known {
                    let place = (found.finding.topic.clone(), found.partition);
                    messages.entry(place).or_default().add(event.time_micros, found);
                }
                if access.completed
                    && let Some(parties) = parties.get_mut(usize::from(writes))
                {
                    let who = (event.principal.clone(), event.issuer.clone());
                    parties.entry(who).or_default().add(hit, found, &access);
                }
                accesses.push(access);
            }
        }
        let [readers, writers] = parties.map(|parties| parties.into_iter().map(Gathered::party).collect());
        let mut not_searched: Vec<String> =
            answer.missed.iter().map(|missed| format!("{}: {}", missed.path.display(), missed.reason)).collect();
        if answer.too_many {
            not_searched.push(format!("there are more than {} entries; narrow the time", super::HITS_MAX));
        }
        Self {
            messages: messages.into_iter().map(Seen::messages).collect(),
            recipients: readers,
            sources: writers,
            accesses,
            not_searched,
        }
    }
}

fn access(hit: &Hit, found: &Found) -> Access {
    let Hit { shard, sequence, event, .. } = hit;
    let resource = event.resources.iter().find(|resource| found.is_of(resource));
    let completed = [Outcome::Allowed as i32, Outcome::PartlyDenied as i32].contains(&event.outcome)
        && resource.is_some_and(|resource| resource.allowed);
    let writes = event.api == "Produce";
    Access {
        time: time_text(event.time_micros),
        entry: format!("{shard}/{sequence}"),
        action: if writes { "write" } else { "read" },
        outcome: outcome_name(event.outcome),
        completed: completed && (!writes || found.offsets_known),
        principal: event.principal.clone(),
        issuer: event.issuer.clone(),
        session: event.session.clone(),
        client_address: event.client_address.clone(),
        topic: found.finding.topic.clone(),
        partition: found.partition,
        offsets: if found.offsets_known { ranges(found.offsets.iter().copied()) } else { Vec::new() },
        class: found.class.clone(),
        field: found.finding.field.clone(),
        form: form(&found.finding.operator),
        rule: found.finding.rule.clone(),
        grant: resource.map(|resource| resource.rule.clone()).unwrap_or_default(),
        purpose: resource.map(|resource| resource.purpose.clone()).unwrap_or_default(),
        approval: event.approval.clone(),
    }
}

/// Offsets as ranges, in order, each once.
#[must_use]
pub fn ranges(offsets: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for offset in offsets.collect::<BTreeSet<_>>() {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(offset) => *last = offset,
            _ => ranges.push((offset, offset)),
        }
    }
    ranges
}

/// Ranges for people: `5, 7-9`.
#[must_use]
pub fn ranges_text(ranges: &[(i64, i64)]) -> String {
    let text = |(first, last): &(i64, i64)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[derive(Default)]
struct Seen {
    offsets: BTreeSet<i64>,
    classes: BTreeSet<String>,
    times: Option<(i64, i64)>,
}

impl Seen {
    fn add(&mut self, time: i64, found: &Found) {
        self.offsets.extend(&found.offsets);
        self.classes.insert(found.class.clone());
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
    }

    fn messages(((topic, partition), seen): ((String, i32), Self)) -> Messages {
        let (first, last) = seen.times.unwrap_or_default();
        Messages {
            topic,
            partition,
            count: seen.offsets.len() as u64,
            offsets: ranges(seen.offsets.into_iter()),
            classes: seen.classes,
            first_seen: time_text(first),
            last_seen: time_text(last),
        }
    }
}

#[derive(Default)]
struct Gathered {
    groups: BTreeSet<String>,
    topics: BTreeSet<String>,
    purposes: BTreeSet<String>,
    grants: BTreeSet<String>,
    classes: BTreeMap<String, BTreeSet<String>>,
    sessions: BTreeSet<String>,
    messages: BTreeSet<(String, i32, i64)>,
    entries: BTreeSet<(i64, u32, u64)>,
}

impl Gathered {
    fn add(&mut self, hit: &Hit, found: &Found, access: &Access) {
        let event: &Event = &hit.event;
        self.groups.extend(event.groups.iter().cloned());
        self.topics.insert(access.topic.clone());
        self.purposes.extend(Some(access.purpose.clone()).filter(|text| !text.is_empty()));
        self.grants.extend(Some(access.grant.clone()).filter(|text| !text.is_empty()));
        self.classes.entry(access.class.clone()).or_default().insert(access.form.clone());
        self.sessions.insert(event.session.clone());
        if found.offsets_known {
            self.messages.extend(found.offsets.iter().map(|offset| (access.topic.clone(), access.partition, *offset)));
        }
        self.entries.insert((event.time_micros, hit.shard, hit.sequence));
    }

    fn party(((principal, issuer), gathered): ((String, String), Self)) -> Party {
        let Self { groups, topics, purposes, grants, classes, sessions, messages, entries } = gathered;
        let time = |entry: Option<&(i64, u32, u64)>| entry.map_or_else(String::new, |(time, ..)| time_text(*time));
        Party {
            principal,
            issuer,
            groups,
            topics,
            purposes,
            grants,
            classes,
            sessions: sessions.len() as u64,
            messages: messages.len() as u64,
            first_entries: entries.iter().take(ENTRIES_NAMED).map(|(_, shard, n)| format!("{shard}/{n}")).collect(),
            first: time(entries.first()),
            last: time(entries.last()),
            entries: entries.len() as u64,
        }
    }
}
