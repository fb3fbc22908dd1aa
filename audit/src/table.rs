//! An entry as one line for people: what `tidegate audit tail` prints on a terminal.
//!
//! Columns align as far as that is possible for lines that come one by one: each column is as wide
//! as its widest text so far, within bounds. Much of an entry was chosen by clients, so control
//! characters are shown as escapes: nobody may paint on an auditor's terminal.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use tidegate_core::event::{Event, FindingCount, Kind, Outcome, ResourceUse};

use crate::json::{kafka_error_name, kind_name, outcome_name, time_text};
use crate::tail::Entry;

/// Resources named in one line; the rest is counted.
const RESOURCES_SHOWN: usize = 4;
/// Ranges of partitions named for one topic; the rest is an ellipsis.
const PARTITIONS_SHOWN: usize = 6;

/// One column: its title and how narrow and wide it may be, in characters.
struct Column {
    title: &'static str,
    width: usize,
    width_max: usize,
}

/// Renders entries, and remembers how wide its columns are.
pub struct Table {
    colours: bool,
    columns: [Column; 5],
}

impl Table {
    /// A table; with `colours`, outcomes and masking stand out by ANSI escapes.
    #[must_use]
    pub const fn new(colours: bool) -> Self {
        Self {
            colours,
            columns: [
                Column { title: "TIME", width: 24, width_max: 24 },
                Column { title: "SHARD/SEQ", width: 9, width_max: 24 },
                Column { title: "PRINCIPAL", width: 12, width_max: 28 },
                Column { title: "API", width: 16, width_max: 26 },
                Column { title: "OUTCOME", width: 7, width_max: 15 },
            ],
        }
    }

    /// The line of titles.
    #[must_use]
    pub fn titles(&self) -> String {
        let mut line = String::new();
        for column in &self.columns {
            let _ = write!(line, "{:width$}  ", column.title, width = column.width);
        }
        line.push_str("DETAILS");
        self.paint(Colour::Dim, &line)
    }

    /// Makes the columns wide enough for an entry. Called for all entries that are at hand before the
    /// first of them is printed, it aligns them all.
    pub fn fit(&mut self, entry: &Entry) {
        for (column, cell) in self.columns.iter_mut().zip(cells(entry)) {
            column.width = column.width.max(cell.chars().count().min(column.width_max));
        }
    }

    /// One entry, without a line end.
    #[must_use]
    pub fn line(&mut self, entry: &Entry) -> String {
        self.fit(entry);
        let colours = [Colour::Dim, Colour::Dim, Colour::Bold, Colour::None, outcome_colour(&entry.event)];
        let mut line = String::new();
        for ((column, cell), colour) in self.columns.iter().zip(cells(entry)).zip(colours) {
            let cell = shorten(cell, column.width_max);
            let padding = column.width - cell.chars().count() + 2;
            let _ = write!(line, "{}{:padding$}", self.paint(colour, &cell), "");
        }
        line.push_str(&self.details(&entry.event));
        line.truncate(line.trim_end().len());
        line
    }

    fn details(&self, event: &Event) -> String {
        let mut parts = Vec::new();
        let resources = self.resources(event);
        if !resources.is_empty() {
            parts.push(resources);
        }
        let findings = findings(&event.findings);
        if !findings.is_empty() {
            parts.push(self.paint(Colour::Magenta, &findings));
        }
        let why = why(&event.resources);
        if !why.is_empty() {
            parts.push(why);
        }
        if !event.upstream_errors.is_empty() {
            let names: BTreeSet<String> = event
                .upstream_errors
                .iter()
                .map(|code| kafka_error_name(*code).map_or_else(|| code.to_string(), str::to_owned))
                .collect();
            let names: Vec<String> = names.into_iter().collect();
            parts.push(self.paint(Colour::Yellow, &format!("upstream {}", names.join(", "))));
        }
        if !event.detail.is_empty() {
            parts.push(clean(&event.detail));
        }
        if event.kind == Kind::Exchange as i32 {
            parts.push(self.paint(Colour::Dim, &duration(event.latency_micros)));
        } else if !event.client_address.is_empty() {
            parts.push(self.paint(Colour::Dim, &format!("from {}", clean(&event.client_address))));
        }
        parts.join(" · ")
    }

    /// `orders[0-2] 30 records, hr[0] denied (no grant), 5 more`.
    fn resources(&self, event: &Event) -> String {
        let groups = group(&event.resources);
        let mut texts: Vec<String> = groups
            .iter()
            .take(RESOURCES_SHOWN)
            .map(|resources| {
                let text = resource(resources);
                match resources.first() {
                    Some(first) if !first.allowed => {
                        let why =
                            if first.rule.is_empty() { String::new() } else { format!(" ({})", clean(&first.rule)) };
                        self.paint(Colour::Red, &format!("{text} denied{why}"))
                    }
                    _ => text,
                }
            })
            .collect();
        let more = groups.len().saturating_sub(RESOURCES_SHOWN);
        match (more, event.resources_cut) {
            (0, false) => {}
            (0, true) => texts.push("more, cut".to_owned()),
            (more, false) => texts.push(format!("{more} more")),
            (more, true) => texts.push(format!("{more} more and more, cut")),
        }
        texts.join(", ")
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colours { painted(colour, text) } else { text.to_owned() }
    }
}

/// The columns' texts, before they are shortened.
fn cells(entry: &Entry) -> [String; 5] {
    let Entry { shard, sequence, event } = entry;
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        millis(&time_text(event.time_micros)),
        format!("{shard}/{sequence}"),
        or_dash(clean(&event.principal)),
        if event.api.is_empty() { kind_name(event.kind).to_owned() } else { clean(&event.api) },
        or_dash(outcome_name(event.outcome).replace('_', " ")),
    ]
}

#[derive(Clone, Copy)]
enum Colour {
    None,
    Dim,
    Bold,
    Red,
    Green,
    Yellow,
    Magenta,
}

fn painted(colour: Colour, text: &str) -> String {
    let code = match colour {
        Colour::None => return text.to_owned(),
        Colour::Dim => "2",
        Colour::Bold => "1",
        Colour::Red => "31",
        Colour::Green => "32",
        Colour::Yellow => "33",
        Colour::Magenta => "35",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn outcome_colour(event: &Event) -> Colour {
    match Outcome::try_from(event.outcome) {
        Ok(Outcome::Allowed) => Colour::Green,
        Ok(Outcome::Denied | Outcome::Malformed) => Colour::Red,
        Ok(Outcome::PartlyDenied | Outcome::UpstreamFailed) => Colour::Yellow,
        Ok(Outcome::Unspecified) | Err(_) => Colour::Dim,
    }
}

/// Resources that differ only in the partition, in the order of their first appearance.
fn group(resources: &[ResourceUse]) -> Vec<Vec<&ResourceUse>> {
    let mut groups: Vec<Vec<&ResourceUse>> = Vec::new();
    for resource in resources {
        let same = |group: &&mut Vec<&ResourceUse>| {
            group.first().is_some_and(|first| {
                (&first.kind, &first.name, first.allowed) == (&resource.kind, &resource.name, resource.allowed)
                    && (first.allowed || first.rule == resource.rule)
            })
        };
        // A large entry has thousands of resources; looking at the latest groups keeps this linear.
        match groups.iter_mut().rev().take(16).find(same) {
            Some(group) => group.push(resource),
            None => groups.push(vec![resource]),
        }
    }
    groups
}

/// One group: name, partitions, offsets where one partition has them, records.
fn resource(group: &[&ResourceUse]) -> String {
    let Some(first) = group.first() else { return String::new() };
    let mut text = match first.kind.as_str() {
        "topic" => clean(&first.name),
        kind => format!("{} {}", clean(kind), clean(&first.name)),
    };
    let partitions: BTreeSet<i32> = group.iter().filter_map(|resource| resource.partition).collect();
    if !partitions.is_empty() {
        let _ = write!(text, "[{}]", ranges(&partitions));
    }
    let mut carrying =
        group.iter().filter(|resource| resource.first_offset.is_some() || resource.last_offset.is_some());
    if let (Some(one), None) = (carrying.next(), carrying.next()) {
        match (one.first_offset, one.last_offset) {
            (Some(first), Some(last)) if first != last => drop(write!(text, " {first}..{last}")),
            (Some(offset), _) | (None, Some(offset)) => drop(write!(text, " {offset}")),
            (None, None) => {}
        }
    }
    match group.iter().map(|resource| resource.records).fold(0, u64::saturating_add) {
        0 => {}
        1 => text.push_str(" 1 record"),
        records => drop(write!(text, " {records} records")),
    }
    text
}

/// `0-2,5`, at most [`PARTITIONS_SHOWN`] of them.
fn ranges(partitions: &BTreeSet<i32>) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for partition in partitions {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*partition) => *last = *partition,
            _ => ranges.push((*partition, *partition)),
        }
    }
    let mut texts: Vec<String> = ranges
        .iter()
        .take(PARTITIONS_SHOWN)
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    if ranges.len() > PARTITIONS_SHOWN {
        texts.push("…".to_owned());
    }
    texts.join(",")
}

/// `email×3 redacted, phone×1 seen`, summed over topics.
fn findings(findings: &[FindingCount]) -> String {
    let mut sums: Vec<(&str, &str, u64)> = Vec::new();
    for finding in findings {
        match sums.iter_mut().find(|(class, operator, _)| (*class, *operator) == (&finding.class, &finding.operator)) {
            Some((_, _, count)) => *count = count.saturating_add(finding.count),
            None => sums.push((&finding.class, &finding.operator, finding.count)),
        }
    }
    let texts: Vec<String> = sums
        .into_iter()
        .map(|(class, operator, count)| {
            let done = match operator {
                "redact" => "redacted".to_owned(),
                "replace" => "replaced".to_owned(),
                "keep_last" => "shortened".to_owned(),
                "none" | "" => "in clear".to_owned(),
                other => clean(other),
            };
            format!("{}×{count} {done}", clean(class))
        })
        .collect();
    texts.join(", ")
}

/// `by analysts-read for billing`: the grants that allowed, and their purposes.
fn why(resources: &[ResourceUse]) -> String {
    let allowed = || resources.iter().filter(|resource| resource.allowed);
    let distinct = |texts: BTreeSet<&str>| {
        texts.into_iter().filter(|text| !text.is_empty()).map(clean).collect::<Vec<_>>().join(", ")
    };
    let rules = distinct(allowed().map(|resource| resource.rule.as_str()).collect());
    let purposes = distinct(allowed().map(|resource| resource.purpose.as_str()).collect());
    match (rules.is_empty(), purposes.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("by {rules}"),
        (true, false) => format!("for {purposes}"),
        (false, false) => format!("by {rules} for {purposes}"),
    }
}

fn duration(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// A time without its last three digits: milliseconds are enough for people.
fn millis(time: &str) -> String {
    match time.strip_suffix('Z').and_then(|time| time.get(..time.len().saturating_sub(3))) {
        Some(time) => format!("{time}Z"),
        None => time.to_owned(),
    }
}

/// Control characters, and those that change the direction of text, as escapes.
fn clean(text: &str) -> String {
    let disturbing = |char: char| {
        char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(disturbing) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len() + 8), |mut cleaned, char| {
        if disturbing(char) {
            cleaned.extend(char.escape_unicode());
        } else {
            cleaned.push(char);
        }
        cleaned
    })
}

fn shorten(text: String, width_max: usize) -> String {
    if text.chars().count() <= width_max {
        return text;
    }
    text.chars().take(width_max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, partition: i32, allowed: bool) -> ResourceUse {
        ResourceUse {
            kind: "topic".into(),
            name: name.into(),
            partition: Some(partition),
            operation: "Read".into(),
            allowed,
            rule: if allowed { "analysts-read" } else { "no grant" }.into(),
            purpose: if allowed { "billing" } else { "" }.into(),
            ..ResourceUse::default()
        }
    }

    fn carrying(resource: ResourceUse, first: i64, last: i64) -> ResourceUse {
        ResourceUse {
            first_offset: Some(first),
            last_offset: Some(last),
            records: (last - first + 1) as u64,
            ..resource
        }
    }

    fn exchange(resources: Vec<ResourceUse>) -> Event {
        Event {
            time_micros: 1_700_000_000_123_456,
            kind: Kind::Exchange as i32,
            principal: "anna".into(),
            api: "Fetch".into(),
            outcome: Outcome::Allowed as i32,
            resources,
            latency_micros: 1234,
            ..Event::default()
        }
    }

    fn line(event: Event) -> String {
        Table::new(false).line(&Entry { shard: 0, sequence: 41, event })
    }

    #[test]
    fn lines() {
        let finding = |class: &str, operator: &str, count, topic: &str| FindingCount {
            class: class.into(),
            operator: operator.into(),
            count,
            topic: topic.into(),
            ..FindingCount::default()
        };
        let start = "2023-11-14T22:13:20.123Z  0/41       anna          Fetch             ";
        for (event, details) in [
            (exchange(vec![]), "allowed  1.2 ms"),
            (
                exchange(vec![carrying(topic("orders", 0, true), 100, 129)]),
                "allowed  orders[0] 100..129 30 records · by analysts-read for billing · 1.2 ms",
            ),
            (
                Event {
                    findings: vec![
                        finding("email", "redact", 3, "a"),
                        finding("email", "redact", 1, "b"),
                        finding("phone", "none", 2, "a"),
                    ],
                    upstream_errors: vec![29, 29, 777],
                    ..exchange(vec![carrying(topic("orders", 0, true), 7, 7)])
                },
                "allowed  orders[0] 7 1 record · email×4 redacted, phone×2 in clear · by analysts-read for billing \
                 · upstream 777, TOPIC_AUTHORIZATION_FAILED · 1.2 ms",
            ),
            (
                Event {
                    outcome: Outcome::PartlyDenied as i32,
                    ..exchange(vec![
                        carrying(topic("a", 1, true), 0, 4),
                        carrying(topic("a", 2, true), 0, 4),
                        topic("a", 5, true),
                        topic("hr", 0, false),
                    ])
                },
                "partly denied  a[1-2,5] 10 records, hr[0] denied (no grant) · by analysts-read for billing · 1.2 ms",
            ),
            (
                Event { resources_cut: true, ..exchange((0..7).map(|n| topic(&format!("t{n}"), 0, true)).collect()) },
                "allowed  t0[0], t1[0], t2[0], t3[0], 3 more and more, cut · by analysts-read for billing · 1.2 ms",
            ),
            (
                exchange(vec![ResourceUse {
                    kind: "group".into(),
                    name: "g1".into(),
                    allowed: true,
                    ..Default::default()
                }]),
                "allowed  group g1 · 1.2 ms",
            ),
        ] {
            assert_eq!(line(event), format!("{start}{details}"));
        }
    }

    #[test]
    fn what_is_no_exchange() {
        let event = Event {
            kind: Kind::AuthenticationFailure as i32,
            outcome: Outcome::Denied as i32,
            client_address: "10.0.0.1:99".into(),
            detail: "token expired".into(),
            ..Event::default()
        };
        let expected = "1970-01-01T00:00:00.000Z  0/41       -             authentication_failure  denied   token expired · from 10.0.0.1:99";
        assert_eq!(line(event), expected);
    }

    #[test]
    fn nobody_paints_on_the_terminal() {
        let event = Event {
            principal: "a\x1b[2Jb".into(),
            detail: "line\nline \u{202e}reversed".into(),
            ..exchange(vec![topic("t\x07", 0, false)])
        };
        let line = line(event);
        assert!(!line.contains(|char: char| char.is_control() || char == '\u{202e}'), "{line:?}");
        assert!(line.contains("a\\u{1b}[2Jb") && line.contains("line\\u{a}line \\u{202e}reversed"), "{line}");
    }

    #[test]
    fn columns_align_and_colours_do_not_count() {
        let mut plain = Table::new(false);
        let mut coloured = Table::new(true);
        let long = Event { principal: "p".repeat(40), ..exchange(vec![topic("t", 0, false)]) };
        for event in [long, exchange(vec![topic("t", 0, false)])] {
            let entry = Entry { shard: 3, sequence: u64::MAX, event };
            let line = plain.line(&entry);
            let api = line
                .chars()
                .collect::<Vec<_>>()
                .windows(5)
                .position(|window| window.iter().collect::<String>() == "Fetch");
            assert_eq!(api, Some(24 + 2 + 22 + 2 + 28 + 2), "{line}");
            let mut stripped = coloured.line(&entry);
            assert!(stripped.contains("\x1b[31mt[0] denied (no grant)\x1b[0m"));
            while let Some(start) = stripped.find('\x1b') {
                let end = start + stripped[start..].find('m').unwrap();
                stripped.replace_range(start..=end, "");
            }
            assert_eq!(stripped, line);
        }
        assert_eq!(plain.titles().find("API"), Some(80));
    }

    #[test]
    fn many_partitions_are_summarised() {
        assert_eq!(ranges(&(0..100).collect()), "0-99");
        assert_eq!(ranges(&(0..100).step_by(2).collect()), "0,2,4,6,8,10,…");
        assert_eq!(ranges(&[i32::MIN, i32::MAX].into()), "-2147483648,2147483647");
    }

    #[test]
    fn durations() {
        for (micros, text) in
            [(0, "0 µs"), (999, "999 µs"), (1000, "1.0 ms"), (999_999, "999.9 ms"), (61_500_000, "61.5 s")]
        {
            assert_eq!(duration(micros), text);
        }
    }
}
