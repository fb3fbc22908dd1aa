//! Every API: a policy, a request, and what becomes of it.

use kafka_protocol::messages::ApiKey;
use tidegate_core::api::{Handling, handling};

use super::family;

#[test]
fn every_inspected_api_is_decided_here_and_no_other() {
    for api in ApiKey::iter() {
        assert_eq!(family(api).is_some(), handling(api) == Some(Handling::Inspected), "{api:?}");
    }
}
