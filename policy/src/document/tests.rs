//! Documents of every sort of wrongness, hostile ones included.

use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use super::problem::PROBLEMS_MAX;
use super::*;
use crate::document::text::ByteSize;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    timeout: Option<text::Duration>,
    #[serde(default)]
    size: Option<ByteSize>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    children: Vec<Sample>,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Mode {
    /// Nothing to say.
    #[default]
    Plain,
    /// With a file.
    File {
        /// Which.
        path: String,
    },
}

fn problems(yaml: &str) -> Vec<String> {
    match parse::<Sample>(yaml, "f.yaml") {
        Ok(parsed) => panic!("accepted: {parsed:?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn check(yaml: &str, expected: &[&str]) {
    assert_eq!(problems(yaml), expected, "{yaml}");
}

#[test]
fn a_good_document_becomes_the_type() {
    let yaml = "---\n# c\nname: 'n'\nport: 0x1F\ntimeout: 1m30s\nsize: 2KiB\nmode: {type: file, path: p}\nlabels: {a.b: c, 1: \"2\"}\n";
    let sample = parse::<Sample>(yaml, "f.yaml").unwrap().value;
    assert_eq!((sample.name.as_str(), sample.port), ("n", 31));
    assert_eq!(sample.timeout.unwrap().0, Duration::from_secs(90));
    assert_eq!(sample.size, Some(ByteSize(2048)));
    assert_eq!(sample.mode, Mode::File { path: "p".into() });
    assert_eq!(sample.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["1=2", "a.b=c"]);
}

#[test]
fn problems_stand_where_they_are() {
    check("name: a\nprot: 1\n", &["f.yaml:2:1: prot: unknown key; did you mean `port`?"]);
    check(
        "name: a\nchildren:\n  - name: b\n    wholly_else: 1\n",
        &[
            "f.yaml:4:5: children[0].wholly_else: unknown key; known here: `children`, `count`, `labels`, `mode`, `name`, `port`, `size`, `timeout`",
        ],
    );
    check("name: a\nport: 65536\n", &["f.yaml:2:1: port: must be at most 65535"]);
    check("name: a\ncount: 4294967296\n", &["f.yaml:2:1: count: must be at most 4294967295"]);
    check("name: a\nport: -1\n", &["f.yaml:2:1: port: must be at least 0"]);
    check("name: a\nport: 1.5\n", &["f.yaml:2:1: port: expected a whole number, not a number"]);
    check("name: a\nport: '1'\n", &["f.yaml:2:1: port: expected a whole number, not the text `1`"]);
    check("name: yes\nport: {a: 1}\n", &["f.yaml:2:1: port: expected a whole number, not a map"]);
    check("name: true\n", &["f.yaml:1:1: name: expected a text, not true or false; put `true` in quotes"]);
    check("port: 1\n", &["f.yaml:1:1: the key `name` is missing"]);
    check("name: a\ntimeout: 5\n", &["f.yaml:2:1: timeout: expected a text, not a whole number; put `5` in quotes"]);
    check(
        "name: a\ntimeout: 5 minutes\n",
        &["f.yaml:2:1: timeout: `5 minutes` is not a duration such as `500ms`, `15m` or `1h30m`"],
    );
    check(
        "name: a\nlabels: {a.b: 1}\n",
        &["f.yaml:2:10: labels[\"a.b\"]: expected a text, not a whole number; put `1` in quotes"],
    );
    check("- a\n- b\n", &["f.yaml:1:1: expected a map, not a list"]);
    check(
        "name: a\nmode: {type: fil, path: p}\n",
        &["f.yaml:2:8: mode.type: `fil` is not one of `plain`, `file`; did you mean `file`?"],
    );
    check("name: a\nmode: {path: p}\n", &["f.yaml:2:1: mode: the key `type` is missing"]);
    check("name: a\nmode: {type: file}\n", &["f.yaml:2:1: mode: the key `path` is missing"]);
}

#[test]
fn what_yaml_has_beyond_json_is_refused() {
    check("", &["f.yaml:1:1: the file is empty"]);
    check("# only a comment\n", &["f.yaml:1:1: the file is empty"]);
    check("name: a\nport: 1\nname: b\n", &["f.yaml:3:1: name: this key is given twice"]);
    check("name: a\nchildren: [{name: a, name: b}]\n", &["f.yaml:2:22: children[0].name: this key is given twice"]);
    check("name: a\n---\nname: b\n", &["f.yaml:2:1: a second document begins here; only one is read"]);
    check(
        "name: &x a\n",
        &["f.yaml:1:7: name: anchors (`&name`) are not accepted; write the value out where it is used"],
    );
    check("name: !secret a\n", &["f.yaml:1:7: name: tags (`!name`) are not accepted"]);
    check("name: a\n? [b]\n: c\n", &["f.yaml:2:3: a key must be a text"]);
    check(
        "name: .nan\n",
        &[
            "f.yaml:1:1: name: a value is missing; expected a text",
            "f.yaml:1:7: name: not a finite number; to mean the text, quote it",
        ],
    );
    assert!(problems("name: 'a\n")[0].contains("not valid YAML"));
    assert!(problems("name: *x\n")[0].contains("f.yaml:1:"));
    assert!(problems("name: a\n\tport: 1\n")[0].contains("found a tab"));
}

#[test]
fn problems_of_syntax_structure_and_meaning_come_in_one_report() {
    let yaml = "name: a\nname: b\nprot: 1\nport: 7\n";
    let report = load::<Sample, ()>(yaml, "f.yaml", |sample| {
        assert_eq!(sample.value.port, 7);
        Err(vec![sample.problem("port", "seven is not liked"), sample.problem("children[3].name", "nor this")])
    });
    let report: Vec<String> = report.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        report,
        [
            "f.yaml:1:1: children[3].name: nor this",
            "f.yaml:2:1: name: this key is given twice",
            "f.yaml:3:1: prot: unknown key; did you mean `port`?",
            "f.yaml:4:1: port: seven is not liked",
        ]
    );
}

/// The time a hostile document may take in a debug build on a busy machine; what it guards against
/// takes minutes or all memory.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn hostile_documents_are_refused_quickly() {
    let laughs = (0..30).fold(String::from("a0: &a0 [x]\n"), |text, level| {
        text + &format!("a{}: &a{} [*a{level}, *a{level}, *a{level}, *a{level}]\n", level + 1, level + 1)
    });
    let documents = [
        ("billion laughs", laughs, "anchors"),
        ("deep flow lists", "[".repeat(1_000_000), "recursion limit exceeded"),
        ("deep flow maps", "{a: ".repeat(500_000), "recursion limit exceeded"),
        ("deep block lists", "- ".repeat(500_000), "nested more than 32 deep"),
        ("deep question marks", "? ".repeat(500_000), "a key must be a text"),
        ("huge", "a".repeat(DOCUMENT_BYTES_MAX + 1), "at most 4194304 are read"),
        ("many values", format!("[{}]", "1,".repeat(1_000_000)), "more than 200000 values"),
        ("many wrong keys", (0..20_000).map(|n| format!("k{n}: 1\n")).collect(), "unknown key"),
        ("one long key", format!("{}: 1\nname: a\n", "k".repeat(1_000_000)), "not valid YAML"),
        ("one long name", format!("name: [{}]\n", "k".repeat(1_000_000)), "expected a text"),
        ("control characters", "name: \"\0\u{1}\u{7f}\"\0".to_owned(), "f.yaml:1"),
    ];
    for (what, text, expected) in documents {
        let started = clock();
        let found = problems(&text);
        assert!(started.elapsed() < REFUSED_WITHIN, "{what} took {:?}", started.elapsed());
        assert!(found.iter().any(|problem| problem.contains(expected)), "{what}: {:.300}", found[0]);
        assert!(found.len() <= PROBLEMS_MAX + 1, "{what}");
        assert!(found.iter().all(|problem| problem.len() < 2000 || what == "one long key"), "{what}");
    }
}

#[allow(clippy::disallowed_methods, reason = "a test measures")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn a_flood_of_problems_is_cut_and_says_so() {
    let many: String = (0..PROBLEMS_MAX + 5).map(|n| format!("k{n}: 1\n")).collect();
    let found = problems(&format!("name: a\n{many}"));
    assert_eq!(found.len(), PROBLEMS_MAX + 1);
    assert_eq!(found.last().unwrap(), "f.yaml:1:1: 5 more problems are not shown");
}

#[test]
fn the_schema_is_closed_and_bounds_integers() {
    let schema = schema::<Sample>();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["port"]["maximum"], 65535);
    assert_eq!(schema["properties"]["count"]["maximum"], u32::MAX);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["$defs"]["Duration"]["format"], "tidegate-duration");
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "[a-z:\\-\\[\\]{}&*!?|>'\"#%@,. \\n\\t~0-9é\u{0}]{0,200}") {
        let _ = parse::<Sample>(&text, "f.yaml");
    }
}
