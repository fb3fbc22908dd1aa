//! An answer as a tree, read from its debug text, so that any two can be compared field by field
//! without a line of code per message.

use std::fmt;

/// Fields that differ between two answers for other reasons than authorisation.
const VOLATILE: [&str; 16] = [
    "throttle_time_ms",
    // Texts for people.
    "error_message",
    "message",
    // The gateway's addresses are its own.
    "host",
    "port",
    // Made anew by whoever answers.
    "member_id",
    "leader",
    "session_id",
    "producer_id",
    "client_instance_id",
    "subscription_id",
    "push_interval_ms",
    "total_bytes",
    "usable_bytes",
    "log_end_offset",
    "last_caught_up_timestamp",
];

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    Fields(Vec<(String, Answer)>),
    List(Vec<Answer>),
    Value(String),
}

impl Answer {
    /// Reads debug text. Lists are put in order, since a protocol's lists have none.
    pub(super) fn read(text: &str) -> Self {
        let mut rest = text;
        value(&mut rest)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                items.iter().try_for_each(|item| write!(f, "{item} "))?;
                f.write_str("]")
            }
            Self::Fields(fields) => {
                f.write_str("{")?;
                fields.iter().try_for_each(|(name, value)| write!(f, "{name}:{value} "))?;
                f.write_str("}")
            }
        }
    }
}

/// Where two answers differ, one line each.
pub(super) fn differences(broker: &Answer, gateway: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    compare("", broker, gateway, &mut found);
    found
}

fn compare(path: &str, a: &Answer, b: &Answer, found: &mut Vec<String>) {
    match (a, b) {
        (Answer::Fields(a), Answer::Fields(b)) if a.len() == b.len() => {
            for ((name, a), (_, b)) in a.iter().zip(b) {
                compare(&format!("{path}.{name}"), a, b, found);
            }
        }
        (Answer::List(a), Answer::List(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{index}]"), a, b, found);
            }
        }
        _ if a == b => {}
        _ => found.push(format!("{path}: {a} against {b}")),
    }
}

fn value(rest: &mut &str) -> Answer {
    *rest = rest.trim_start();
    if rest.starts_with('[') {
        return list(rest, '[', ']');
    }
    if rest.starts_with('"') || rest.starts_with("b\"") {
        return Answer::Value(quoted(rest));
    }
    let end = rest.find(|c: char| " ,(){}[]\"".contains(c)).unwrap_or(rest.len());
    let word = &rest[..end];
    *rest = &rest[end..];
    let opens = rest.trim_start();
    if opens.starts_with('{') {
        *rest = opens;
        return fields(rest);
    }
    if rest.starts_with('(') {
        let Answer::List(mut inner) = list(rest, '(', ')') else { unreachable!("a list") };
        // `Some(x)` and newtypes are what they hold.
        return if inner.len() == 1 { inner.remove(0) } else { Answer::List(inner) };
    }
    // Ids of the topics that a case knows were replaced by names; what is left was made by the request.
    let made = word.parse::<uuid::Uuid>().is_ok_and(|id| !id.is_nil());
    Answer::Value(if made { "an-id" } else { word }.to_owned())
}

fn list(rest: &mut &str, open: char, close: char) -> Answer {
    *rest = &rest[open.len_utf8()..];
    let mut items = Vec::new();
    loop {
        *rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix(close) {
            *rest = after;
            break;
        }
        assert!(!rest.is_empty(), "a list without an end");
        items.push(value(rest));
    }
    items.sort();
    Answer::List(items)
}

fn fields(rest: &mut &str) -> Answer {
    *rest = &rest[1..];
    let mut fields = Vec::new();
    loop {
        *rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            *rest = after;
            return Answer::Fields(fields);
        }
        let colon = rest.find(':').expect("a field's name");
        let name = rest[..colon].to_owned();
        *rest = &rest[colon + 1..];
        let value = value(rest);
        if !VOLATILE.contains(&name.as_str()) {
            fields.push((name, value));
        }
    }
}

fn quoted(rest: &mut &str) -> String {
    let start = rest.find('"').expect("a quote") + 1;
    let mut escaped = false;
    let length = rest[start..]
        .find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })
        .expect("a closing quote");
    let text = rest[start..start + length].to_owned();
    *rest = &rest[start + length + 1..];
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_in_what_matters_alone() {
        let text = |code: i32, time: i32, swapped: bool| {
            let (x, y) = (format!("P {{ index: 0, error_code: {code} }}"), "P { index: 1, error_code: 0 }".to_owned());
            let list = if swapped { format!("{y}, {x}") } else { format!("{x}, {y}") };
            format!(
                "R {{ throttle_time_ms: {time}, name: Some(TopicName(\"a \\\"b\")), list: [{list}], empty: {{}}, none: None, \
                 bytes: Some(b\"\\x01\") }}"
            )
        };
        let read = |code, time, swapped| Answer::read(&text(code, time, swapped));
        assert_eq!(differences(&read(29, 0, false), &read(29, 7, true)), Vec::<String>::new());
        assert_eq!(differences(&read(29, 0, false), &read(0, 0, false)), [".list[0].error_code: 29 against 0"]);
    }
}
