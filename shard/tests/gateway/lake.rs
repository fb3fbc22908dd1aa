//! Evidence in the engine of an analyst: what `audit/PARQUET.md` prints runs in DuckDB, on what a gateway wrote.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dependencies;
use crate::gateway::{Gateway, Setup, TIMEOUT, tidegate};
use crate::kafka::Kafka;
use crate::process::{guarded, run, until};
use crate::records::{batch, fetch, produce};

const POLICY: &str = "
version: 1
grants:
  - name: lake
    purpose: Asking an engine
    groups: [analysts]
    resources: [{topic: lake-orders}]
    operations: [read, write]
masks:
  - name: contacts
    topics: [lake-orders]
    everyone: true
    classes: [email]
    operator: redact
";

const PAGE: &str = include_str!("../../../audit/PARQUET.md");
/// Runs statements on one connection; rows as JSON.
const SCRIPT: &str = "
import duckdb, json, sys
connection = duckdb.connect()
for statement in json.load(sys.stdin):
    rows = connection.execute(statement)
    names = [column[0] for column in rows.description]
    print(json.dumps([dict(zip(names, row)) for row in rows.fetchall()], default=str))
";

fn duckdb(statements: &[String]) -> Vec<Vec<Value>> {
    let mut command = guarded(dependencies::python());
    command.args(["-c", SCRIPT]);
    let done = run(command, &json!(statements).to_string(), Duration::from_secs(60)).success();
    done.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The statements of the page's section on DuckDB, on this folder.
fn statements(lake: &Path) -> Vec<String> {
    let section = PAGE.split("\n## DuckDB\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.map(|block| block.replace("DIR", lake.to_str().unwrap())).collect()
}

fn read_and_write(gateway: &Gateway) {
    let mut alice = gateway.connect_as("alice", &["analysts"]);
    alice.ask(11, &produce(&["lake-orders"], batch(&["ask anna@example.com", "and ben@example.com", "nobody"])));
    alice.ask(12, &fetch(&["lake-orders"]));
}

#[test]
fn the_queries_of_the_page_run_in_duckdb() {
    let kafka = Kafka::shared();
    kafka.create_topic("lake-orders", 1, 1);
    let evidence = ", segment_age_max: 300ms".to_owned();
    let gateway = Setup { shards: 2, evidence, ..Setup::new(kafka, POLICY) }.start();
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let (dir, to) = (gateway.evidence_folder(), lake.to_str().unwrap().to_owned());
    let export = || tidegate(&["audit", "export", "--format", "parquet", "--to", &to, dir.to_str().unwrap()]).success();
    let files = || {
        let days = std::fs::read_dir(&lake).into_iter().flatten().map(|day| day.unwrap().path());
        let days = days.filter(|day| day.file_name().unwrap().to_str().unwrap().starts_with("date="));
        days.map(|day| std::fs::read_dir(day).unwrap().count()).sum::<usize>()
    };
    // While the gateway runs, as segments are sealed.
    read_and_write(&gateway);
    until("a segment is exported", TIMEOUT, || {
        read_and_write(&gateway);
        export();
        (files() >= 2).then_some(())
    });
    let entries = gateway.evidence();
    // What is sealed and exported of each shard, by its cursor.
    let cursor = || -> Value {
        serde_json::from_slice(&std::fs::read(lake.join("_tidegate/gateway-under-test.cursor")).unwrap()).unwrap()
    };
    let is_in = |cursor: &Value, entry: &Value| {
        cursor[entry["shard"].to_string()].as_u64().is_some_and(|next| entry["sequence"].as_u64().unwrap() < next)
    };
    until("all of it is sealed and exported", TIMEOUT, || {
        export();
        let cursor = cursor();
        entries.iter().all(|entry| is_in(&cursor, entry)).then_some(())
    });
    gateway.process().signal("TERM");
    assert!(gateway.process().wait(TIMEOUT).success());
    export();
    assert_eq!(export(), "", "nothing is new");

    // All of it, by another way of reading.
    let cursor = cursor();
    let entries: Vec<Value> = gateway.evidence().into_iter().filter(|entry| is_in(&cursor, entry)).collect();
    let reads = || entries.iter().filter(|entry| entry["api"] == "Fetch");
    let found: u64 =
        reads().flat_map(|entry| entry["findings"].as_array()).flatten().map(|f| f["count"].as_u64().unwrap()).sum();
    let count = format!("SELECT count(*) AS rows, sum(len(resources)) AS resources FROM '{to}/date=*/*.parquet'");
    let answers = duckdb(&[&[count][..], &statements(&lake)].concat());
    let resources: usize = entries.iter().map(|entry| entry["resources"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(answers[0], [json!({"rows": entries.len(), "resources": resources})]);
    let given = &answers[1];
    assert_eq!(given.len(), 1, "{given:?}");
    assert_eq!(
        (&given[0]["principal"], &given[0]["topic"], &given[0]["class"], &given[0]["operator"], &given[0]["findings"]),
        (&json!("alice"), &json!("lake-orders"), &json!("email"), &json!("redact"), &json!(found))
    );
    assert_eq!(given[0]["purposes"], json!(["Asking an engine"]));
    assert!(found >= 2, "{found}");
    assert_eq!(answers[2], Vec::<Value>::new(), "no gap, nothing twice");
}
