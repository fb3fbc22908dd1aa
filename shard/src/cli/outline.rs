//! Where the values of a JSON document stand, by path, for commands that show findings to people.

use std::borrow::Cow;
use std::ops::Range;

use tidegate_policy::mask::schema::ValueAt;

/// Values of one document; the others have no path.
const VALUES_MAX: usize = 1 << 20;

/// The values of a document; `None` where it is none.
pub(super) fn of_json(bytes: &[u8]) -> Option<Vec<ValueAt>> {
    // So that what follows need not look for mistakes.
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).ok()?;
    let mut outline = Outline { bytes, at: 0, path: "$".to_owned(), values: Vec::new() };
    outline.value();
    Some(outline.values)
}

/// The value that `span` stands in; `values` are in order.
pub(super) fn value_at<'v>(values: &'v [ValueAt], span: &Range<usize>) -> Option<&'v ValueAt> {
    let after = values.partition_point(|value| value.span.start <= span.start);
    values.get(after.checked_sub(1)?).filter(|value| span.start < value.span.end)
}

/// A path with a member's name added.
pub(super) fn member(path: &mut String, name: &str) {
    if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        path.push('.');
        path.push_str(name);
    } else {
        path.push_str(&format!("['{name}']"));
    }
}

struct Outline<'a> {
    bytes: &'a [u8],
    at: usize,
    path: String,
    values: Vec<ValueAt>,
}

impl Outline<'_> {
    /// Reads a value. It nests as deep as serde_json lets it.
    fn value(&mut self) {
        self.spaces();
        let start = self.at;
        match self.bytes.get(self.at) {
            Some(b'{') => self.items(b'}', |outline, _| {
                outline.spaces();
                let start = outline.at;
                outline.string();
                let name = outline.bytes.get(start..outline.at).unwrap_or_default();
                let name = serde_json::from_slice::<Cow<'_, str>>(name).unwrap_or_default();
                member(&mut outline.path, &name);
                outline.spaces();
                // The colon.
                outline.at += 1;
                outline.value();
            }),
            Some(b'[') => self.items(b']', |outline, index| {
                outline.path.push_str(&format!("[{index}]"));
                outline.value();
            }),
            Some(b'"') => {
                self.string();
                self.push(start + 1..self.at - 1);
            }
            _ => {
                while self.bytes.get(self.at).is_some_and(|byte| !b",]} \t\r\n".contains(byte)) {
                    self.at += 1;
                }
                self.push(start..self.at);
            }
        }
    }

    fn items(&mut self, end: u8, mut item: impl FnMut(&mut Self, usize)) {
        self.at += 1;
        for index in 0.. {
            self.spaces();
            match self.bytes.get(self.at) {
                Some(byte) if *byte == end => break,
                Some(b',') => self.at += 1,
                Some(_) => {}
                None => return,
            }
            let before = self.path.len();
            item(self, index);
            self.path.truncate(before);
        }
        self.at += 1;
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                return;
            }
        }
    }

    fn spaces(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn push(&mut self, span: Range<usize>) {
        if self.values.len() < VALUES_MAX {
            let text = String::from_utf8_lossy(self.bytes.get(span.clone()).unwrap_or_default()).into_owned();
            self.values.push(ValueAt { path: self.path.clone(), span, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_paths() {
        let text = r#" {"a" : [1, {"b c":"x\"}y"}, [], {}], "d\u0065":null , "":true} "#;
        let values = of_json(text.as_bytes()).unwrap();
        let shown: Vec<String> = values.iter().map(|value| format!("{} {}", value.path, value.text)).collect();
        assert_eq!(shown, ["$.a[0] 1", "$.a[1]['b c'] x\\\"}y", "$.de null", "$[''] true"]);
        let at = |what: &str| text.find(what).map(|start| start..start + what.len()).unwrap();
        assert_eq!(value_at(&values, &at("}y")).unwrap().path, "$.a[1]['b c']");
        assert_eq!(value_at(&values, &at("true")).unwrap().path, "$['']");
        assert_eq!(value_at(&values, &at("\"a\"")), None);
        assert_eq!(of_json(b"{"), None);
        assert_eq!(of_json(b"7").unwrap()[0].path, "$");
    }
}
