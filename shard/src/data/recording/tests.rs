//! What may be kept: rules without a socket. Whole sessions are recorded in the gateway's tests.

use kafka_protocol::messages::ApiKey;
use tidegate_core::event::{FindingCount, Touched};

use super::*;
use crate::data::stage::Inspected;

fn found(operator: &str, class: &str, count: u64) -> FindingCount {
    let (operator, class, topic) = (operator.to_owned(), class.to_owned(), "orders".to_owned());
    FindingCount { operator, class, topic, count, ..FindingCount::default() }
}

fn draft(findings: &[FindingCount], unparseable: u64, refused: bool) -> Draft {
    let inspected = Inspected { unparseable, ..Inspected::default() };
    Draft { findings: findings.to_vec(), inspected, unparseable: refused, ..Draft::default() }
}

#[test]
fn contents_are_kept_where_nothing_found_passed_as_it_was() {
    for (findings, unparseable, refused, passed) in [
        (vec![], 0, false, false),
        (vec![found("redact", "email", 3)], 0, false, false),
        (vec![found("none", "email", 1)], 0, false, true),
        (vec![found("redact", "email", 3), found("none", "phone", 1)], 0, false, true),
        (vec![found("observe", "email", 3)], 0, false, true),
        (vec![found("observe", "email", 3), found("redact", "email", 3)], 0, false, false),
        (vec![found("observe", "email", 3), found("redact", "email", 2)], 0, false, true),
        (vec![found("observe", "email", 3), found("redact", "phone", 3)], 0, false, true),
        (vec![], 1, true, false),
        (vec![], 1, false, true),
    ] {
        assert_eq!(passed_unmasked(&draft(&findings, unparseable, refused)), passed, "{findings:?} {unparseable}");
    }
}

#[test]
fn bodies_with_credentials_are_never_kept() {
    let touched = |kind| Touched { kind, ..Touched::default() };
    let of = |kinds: &[&'static str]| Draft {
        resources: kinds.iter().map(|kind| touched(*kind)).collect(),
        ..Draft::default()
    };
    for (api, kinds, secret) in [
        (ApiKey::SaslAuthenticate, &[][..], true),
        (ApiKey::AlterUserScramCredentials, &["cluster"], true),
        (ApiKey::CreateDelegationToken, &["user"], true),
        (ApiKey::DescribeDelegationToken, &[], true),
        (ApiKey::IncrementalAlterConfigs, &["cluster"], true),
        (ApiKey::IncrementalAlterConfigs, &["topic", "cluster"], true),
        (ApiKey::IncrementalAlterConfigs, &["topic"], false),
        (ApiKey::AlterConfigs, &[], true),
        (ApiKey::Produce, &["topic"], false),
        (ApiKey::Metadata, &[], false),
    ] {
        assert_eq!(carries_credentials(api, &of(kinds)), secret, "{api:?} {kinds:?}");
    }
}
