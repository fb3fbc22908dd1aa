//! What evidence saw, added up: who did what on which topic for which purpose, and which data it was.
//!
//! One pass over the entries that a query wants. Lines are bounded by what differs (principals, topics,
//! grants), not by how many entries there are; beyond [`LINES_MAX`] the rest is one line.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidegate_core::event::{Event, Kind};

use crate::json::time_text;
use crate::query::{Indexes, Query, Search, SearchError};
use crate::subject::account::form;
use crate::tail::Item;

/// Lines of one sum, at most.
const LINES_MAX: usize = 50_000;
/// Distinct tags that are told apart, at most: some 100 MB.
const TAGS_MAX: usize = 4_000_000;
/// Entries that a line names.
const ENTRIES_NAMED: usize = 3;

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    /// The topic.
    pub topic: String,
    /// The principal.
    pub principal: String,
    /// Who vouches for it.
    pub issuer: String,
    /// `read` or `write`.
    pub action: &'static str,
    /// The grant.
    pub grant: String,
    /// The purpose.
    pub purpose: String,
}

/// What came together on a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Groups of the principal.
    pub groups: BTreeSet<String>,
    /// Exchanges.
    pub exchanges: u64,
    /// Records.
    pub records: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// Per class and form, how often it was found.
    pub found: BTreeMap<String, BTreeMap<String, u64>>,
    /// The first time.
    pub first: String,
    /// The last time.
    pub last: String,
    /// The first entries, as SHARD/SEQUENCE.
    pub entries: Vec<String>,
    #[serde(skip)]
    times: Option<(i64, i64)>,
}

/// What evidence saw.
#[derive(Debug, Default)]
pub struct Observed {
    /// By what lines are about.
    pub lines: BTreeMap<Line, Sum>,
    /// Denied attempts by principal and topic.
    pub denied: BTreeMap<(String, String), u64>,
    /// Per class, distinct tags: about as many subjects.
    pub subjects: BTreeMap<String, u64>,
    /// There were more tags than are told apart.
    pub subjects_at_least: bool,
    /// Tags that were left out of entries.
    pub subjects_cut: u64,
    /// Entries looked at.
    pub entries: u64,
    /// The first and last of their times.
    pub times: Option<(i64, i64)>,
    /// Lines that did not fit.
    pub lines_more: u64,
    /// Places that cannot be read.
    pub damaged: Vec<(PathBuf, String)>,
}

impl Observed {
    /// Adds up what `query` wants of the evidence below `root`.
    ///
    /// # Errors
    /// [`SearchError`] of the operating system.
    pub fn read(root: &Path, query: Query, indexes: Indexes) -> Result<Self, SearchError> {
        let topics = query.topics.clone();
        let query = Query { kinds: vec![Kind::Exchange as i32], ..query };
        let mut search = Search::new(root, None, query, indexes)?;
        let mut observed = Self::default();
        let mut tags = Tags::default();
        while let Some(item) = search.next()? {
            match item {
                Item::Entry(entry) => {
                    let name = format!("{}/{}", entry.shard, entry.sequence);
                    observed.add(&entry.event, &name, &topics, &mut tags);
                }
                Item::Damaged(damaged) => observed.damaged.push((damaged.path, damaged.reason)),
            }
        }
        for (class, count) in tags.by_class.into_iter().map(|(class, tags)| (class, tags.len() as u64)) {
            observed.subjects.insert(class, count);
        }
        observed.subjects_at_least = tags.full;
        Ok(observed)
    }

    fn add(&mut self, event: &Event, name: &str, topics: &[String], tags: &mut Tags) {
        let wanted = |topic: &str| {
            topics.is_empty()
                || topics.iter().any(|wanted| match wanted.strip_suffix('*') {
                    Some(prefix) => topic.starts_with(prefix),
                    None => wanted == topic,
                })
        };
        self.entries += 1;
        let (first, last) = self.times.unwrap_or((event.time_micros, event.time_micros));
        self.times = Some((first.min(event.time_micros), last.max(event.time_micros)));
        let action = if event.api == "Produce" { "write" } else { "read" };
        let mut counted: BTreeSet<&str> = BTreeSet::new();
        for resource in event.resources.iter().filter(|resource| resource.kind == "topic" && wanted(&resource.name)) {
            if !resource.allowed {
                *self.denied.entry((event.principal.clone(), resource.name.clone())).or_default() += 1;
                continue;
            }
            if resource.records == 0 {
                continue;
            }
            let line = Line {
                topic: resource.name.clone(),
                principal: event.principal.clone(),
                issuer: event.issuer.clone(),
                action,
                grant: resource.rule.clone(),
                purpose: resource.purpose.clone(),
            };
            if self.lines.len() >= LINES_MAX && !self.lines.contains_key(&line) {
                self.lines_more += 1;
                continue;
            }
            let sum = self.lines.entry(line).or_default();
            sum.groups.extend(event.groups.iter().cloned());
            sum.records += resource.records;
            sum.bytes += resource.bytes;
            let (first, last) = sum.times.unwrap_or((event.time_micros, event.time_micros));
            sum.times = Some((first.min(event.time_micros), last.max(event.time_micros)));
            sum.first = time_text(first.min(event.time_micros));
            sum.last = time_text(last.max(event.time_micros));
            if sum.entries.last().is_none_or(|last| last != name) {
                sum.exchanges += 1;
                if sum.entries.len() < ENTRIES_NAMED {
                    sum.entries.push(name.to_owned());
                }
            }
            // Findings are counted by topic, not by partition: for the first of its partitions.
            if counted.insert(&resource.name) {
                for finding in
                    event.findings.iter().filter(|finding| finding.topic == resource.name && finding.count > 0)
                {
                    let forms = sum.found.entry(finding.class.clone()).or_default();
                    *forms.entry(form(&finding.operator)).or_default() += finding.count;
                }
            }
        }
        for group in &event.subjects {
            let Some(finding) = event.findings.get(group.finding as usize) else { continue };
            if wanted(&finding.topic) {
                group.iter().for_each(|(_, tag)| tags.add(&finding.class, tag));
            }
        }
        self.subjects_cut += event.subjects_cut;
    }

    /// Lines that carried data of some class.
    pub fn with_data(&self) -> impl Iterator<Item = (&Line, &Sum)> {
        self.lines.iter().filter(|(_, sum)| !sum.found.is_empty())
    }

    /// The period that was seen, for people.
    #[must_use]
    pub fn period(&self) -> String {
        match self.times {
            Some((first, last)) => format!("{} – {}", time_text(first), time_text(last)),
            None => "nothing was seen".to_owned(),
        }
    }
}

/// Distinct tags.
#[derive(Default)]
struct Tags {
    by_class: BTreeMap<String, HashSet<u64>>,
    count: usize,
    full: bool,
}

impl Tags {
    fn add(&mut self, class: &str, tag: u64) {
        if !self.by_class.contains_key(class) {
            self.by_class.insert(class.to_owned(), HashSet::new());
        }
        let Some(tags) = self.by_class.get_mut(class) else { return };
        if self.count < TAGS_MAX {
            self.count += usize::from(tags.insert(tag));
        } else {
            self.full |= !tags.contains(&tag);
        }
    }
}

/// Classes and forms in one text: `email 12 masked (redact), 3 in clear`.
#[must_use]
pub fn found_text(found: &BTreeMap<String, BTreeMap<String, u64>>) -> String {
    let class = |(class, forms): (&String, &BTreeMap<String, u64>)| {
        let forms: Vec<String> = forms.iter().map(|(form, count)| format!("{count} {form}")).collect();
        format!("{class}: {}", forms.join(", "))
    };
    if found.is_empty() { "–".to_owned() } else { found.iter().map(class).collect::<Vec<_>>().join("; ") }
}
