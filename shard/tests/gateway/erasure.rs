//! A person's data erased in a real broker, by a plan that another approved: what is in the plan, who may not run it, what
//! it changes and what it leaves, and its story in the evidence.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;
use tidegate_core::batch::build::BatchBuilder;
use tidegate_core::batch::{Inspect, Record, RecordEdit, inspect};
use tidegate_core::limits::Limits;

use crate::admin::Person;
use crate::gateway::{Door, Gateway, Setup, tidegate};
use crate::idp::Idp;
use crate::kafka::Kafka;
use crate::process::{Finished, until};
use crate::records::{fetch, produce};

const COMPACTED: &str = "erase-compacted";
const AGES: &str = "erase-ages";
const NOW: &str = "erase-now";

const POLICY: &str = "
version: 1
grants:
  - name: intake
    purpose: Taking orders
    principals: [walter]
    resources: [{topic: {prefix: erase-}}]
    operations: [write]
  - name: erasers
    purpose: Erasing on request
    groups: [erasers]
    resources: [{topic: {prefix: erase-}}]
    operations: [read, write, delete, describe_configs]
masks:
  - {name: mails, topics: [{prefix: erase-}], everyone: true, directions: [fetch, produce], mode: observe, classes: [email], operator: redact}
holds:
  - {name: erasures, everyone: true, operations: [erase], topics: [{prefix: erase-}], approvers: {groups: [owners]}}
roles:
  auditor: {groups: [erasers]}
";

/// Key and value of every record that is left, by offset.
type Left = Vec<(i64, Option<String>, Option<String>)>;

#[derive(Default)]
struct Reader(Left);

impl Inspect for Reader {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        self.0.push((record.offset, text(record.key), text(record.value)));
        None
    }
}

/// What the broker has of a topic, and its first offset.
fn left(topic: &str, from: i64) -> (i64, Left) {
    let mut request = fetch(&[topic]);
    request.topics[0].partitions[0].fetch_offset = from;
    let answer = Kafka::shared().control().ask(12, &request);
    let partition = &answer.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0, "{topic}");
    let mut reader = Reader::default();
    inspect(partition.records.as_ref().unwrap(), &Limits::default(), &mut reader).unwrap();
    // A batch is sent whole; clients pass over what stands before the offset that they asked for.
    reader.0.retain(|(offset, ..)| *offset >= from);
    (partition.log_start_offset, reader.0)
}

fn write(gateway: &Gateway, topic: &str, records: &[(Option<&str>, &str)]) {
    let mut batch = BatchBuilder::new(0);
    batch.base_timestamp_millis = jiff::Timestamp::now().as_millisecond();
    for (key, value) in records {
        batch = batch.record(key.map(str::as_bytes), Some(value.as_bytes()));
    }
    let answer = gateway.connect_as("walter", &[]).ask(11, &produce(&[topic], batch.build().unwrap()));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{topic}");
}

fn compact(topic: &str) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config = AlterableConfig::default().with_name(text("cleanup.policy")).with_value(Some(text("compact")));
    let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text(topic));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource.with_configs(vec![config])]);
    assert_eq!(Kafka::shared().control().ask(1, &request).responses[0].error_code, 0);
}

struct Scene {
    gateway: Gateway,
    token_file: PathBuf,
    plan: PathBuf,
}

impl Scene {
    fn start() -> Self {
        for topic in [COMPACTED, AGES, NOW] {
            Kafka::shared().create_topic(topic, 1, 1);
        }
        compact(COMPACTED);
        let gateway = Setup::new(Kafka::shared(), POLICY).start();
        let token_file = gateway.folder().join("dora.token");
        std::fs::write(&token_file, Idp::shared().token("dora", &["erasers"])).unwrap();
        let plan = gateway.folder().join("plan.json");
        Self { gateway, token_file, plan }
    }

    fn plan(&self, path: &Path, more: &[&str]) -> Finished {
        let (bootstrap, url) = (self.gateway.bootstrap(Door::Plain), self.gateway.control_url());
        let folder = self.gateway.evidence_folder();
        let words = ["erase", "plan", "ann@example.com", folder.to_str().unwrap(), "--bootstrap", &bootstrap];
        let how = ["--gateway", &url, "--token-file", self.token_file.to_str().unwrap(), "--why", "ticket 1"];
        tidegate(&[&words[..], &how, &["--out", path.to_str().unwrap()], more].concat())
    }

    fn run(&self, token_file: &Path, approval: &str, more: &[&str]) -> Finished {
        let (bootstrap, url) = (self.gateway.bootstrap(Door::Plain), self.gateway.control_url());
        let words = ["erase", "run", self.plan.to_str().unwrap(), "--approval", approval, "--bootstrap", &bootstrap];
        let how = ["--server", &url, "--token-file", token_file.to_str().unwrap()];
        tidegate(&[&words[..], &how, more].concat())
    }

    fn execute(&self, approval: &str) -> Finished {
        self.run(&self.token_file, approval, &["--execute"])
    }
}

#[test]
fn a_person_is_erased_by_a_plan_that_another_approved_once_and_the_evidence_tells_it() {
    let scene = Scene::start();
    let (ann, bob) = (r#"{"email":"ann@example.com"}"#, r#"{"email":"bob@example.com"}"#);
    write(&scene.gateway, COMPACTED, &[(Some("k-ann"), ann), (Some("k-bob"), bob), (Some("k-ann"), ann)]);
    write(&scene.gateway, AGES, &[(None, ann), (None, bob)]);
    write(&scene.gateway, NOW, &[(None, bob), (None, ann), (None, bob)]);

    // The plan says what is to be done to each topic, and whose data it is only to those who have the secrets.
    let said = scene.plan(&scene.plan, &["--delete-records", NOW]).success();
    let text = std::fs::read_to_string(&scene.plan).unwrap();
    let plan: Value = serde_json::from_str(&text).unwrap();
    let steps: Vec<String> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| format!("{} {} {} {}", step["do"], step["topic"], step["offset"], step["before"]).replace('"', ""))
        .collect();
    assert_eq!(
        steps,
        [
            "wait erase-ages null null",
            "tombstone erase-compacted 0 null",
            "tombstone erase-compacted 2 null",
            "delete_records erase-now null 2",
            "shred null null null",
        ],
        "{said}"
    );
    assert!(!text.contains("ann@example.com") && plan["subject"][0].as_str().unwrap().starts_with("1:email:"));
    assert!(text.contains("604800000 ms after") && text.contains("1 of them are this subject's"), "{text}");
    assert!(scene.plan(&scene.plan, &[]).failure().contains("not replaced"));
    let other = scene.gateway.folder().join("other.json");
    assert!(scene.plan(&other, &["--delete-records", "erase-elsewhere"]).failure().contains("nothing of this person"));

    // Nothing happens unless it is told to, approved by another, and by who asked.
    let shown = scene.run(&scene.token_file, "ap-none", &[]).success();
    assert!(shown.contains("nothing is changed") && shown.contains("its key of 5 bytes"), "{shown}");
    assert!(scene.execute("ap-none").failure().contains("there is no erasure"));
    let url = scene.gateway.control_url();
    let ask = ["erase", "ask", scene.plan.to_str().unwrap(), "--reason", "Art. 17, ticket 1", "--server", &url];
    let asked =
        tidegate(&[&ask[..], &["--token-file", scene.token_file.to_str().unwrap(), "--output", "json"]].concat());
    let asked: Value = serde_json::from_str(&asked.success()).unwrap();
    let approval = asked["id"].as_str().unwrap();
    assert!(asked["summary"].as_str().unwrap().contains("sha256:"), "{asked}");
    let dora = Person::new(&scene.gateway, "dora", &["erasers", "owners"]);
    let own = dora.run(&["approval", "approve", approval, "--reason", "me"]).failure();
    assert!(own.contains("Nobody approves his own"), "{own}");
    assert!(scene.execute(approval).failure().contains("pending"));
    let owner = Person::new(&scene.gateway, "olga", &["owners"]);
    let seen = owner.json(&["approval", "show", approval]);
    assert_eq!(seen["operation"]["resources"].as_array().unwrap().len(), 2, "{seen}");
    owner.json(&["approval", "approve", approval, "--reason", "checked with the owner"]);
    let mallory = scene.gateway.folder().join("mallory.token");
    std::fs::write(&mallory, Idp::shared().token("mallory", &["erasers"])).unwrap();
    assert!(scene.run(&mallory, approval, &["--execute"]).failure().contains("there is no erasure"));
    std::fs::write(&scene.plan, text.replace("\"before\": 2", "\"before\": 3")).unwrap();
    assert!(scene.execute(approval).failure().contains("another plan"));
    std::fs::write(&scene.plan, &text).unwrap();
    assert_eq!((left(COMPACTED, 0).1.len(), left(NOW, 0).1.len()), (3, 3), "nothing has happened yet");

    // Then it happens, once, and goes on where it was cut off.
    let done = scene.execute(approval).success();
    assert!(done.contains("tombstone at offset 3") && done.contains("the first offset is 2"), "{done}");
    let compacted = left(COMPACTED, 0).1;
    assert_eq!(compacted[3..], [(3, Some("k-ann".to_owned()), None)], "one tombstone for both records of the key");
    assert_eq!(left(NOW, 2), (2, vec![(2, None, Some(bob.to_owned()))]), "others' later records stay");
    assert_eq!(left(AGES, 0).1.len(), 2, "what is waited for is not touched");
    let again = scene.execute(approval).success();
    assert_eq!(again.matches("in an earlier run").count(), 5, "{again}");
    let journal = scene.plan.with_extension("json.run");
    let lines = std::fs::read_to_string(&journal).unwrap();
    let cut: Vec<&str> = lines.lines().take(4).collect();
    std::fs::write(&journal, format!("{}\n{{\"step\":4,", cut.join("\n"))).unwrap();
    let resumed = scene.execute(approval).success();
    assert_eq!(resumed.matches("in an earlier run").count(), 3, "{resumed}");
    assert_eq!(left(COMPACTED, 0).1.len(), 4, "nothing was written twice");
    std::fs::remove_file(&journal).unwrap();
    assert!(scene.execute(approval).failure().contains("begun by another run"));

    // All of it is one story.
    let folder = scene.gateway.evidence_folder();
    let parts = [
        "dora",
        "olga",
        "checked with the owner",
        "sha256:",
        "used",
        "step 2 of 5: tombstone for the key of erase-compacted-0@0: tombstone at offset 3",
        "step 4 of 5: delete all records of erase-now-0 before offset 2: deleted",
    ];
    // A call of the admin API is in the evidence a moment after its answer.
    until("the whole story", Duration::from_secs(20), || {
        let story = tidegate(&["audit", "show", approval, folder.to_str().unwrap()]).success();
        parts.iter().all(|part| story.contains(part)).then_some(())
    });
    let entries = scene.gateway.evidence();
    let by_dora =
        |api: &str| entries.iter().any(|e| e["api"] == api && e["principal"] == "dora" && e["outcome"] == "allowed");
    assert!(by_dora("Produce") && by_dora("DeleteRecords"), "and what was done at Kafka has its own entries");
}
