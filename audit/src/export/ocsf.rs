//! An entry as an event of the Open Cybersecurity Schema Framework, version 1.8.
//!
//! Records read and written are Datastore Activity, other exchanges and calls of the admin API are API Activity,
//! logins are Authentication, decisions of the control log are Entity Management, the gateway's own start and stop
//! are Application Lifecycle. The whole entry stands in `unmapped`, so that nothing is lost by mapping.

use serde_json::{Value, json};
use tidegate_core::event::{Event, Kind, Outcome};

use crate::json::{event_json, kind_name, outcome_name};
use crate::tail::Entry;

/// The schema's version.
pub const OCSF_VERSION: &str = "1.8.0";

/// Class, its category and the activity's number and name.
struct Class {
    category: u32,
    class: u32,
    activity: u32,
    name: &'static str,
}

const OTHER: u32 = 99;

fn class(event: &Event) -> Class {
    let of = |category, class, activity, name| Class { category, class: category * 1000 + class, activity, name };
    match Kind::try_from(event.kind) {
        Ok(Kind::Exchange) => match event.api.as_str() {
            "Fetch" | "ShareFetch" => of(6, 5, 1, "Read"),
            "Produce" => of(6, 5, 5, "Write"),
            api if api.starts_with("Create") => of(6, 3, 1, "Create"),
            api if api.starts_with("Delete") => of(6, 3, 4, "Delete"),
            api if ["Alter", "Incremental", "Update"].iter().any(|word| api.starts_with(word)) => of(6, 3, 3, "Update"),
            api if ["Describe", "List", "Metadata", "Find", "OffsetFetch"].iter().any(|word| api.starts_with(word)) => {
                of(6, 3, 2, "Read")
            }
            _ => of(6, 3, OTHER, "Other"),
        },
        Ok(Kind::SessionStart | Kind::AuthenticationFailure) => of(3, 2, 1, "Logon"),
        Ok(Kind::SessionEnd) => of(3, 2, 2, "Logoff"),
        Ok(Kind::TokenIssued | Kind::TokenRefused | Kind::TokenRevoked | Kind::DeviceAgreed) => {
            of(3, 2, OTHER, "Other")
        }
        Ok(Kind::Control) => of(3, 4, OTHER, "Other"),
        Ok(Kind::Start) => of(6, 2, 3, "Start"),
        Ok(Kind::Stop) => of(6, 2, 4, "Stop"),
        _ => of(6, 3, OTHER, "Other"),
    }
}

/// An entry as an OCSF event. `origin` is the gateway's name.
#[must_use]
pub fn ocsf(entry: &Entry, origin: &str) -> Value {
    let Entry { shard, sequence, event } = entry;
    let class = class(event);
    let failed = matches!(
        Outcome::try_from(event.outcome),
        Ok(Outcome::Denied | Outcome::Malformed | Outcome::UpstreamFailed | Outcome::PartlyDenied)
    ) || event.kind == Kind::AuthenticationFailure as i32;
    let denied = matches!(Outcome::try_from(event.outcome), Ok(Outcome::Denied | Outcome::PartlyDenied))
        || event.kind == Kind::AuthenticationFailure as i32;
    let mut out = json!({
        "activity_id": class.activity,
        "activity_name": class.name,
        "category_uid": class.category,
        "class_uid": class.class,
        "type_uid": u64::from(class.class) * 100 + u64::from(class.activity),
        "time": event.time_micros.div_euclid(1000),
        "severity_id": if failed { 3 } else { 1 },
        "severity": if failed { "Medium" } else { "Informational" },
        "status_id": if failed { 2 } else { 1 },
        "status": if failed { "Failure" } else { "Success" },
        "action_id": if denied { 2 } else { 1 },
        "disposition_id": if denied { 2 } else { 1 },
        "metadata": {
            "version": OCSF_VERSION,
            "uid": format!("{origin}/{shard:03}/{sequence}"),
            "sequence": sequence,
            "event_code": kind_name(event.kind),
            "log_name": format!("{origin}/shard-{shard:03}"),
            "product": {
                "name": "Tidegate", "vendor_name": "Tidegate", "version": env!("CARGO_PKG_VERSION"),
            },
            "profiles": ["security_control", "data_classification"],
        },
        "unmapped": event_json(event, *shard, *sequence),
    });
    if !event.findings.is_empty()
        && let Some(Value::Object(metadata)) = out.get_mut("metadata")
    {
        metadata.insert("data_classifications".to_owned(), json!([classification(event)]));
    }
    let Value::Object(fields) = &mut out else { return out };
    if !event.detail.is_empty() {
        fields.insert("message".to_owned(), json!(event.detail));
    }
    if failed {
        let told = [event.detail.as_str(), outcome_name(event.outcome), kind_name(event.kind)];
        let detail = told.into_iter().find(|text| !text.is_empty());
        fields.insert("status_detail".to_owned(), json!(detail));
    }
    match class.class {
        3002 => {
            fields.insert("user".to_owned(), user(event));
            fields.insert("service".to_owned(), json!({ "name": origin }));
            fields.insert("is_remote".to_owned(), json!(true));
            if !event.session.is_empty() {
                fields.insert("session".to_owned(), session(event));
            }
        }
        3004 => {
            let name = if event.approval.is_empty() { "control log" } else { &event.approval };
            fields.insert("entity".to_owned(), json!({ "name": name, "type": "approval" }));
            fields.insert("actor".to_owned(), actor(event, origin));
        }
        6002 => {
            fields.insert("app".to_owned(), json!({ "name": "Tidegate", "vendor_name": "Tidegate" }));
        }
        6005 => {
            fields.insert("actor".to_owned(), actor(event, origin));
            fields.insert("table".to_owned(), table(event));
            fields.insert("type_id".to_owned(), json!(3));
        }
        _ => {
            fields.insert("actor".to_owned(), actor(event, origin));
            let operation = if event.api.is_empty() { kind_name(event.kind) } else { &event.api };
            fields
                .insert("api".to_owned(), json!({ "operation": operation, "version": event.api_version.to_string() }));
            fields.insert("resources".to_owned(), json!(resources(event)));
        }
    }
    // What the gateway does by itself has no other end.
    if class.class != 6002 {
        fields.insert("src_endpoint".to_owned(), endpoint(&event.client_address, origin));
    }
    out
}

fn user(event: &Event) -> Value {
    let name = if event.principal.is_empty() { "unknown" } else { &event.principal };
    let mut user = json!({ "name": name, "type_id": 0 });
    if let Value::Object(fields) = &mut user {
        if !event.subject.is_empty() {
            fields.insert("uid".to_owned(), json!(event.subject));
        }
        if !event.issuer.is_empty() {
            fields.insert("domain".to_owned(), json!(event.issuer));
        }
        if !event.groups.is_empty() {
            let groups: Vec<Value> = event.groups.iter().map(|name| json!({ "name": name })).collect();
            fields.insert("groups".to_owned(), json!(groups));
        }
    }
    user
}

/// Who did it: the principal, or the gateway itself.
fn actor(event: &Event, origin: &str) -> Value {
    if event.principal.is_empty() {
        return json!({ "app_name": "Tidegate", "app_uid": origin });
    }
    let mut actor = json!({ "user": user(event) });
    if let Value::Object(fields) = &mut actor {
        if !event.client_id.is_empty() {
            fields.insert("app_name".to_owned(), json!(event.client_id));
        }
        if !event.session.is_empty() {
            fields.insert("session".to_owned(), session(event));
        }
    }
    actor
}

fn session(event: &Event) -> Value {
    json!({ "uid": event.session })
}

/// `ip:port` as an endpoint; the gateway where the client has none.
fn endpoint(address: &str, origin: &str) -> Value {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => json!({ "ip": address.ip().to_string(), "port": address.port() }),
        Err(_) if address.is_empty() => json!({ "name": origin }),
        Err(_) => json!({ "name": address }),
    }
}

/// The topics as one table: a batch of topics has all their names.
fn table(event: &Event) -> Value {
    let mut names: Vec<&str> = event.resources.iter().map(|resource| resource.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let name = if names.is_empty() { "unknown".to_owned() } else { names.join(",") };
    json!({ "name": name })
}

/// What was found in the records: counts by class, never the data.
fn classification(event: &Event) -> Value {
    let details: Vec<Value> = event
        .findings
        .iter()
        .map(|finding| json!({ "type": finding.class, "count": finding.count, "value": finding.operator }))
        .collect();
    json!({
        "category": "Personal", "category_id": 1,
        "classifier_details": { "name": "Tidegate", "type": "scanner" },
        "discovery_details": details,
    })
}

fn resources(event: &Event) -> Vec<Value> {
    let resource = |resource: &tidegate_core::event::ResourceUse| {
        json!({
            "name": if resource.name.is_empty() { "unknown" } else { &resource.name },
            "type": resource.kind,
            "data": { "operation": resource.operation, "allowed": resource.allowed, "rule": resource.rule },
        })
    };
    event.resources.iter().map(resource).collect()
}
