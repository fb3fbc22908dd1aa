//! Two answers compared field by field, for any message: both are read from their debug text into trees, so that no
//! line of code is needed per message. List items are found by what names them, not by their place.

/// Fields that differ between two brokers, or two times, for reasons of their own.
const VOLATILE: [&str; 33] = [
    "throttle_time_ms",
    // Where brokers are and which is which.
    "host",
    "port",
    "rack",
    "brokers",
    "node_endpoints",
    "coordinators",
    "node_id",
    "leader_id",
    "leader",
    "controller_id",
    "cluster_id",
    "replica_nodes",
    "isr_nodes",
    "current_leader",
    "preferred_read_replica",
    // Handed out anew.
    "member_id",
    "session_id",
    "producer_id",
    "producer_epoch",
    "topic_id",
    "client_instance_id",
    "subscription_id",
    "push_interval_ms",
    "unknown_tagged_fields",
    // Of the moment.
    "leader_epoch",
    "generation_id",
    "member_epoch",
    "log_append_time_ms",
    "total_bytes",
    "usable_bytes",
    "acquisition_lock_timeout_ms",
    // Texts for people; the code beside them counts.
    "error_message",
];
/// What names a list's item, the first that it has.
const NAMES: [&str; 9] = [
    "name",
    "topic",
    "topic_name",
    "partition_index",
    "partition",
    "group_id",
    "transactional_id",
    "key",
    "resource_name",
];
/// The deepest that messages go, and some more.
const DEPTH_MAX: u32 = 40;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Fields(Vec<(String, Part)>),
    List(Vec<Part>),
    Value(String),
}

/// Where two debug texts of the same message differ, a sentence each.
pub(super) fn differences(recorded: &str, now: &str) -> Vec<String> {
    let (Some(recorded), Some(now)) = (read(recorded), read(now)) else {
        return vec!["the answers cannot be compared".to_owned()];
    };
    let mut found = Vec::new();
    compare("", &recorded, &now, &mut found);
    found
}

fn compare(path: &str, recorded: &Part, now: &Part, found: &mut Vec<String>) {
    match (recorded, now) {
        (Part::Fields(recorded), Part::Fields(now)) => {
            for (name, value) in recorded.iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str())) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match now.iter().find(|(other, _)| other == name) {
                    Some((_, other)) => compare(&path, value, other, found),
                    None => found.push(format!("{path}: is not there any more")),
                }
            }
        }
        (Part::List(recorded), Part::List(now)) => lists(path, recorded, now, found),
        _ if recorded == now => {}
        _ => found.push(format!("{path}: was {}, is {}", shown(recorded), shown(now))),
    }
}

fn lists(path: &str, recorded: &[Part], now: &[Part], found: &mut Vec<String>) {
    let named: Option<Vec<(String, &Part)>> = recorded.iter().map(|item| Some((name_of(item)?, item))).collect();
    let Some(named) = named.filter(|named| !named.is_empty() || !now.is_empty()) else {
        let (mut was, mut is) = (recorded.to_vec(), now.to_vec());
        was.sort();
        is.sort();
        if was.len() == is.len() && was.iter().any(|item| matches!(item, Part::Fields(_))) {
            for (index, (was, is)) in was.iter().zip(&is).enumerate() {
                compare(&format!("{path}[{index}]"), was, is, found);
            }
        } else if was != is {
            found.push(format!("{path}: was {}, is {}", shown(&Part::List(was)), shown(&Part::List(is))));
        }
        return;
    };
    for (name, item) in &named {
        let other = now.iter().find(|other| name_of(other).as_ref() == Some(name));
        match other {
            Some(other) => compare(&format!("{path}[{name}]"), item, other, found),
            None => found.push(format!("{path}[{name}]: is not there any more")),
        }
    }
    for other in now {
        if let Some(name) = name_of(other).filter(|name| !named.iter().any(|(known, _)| known == name)) {
            found.push(format!("{path}[{name}]: is new"));
        }
    }
}

fn name_of(item: &Part) -> Option<String> {
    let Part::Fields(fields) = item else { return None };
    let value = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    NAMES.iter().find_map(|name| match value(name) {
        Some(Part::Value(text)) if !matches!(text.as_str(), "" | "None") => Some(text.clone()),
        _ => None,
    })
}

fn shown(part: &Part) -> String {
    let text = match part {
        Part::Value(text) if text.is_empty() => "empty".to_owned(),
        Part::Value(text) => text.clone(),
        Part::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Part::Fields(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {}", shown(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
    };
    if text.chars().count() > 200 { format!("{}…", text.chars().take(200).collect::<String>()) } else { text }
}

fn read(text: &str) -> Option<Part> {
    let mut rest = text;
    value(&mut rest, DEPTH_MAX)
}

fn value(rest: &mut &str, depth: u32) -> Option<Part> {
    let depth = depth.checked_sub(1)?;
    *rest = rest.trim_start();
    if rest.starts_with('[') {
        return list(rest, ']', depth);
    }
    if rest.starts_with('"') || rest.starts_with("b\"") {
        return quoted(rest).map(Part::Value);
    }
    let end = rest.find(|c: char| " ,(){}[]\"".contains(c)).unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    *rest = behind;
    let opens = rest.trim_start();
    if opens.starts_with('{') {
        *rest = opens;
        return fields(rest, depth);
    }
    if rest.starts_with('(') {
        let Part::List(mut inner) = list(rest, ')', depth)? else { return None };
        // `Some(x)` and newtypes are what they hold.
        return if inner.len() == 1 { inner.pop() } else { Some(Part::List(inner)) };
    }
    Some(Part::Value(word.to_owned()))
}

fn list(rest: &mut &str, close: char, depth: u32) -> Option<Part> {
    *rest = rest.get(1..)?;
    let mut items = Vec::new();
    loop {
        *rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix(close) {
            *rest = after;
            return Some(Part::List(items));
        }
        let before = rest.len();
        items.push(value(rest, depth)?);
        (rest.len() < before).then_some(())?;
    }
}

fn fields(rest: &mut &str, depth: u32) -> Option<Part> {
    *rest = rest.get(1..)?;
    let mut fields = Vec::new();
    loop {
        *rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            *rest = after;
            return Some(Part::Fields(fields));
        }
        let (name, behind) = rest.split_once(':')?;
        *rest = behind;
        fields.push((name.to_owned(), value(rest, depth)?));
    }
}

fn quoted(rest: &mut &str) -> Option<String> {
    let (_, inner) = rest.split_once('"')?;
    let mut escaped = false;
    let length = inner.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    *rest = inner.get(length + 1..)?;
    inner.get(..length).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_by_name_and_what_differs_by_nature_is_not() {
        let text = |code: i32, time: i32, swapped: bool, more: &str| {
            let (x, y) = (
                format!("P {{ index: 0, partition: 0, error_code: {code} }}"),
                "P { index: 1, partition: 1, error_code: 0 }",
            );
            let list = if swapped { format!("{y}, {x}") } else { format!("{x}, {y}") };
            format!(
                "R {{ throttle_time_ms: {time}, name: Some(TopicName(\"a \\\"b\")), topics: [T {{ name: \"t\", list: [{list}{more}] }}], \
                 ids: [3, 1], empty: {{}}, none: None, bytes: Some(b\"\\x01\") }}"
            )
        };
        let first = text(29, 0, false, "");
        assert_eq!(differences(&first, &text(29, 7, true, "")), Vec::<String>::new());
        assert_eq!(differences(&first, &text(0, 0, false, "")), ["topics[t].list[0].error_code: was 29, is 0"]);
        assert_eq!(
            differences(&first, &text(29, 0, false, ", P { index: 2, partition: 2, error_code: 0 }")),
            ["topics[t].list[2]: is new"]
        );
        assert_eq!(
            differences(&text(29, 0, false, ", P { index: 2, partition: 2, error_code: 0 }"), &first),
            ["topics[t].list[2]: is not there any more"]
        );
        assert_eq!(differences("R { ids: [1, 2] }", "R { ids: [2, 1] }"), Vec::<String>::new());
        assert_eq!(differences("R { ids: [1, 2] }", "R { ids: [2] }"), ["ids: was [1, 2], is [2]"]);
        for odd in ["", "R {", "[[", "R { a }", "\"", "R { a: \"b }"] {
            let _ = differences(odd, odd);
        }
        let deep = "[".repeat(10_000);
        assert_eq!(differences(&deep, &deep), ["the answers cannot be compared"]);
    }
}
