//! Seconds of load through a real gateway, with everything that a profile can ask for, judged by the
//! oracle; and an oracle that is not asleep.

use std::path::Path;
use std::time::Duration as Time;

use tidegate_loadtest::profile::{CodecName, Profile, Sasl, Verify};
use tidegate_loadtest::result::RunResult;
use tidegate_loadtest::run::run;
use tidegate_loadtest::stage::{Stage, StageOptions};
use tidegate_loadtest::target::Target;
use tidegate_policy::document::text::{ByteSize, Duration};

fn profile() -> Profile {
    let mut profile = Profile {
        warm_up: Duration(Time::from_millis(200)),
        duration: Duration(Time::from_millis(1500)),
        producers: 2,
        consumers: 2,
        partitions: 4,
        depth: 2,
        verify: Verify::All,
        ..Profile::default()
    };
    profile.record.personal_data_percent = 20.0;
    profile
}

fn stage(profile: &Profile, options: StageOptions) -> Stage {
    // Both the load test and the gateway's control thread look for it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let gateway = Path::new(env!("CARGO_BIN_EXE_tidegate-loadtest")).to_owned();
    Stage::start(profile, &StageOptions { tidegate: Some(gateway), ..options }).unwrap()
}

#[track_caller]
fn judged(stage: &mut Stage, profile: &Profile, target: &Target) -> RunResult {
    let mut result = run(profile, target).unwrap();
    stage.judge(&mut result).unwrap();
    assert_eq!(result.errors.total(), 0, "{:?}", result.errors);
    result
}

#[track_caller]
fn assert_right(result: &RunResult) {
    let verdict = result.oracle.as_ref().unwrap();
    assert!(verdict.holds(), "{:#?}", verdict.violations);
    assert!(verdict.checked.values().all(|count| *count > 0), "{:#?}", verdict.checked);
    assert!(result.produce.requests > 0 && result.fetch.requests > 0, "{result:#?}");
    assert!(result.produce.latency.count > 0 && result.fetch.latency.p50_us > 0.0);
}

#[test]
fn prepared_batches_and_a_closed_loop() {
    let profile = profile();
    let mut stage = stage(&profile, StageOptions::default());
    let target = stage.gateway();
    let result = judged(&mut stage, &profile, &target);
    assert_right(&result);
    let gateway = result.process("gateway").unwrap();
    assert!(gateway.cpu_seconds() > 0.0 && gateway.resident_bytes > 0);

    // The same stage can run again, through a gateway that was drained and started anew.
    stage.restart_gateway().unwrap();
    let target = stage.gateway();
    assert_right(&judged(&mut stage, &profile, &target));

    // What an oracle is for: data in clear, batches that are lost, exchanges without an entry.
    let unmasked = Target { masked: true, ..stage.direct() };
    let mut result = judged(&mut stage, &profile, &unmasked);
    let verdict = result.oracle.take().unwrap();
    assert!(verdict.violations.iter().any(|sentence| sentence.contains("stands in clear")), "{verdict:#?}");

    let mut result = run(&profile, &target).unwrap();
    result.sent.values_mut().next().unwrap().acknowledged += 1;
    result.exchanges.fetch += 1000;
    stage.judge(&mut result).unwrap();
    let violations = result.oracle.unwrap().violations;
    assert!(violations.iter().any(|sentence| sentence.contains("are lost")), "{violations:#?}");
    assert!(violations.iter().any(|sentence| sentence.contains("the evidence has")), "{violations:#?}");
    assert_eq!(violations.len(), 2, "{violations:#?}");
}

#[test]
fn what_was_produced_is_read_back_over_tls_in_an_open_loop_with_everything_beside() {
    let mut profile = Profile {
        requests_per_second: Some(60),
        tls: true,
        sasl: Sasl::Plain,
        topics: 2,
        idle: 3,
        slow_readers: 1,
        groups: 1,
        sessions_per_second: 10,
        admin_per_second: 3,
        duration: Duration(Time::from_millis(2500)),
        ..profile()
    };
    profile.batch.codec = CodecName::Lz4;
    let options =
        StageOptions { brokers: 2, keep: Some(ByteSize(8 << 20)), upstream_tls: true, ..StageOptions::default() };
    let mut stage = stage(&profile, options);
    let target = stage.gateway();
    let result = judged(&mut stage, &profile, &target);
    assert_right(&result);
    assert!(result.sessions.requests > 0 && result.admin.requests > 0, "{result:#?}");
    assert!(result.send_lag.count > 0);
}
