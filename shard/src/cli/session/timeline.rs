//! A recording as a timeline: what was asked, of what, what was decided, how long it took, and what records said.

use std::io::{self, Write};

use serde_json::{Value, json};
use tidegate_audit::json::{kafka_error_name, outcome_name, time_text};
use tidegate_audit::recording::format::{Exchange, LeftOut, RecordedMode};
use tidegate_core::event::ResourceUse;

use super::load::Recording;
use super::preview::{self, Partition, TopicNames};

/// One exchange, ready to be shown.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) at_micros: i64,
    /// Since the recording began.
    since_micros: i64,
    recording: String,
    shard: u32,
    exchange: Exchange,
    partitions: Vec<Partition>,
}

/// The moments of recordings, in the order of time, of which `search` is a part where it is given.
pub(super) fn moments(recordings: &[Recording], records: usize, search: Option<&str>) -> Vec<Moment> {
    let mut all = Vec::new();
    let begun = recordings.first().map_or(0, |one| one.header.started_micros);
    for recording in recordings {
        let mut names = TopicNames::default();
        recording.exchanges.iter().for_each(|exchange| names.learn(exchange));
        for exchange in &recording.exchanges {
            // Searched in all of its records, shown as many as were asked for.
            let most = if search.is_some() { usize::MAX } else { records };
            let mut moment = Moment {
                at_micros: exchange.started_micros,
                since_micros: exchange.started_micros - begun,
                recording: recording.id.to_string(),
                shard: recording.shard,
                exchange: exchange.clone(),
                partitions: preview::partitions(exchange, &names, most),
            };
            if search.is_some_and(|text| !moment.contains(text)) {
                continue;
            }
            moment.show_at_most(records);
            all.push(moment);
        }
    }
    all.sort_by_key(|moment| moment.at_micros);
    all
}

impl Moment {
    /// Whether its lines say this.
    pub(super) fn contains(&self, text: &str) -> bool {
        let mut lines = Vec::new();
        // Writing into memory cannot fail.
        let _ = self.write(&mut lines);
        String::from_utf8_lossy(&lines).to_lowercase().contains(&text.to_lowercase())
    }

    fn show_at_most(&mut self, records: usize) {
        for partition in &mut self.partitions {
            let cut = partition.records.len().saturating_sub(records);
            partition.records.truncate(records);
            partition.more += cut;
        }
    }

    /// Its lines.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let exchange = &self.exchange;
        let seconds = self.since_micros as f64 / 1e6;
        let outcome = outcome_name(exchange.outcome);
        let millis = exchange.latency_micros as f64 / 1e3;
        let sizes = format!("{} → {} bytes", exchange.request_bytes, exchange.response_bytes);
        let api = format!("{} v{}", exchange.api, exchange.api_version);
        let line = format!("{seconds:>+10.3} s  {api:<24} {outcome:<14} {millis:>8.1} ms  {sizes}");
        writeln!(out, "{}", clean(line.trim_end()))?;
        for touched in &exchange.resources {
            writeln!(out, "              {}", clean(&touched_line(touched)))?;
        }
        for found in &exchange.findings {
            let what = format!("{} × {} in {}: {}", found.count, found.class, found.topic, found.operator);
            writeln!(out, "              found {}", clean(&what))?;
        }
        for (which, left_out) in [("request", exchange.request_left_out), ("response", exchange.response_left_out)] {
            if let Some(words) = left_out_words(left_out) {
                writeln!(out, "              {which} {words}")?;
            }
        }
        if !exchange.upstream_errors.is_empty() {
            let names: Vec<String> = exchange.upstream_errors.iter().map(|code| error_name(*code)).collect();
            writeln!(out, "              the broker answered {}", names.join(", "))?;
        }
        if !exchange.detail.is_empty() {
            writeln!(out, "              {}", clean(&exchange.detail))?;
        }
        for part in &self.partitions {
            write_partition(part, out)?;
        }
        Ok(())
    }

    /// Its object.
    pub(super) fn json(&self) -> Value {
        let exchange = &self.exchange;
        let resource = |touched: &ResourceUse| {
            json!({
                "kind": touched.kind, "name": touched.name, "partition": touched.partition,
                "operation": touched.operation, "allowed": touched.allowed, "rule": touched.rule,
                "purpose": touched.purpose, "first_offset": touched.first_offset,
                "last_offset": touched.last_offset, "records": touched.records,
            })
        };
        let partition = |part: &Partition| {
            let records = part.records.iter().map(|record| {
                json!({ "offset": record.offset, "timestamp": record.timestamp_millis, "key": record.key,
                        "value": record.value })
            });
            json!({
                "topic": part.topic, "partition": part.partition, "error": error_name(i32::from(part.error)),
                "records": records.collect::<Vec<_>>(), "more": part.more, "unreadable": part.unreadable,
            })
        };
        let finding = |found: &tidegate_core::event::FindingCount| {
            json!({ "topic": found.topic, "class": found.class, "operator": found.operator, "count": found.count,
                    "rule": found.rule })
        };
        let words = |code: i32| left_out_words(code);
        json!({
            "recording": self.recording,
            "time": time_text(exchange.started_micros),
            "since_micros": self.since_micros,
            "api": exchange.api, "version": exchange.api_version, "client_id": exchange.client_id,
            "outcome": outcome_name(exchange.outcome),
            "latency_micros": exchange.latency_micros,
            "request_bytes": exchange.request_bytes, "response_bytes": exchange.response_bytes,
            "request_left_out": words(exchange.request_left_out),
            "response_left_out": words(exchange.response_left_out),
            "resources": exchange.resources.iter().map(resource).collect::<Vec<_>>(),
            "findings": exchange.findings.iter().map(finding).collect::<Vec<_>>(),
            "upstream_errors": exchange.upstream_errors.iter().map(|code| error_name(*code)).collect::<Vec<_>>(),
            "detail": exchange.detail,
            "partitions": self.partitions.iter().map(partition).collect::<Vec<_>>(),
            "entry": exchange.entry().map(|sequence| format!("{}/{sequence}", self.shard)),
        })
    }
}

fn left_out_words(code: i32) -> Option<&'static str> {
    match LeftOut::try_from(code) {
        Ok(LeftOut::No) => None,
        Ok(why) => Some(why.words()),
        Err(_) => Some("left out"),
    }
}

fn error_name(code: i32) -> String {
    match (code, kafka_error_name(code)) {
        (0, _) => "NONE".to_owned(),
        (_, Some(name)) => name.to_owned(),
        (code, None) => code.to_string(),
    }
}

fn touched_line(touched: &ResourceUse) -> String {
    let mut line = format!("{} {} {}", touched.operation, touched.kind, touched.name);
    if let Some(partition) = touched.partition {
        line.push_str(&format!("-{partition}"));
    }
    if let (Some(first), Some(last)) = (touched.first_offset, touched.last_offset) {
        line.push_str(&format!(", offsets {first} to {last}, {} records", touched.records));
    }
    let (verdict, rule) = if touched.allowed { ("allowed by", &touched.rule) } else { ("denied:", &touched.rule) };
    line.push_str(&format!("; {verdict} {rule}"));
    line
}

fn write_partition(part: &Partition, out: &mut impl Write) -> io::Result<()> {
    let place = format!("{}-{}", part.topic, part.partition);
    if part.error != 0 {
        writeln!(out, "              {} {}", clean(&place), error_name(i32::from(part.error)))?;
    }
    for record in &part.records {
        let key = record.key.as_deref().map(|key| format!(" {key} =")).unwrap_or_default();
        let value = record.value.as_deref().unwrap_or("null");
        writeln!(out, "              {}", clean(&format!("{place} #{}{key} {value}", record.offset)))?;
    }
    if part.more > 0 {
        writeln!(out, "              {} and {} more", clean(&place), part.more)?;
    }
    if let Some(why) = &part.unreadable {
        writeln!(out, "              {} cannot be read on: {}", clean(&place), clean(why))?;
    }
    Ok(())
}

/// What others wrote must not move a terminal's cursor.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Who, when, how much, in some lines.
pub(super) fn summary(recording: &Recording, out: &mut impl Write) -> io::Result<()> {
    let header = &recording.header;
    let mode = RecordedMode::try_from(header.mode).map_or("unknown", RecordedMode::name);
    writeln!(out, "recording {} of shard {}", recording.id, recording.shard)?;
    let who = format!("{} ({}), from {}", header.principal, header.issuer, header.client_address);
    writeln!(out, "  who       {}", clean(&who))?;
    writeln!(out, "  broker    {}", if header.broker < 0 { "any".to_owned() } else { header.broker.to_string() })?;
    writeln!(out, "  rule      {} ({mode})", clean(&header.rule))?;
    writeln!(out, "  began     {}", time_text(header.started_micros))?;
    let end = match (&recording.end, &recording.broken) {
        (Some(end), _) => {
            let what = if end.cut { "cut" } else { "ended" };
            format!("{} ({what}: {})", time_text(end.time_micros), end.reason)
        }
        (None, Some(broken)) => broken.clone(),
        (None, None) => "not yet: it is under way, or the gateway is down".to_owned(),
    };
    writeln!(out, "  ended     {}", clean(&end))?;
    if header.keep_until_micros > 0 {
        writeln!(out, "  kept      until {}", time_text(header.keep_until_micros))?;
    }
    if !header.recipients.is_empty() {
        let names: Vec<&str> = header.recipients.iter().map(|one| one.name.as_str()).collect();
        writeln!(out, "  sealed    for {}", clean(&names.join(", ")))?;
    }
    writeln!(out, "  exchanges {}", recording.exchanges.len())?;
    let (covered, uncovered) = recording.chunks;
    let state = if recording.findings.is_empty() { "as the evidence says" } else { "NOT as the evidence says" };
    let rest = if uncovered > 0 { format!(", {uncovered} not covered by it yet") } else { String::new() };
    writeln!(out, "  chunks    {covered} {state}{rest}")?;
    for (time, who) in &recording.watched {
        writeln!(out, "  watched   {} by {}", time_text(*time), clean(who))?;
    }
    writeln!(out)
}

/// The same as an object.
pub(super) fn summary_json(recording: &Recording) -> Value {
    let header = &recording.header;
    let watched = recording.watched.iter().map(|(time, who)| json!({ "time": time_text(*time), "who": who }));
    json!({
        "recording": recording.id.to_string(), "shard": recording.shard, "session": header.session,
        "principal": header.principal, "issuer": header.issuer, "groups": header.groups,
        "client_address": header.client_address, "broker": header.broker, "rule": header.rule,
        "mode": RecordedMode::try_from(header.mode).map_or("unknown", RecordedMode::name),
        "began": time_text(header.started_micros),
        "ended": recording.end.as_ref().map(|end| time_text(end.time_micros)),
        "cut": recording.end.as_ref().map(|end| end.cut),
        "reason": recording.end.as_ref().map(|end| &end.reason),
        "broken": recording.broken,
        "keep_until": (header.keep_until_micros > 0).then(|| time_text(header.keep_until_micros)),
        "sealed_for": header.recipients.iter().map(|one| &one.name).collect::<Vec<_>>(),
        "exchanges": recording.exchanges.len(),
        "chunks": recording.chunks.0, "chunks_uncovered": recording.chunks.1,
        "intact": recording.findings.is_empty(),
        "findings": recording.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "watched": watched.collect::<Vec<_>>(),
    })
}
