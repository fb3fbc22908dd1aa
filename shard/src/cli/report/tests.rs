//! Reports against evidence that is made here and a policy that declares some of it.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    report: Report,
}

const POLICY: &str = r#"
version: 1
grants:
  - name: readers
    purpose: planning
    groups: [analysts]
    resources: [{topic: orders}]
    operations: [read]
  - name: last-year
    purpose: audit
    principals: [old]
    resources: [{topic: {prefix: or}}]
    operations: [all]
    not_after: 2020-01-01T00:00:00Z
masks:
  - name: mails
    topics: [orders]
    everyone: true
    except: {principals: [carol]}
    classes: [email]
    operator: redact
processing:
  controller: {name: Shop Ltd, contact: privacy@shop.example}
  dpo: {name: Dana}
  activities:
    - name: Order planning
      purposes: [planning]
      topics: [orders]
      classes: [iban]
      recipients: [{name: Analysts, groups: [analysts], country: DE}]
      transfers: [{country: US, safeguard: standard contractual clauses}]
"#;

fn output(line: &str) -> (u8, serde_json::Value) {
    let root = crate::cli::audit_subject::tests::evidence();
    let policy = root.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let line = line.replace("POLICY", policy.to_str().unwrap());
    let mut words: Vec<&str> = ["report"].into_iter().chain(line.split_whitespace()).collect();
    let dir = root.path().to_str().unwrap();
    words.extend([dir, "--format", "json"]);
    let report = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).report;
    let mut out = Vec::new();
    let code = run(&report, &mut out, &mut Vec::new()).unwrap();
    (code, serde_json::from_slice(&out).unwrap())
}

#[test]
fn the_record_shows_what_differs() {
    let (code, record) = output("article-30 --policy POLICY");
    assert_eq!((code, &record["declared"]["controller"]), (0, &"Shop Ltd, privacy@shop.example".into()));
    let drift: Vec<&str> = record["drift"].as_array().unwrap().iter().map(|d| d["what"].as_str().unwrap()).collect();
    assert_eq!(drift, ["email in orders"]);
    assert_eq!(output("article-30 --policy POLICY --fail-on-drift --form processor").0, 1);
}

#[test]
fn a_breach_counts_people_and_names_readers() {
    let (_, facts) = output("breach --topic orders");
    assert_eq!((&facts["subjects_by_class"]["email"], &facts["records_read"]), (&2.into(), &9.into()));
    assert_eq!(facts["access"].as_array().unwrap().len(), 4);
    assert_eq!(output("breach --topic other").1["records_read"], 0);
    assert_eq!(output("breach --principal eve").1["access"].as_array().unwrap().len(), 1);
}

#[test]
fn access_says_who_may_read_now_and_in_which_form() {
    let (_, report) = output("access --policy POLICY");
    let status: Vec<&str> =
        report["grants"].as_array().unwrap().iter().map(|g| g["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["in force", "ended"]);
    let rights = report["rights"].as_array().unwrap();
    let of = |who: &str| rights.iter().find(|right| right["principal"] == who).unwrap();
    assert_eq!(of("bob")["masked"], serde_json::json!(["email (redact)"]));
    assert_eq!(of("carol")["in_clear"], serde_json::json!(["email (none)"]));
    assert_eq!(of("bob")["grant"], "readers");
}

#[test]
fn a_persons_answer_names_nobody() {
    let (_, answer) = output("subject alice@example.com --offline --report subject");
    assert_eq!(answer["recipients"], serde_json::json!([{ "category": "analysts", "count": 2 }]));
    assert!(!answer.to_string().contains("carol"));
}
