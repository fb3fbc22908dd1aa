//! Every API: a policy, a request, and what becomes of it.
//!
//! [`table`] has a row for every API with the rights that it needs and the error for lacking each;
//! [`partial`] has requests of which a part is refused; [`responses`] what is filtered out of and
//! rewritten in responses; [`hostile`] bytes that nobody should send. [`gate`] is the bench.

use kafka_protocol::messages::ApiKey;
use tidegate_core::api::{Handling, handling};

use super::family;

mod gate;
mod hostile;
mod partial;
mod responses;
mod table;

#[test]
fn every_inspected_api_is_decided_here_and_no_other() {
    for api in ApiKey::iter() {
        assert_eq!(family(api).is_some(), handling(api) == Some(Handling::Inspected), "{api:?}");
    }
}
