//! Bytes that are no message: an error each, no panic, and no memory for counts that lie.

use proptest::prelude::*;

use super::fetch::fetch;
use super::*;

const APIS: [(ApiKey, std::ops::RangeInclusive<i16>); 3] =
    [(ApiKey::Produce, 3..=13), (ApiKey::Fetch, 4..=18), (ApiKey::ShareFetch, 1..=1)];

fn raw(api: ApiKey, version: i16, body: &[u8]) -> Request {
    let frame = header::request_frame(7, api, version, "test", body);
    Request { header: RequestHeader::parse(&frame).unwrap(), frame }
}

#[test]
fn an_array_that_claims_billions_reserves_nothing() {
    // Produce v3: null transactional id, acks, timeout, then 2^31 - 1 topics.
    let body = [&[0xff, 0xff, 0, 1, 0, 0, 0, 0][..], &i32::MAX.to_be_bytes()].concat();
    let error = World::new().try_ask(&raw(ApiKey::Produce, 3, &body), &mut Draft::default()).err().unwrap();
    assert!(error.to_string().contains("claims 2147483647 items"), "{error}");
    // Produce v9: the same as a varint.
    let body = [0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07];
    let error = World::new().try_ask(&raw(ApiKey::Produce, 9, &body), &mut Draft::default()).err().unwrap();
    assert!(error.to_string().contains("items"), "{error}");
}

#[test]
fn a_message_of_millions_of_items_is_refused_before_it_is_decoded() {
    // Produce v3: null transactional id, acks, timeout, then topics without a name or partitions.
    let count = 1_000_001;
    let mut body = [&[0xff, 0xff, 0, 1, 0, 0, 0, 0][..], &(count as i32).to_be_bytes()].concat();
    body.resize(body.len() + count * 6, 0);
    let error = World::new().try_ask(&raw(ApiKey::Produce, 3, &body), &mut Draft::default()).err().unwrap();
    assert!(error.to_string().contains("bytes of memory"), "{error}");
}

#[test]
fn a_request_cut_at_every_byte_is_an_error() {
    for version in [4, 11, 12, 18] {
        let whole = encoded(&fetch(version, &[("orders", 0), ("secret", 1)]), version);
        for cut in 0..whole.len() {
            let request = raw(ApiKey::Fetch, version, &whole[..cut]);
            let verdict = World::new().try_ask(&request, &mut Draft::default());
            assert!(matches!(verdict, Err(StageError::Request { .. })), "v{version} cut at {cut}");
        }
    }
}

#[test]
fn a_response_cut_at_every_byte_is_the_upstreams_fault() {
    for version in [4, 11, 12, 18] {
        let sent = fetch(version, &[("orders", 0)]);
        let whole = encoded(&super::fetch::broker(&sent, &batch(&[PLAIN])), version);
        for cut in 0..whole.len() {
            let mut world = World::new();
            let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &sent);
            let result = world.try_respond(asked.responder(), whole.slice(..cut), &mut draft);
            assert!(matches!(result, Err(StageError::Response { .. })), "v{version} cut at {cut}");
        }
    }
}

#[test]
fn other_apis_are_not_this_stages() {
    let error = World::new().try_ask(&raw(ApiKey::Metadata, 12, &[]), &mut Draft::default()).err().unwrap();
    assert!(matches!(error, StageError::Request { api: ApiKey::Metadata, .. }));
}

proptest! {
    #[test]
    fn random_bodies_never_panic(
        (api, version) in (0..APIS.len()).prop_flat_map(|at| (Just(APIS[at].0), APIS[at].1.clone())),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = World::new().try_ask(&raw(api, version, &body), &mut Draft::default());
    }

    #[test]
    fn damaged_requests_and_responses_never_panic(
        version in 4i16..=18,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let sent = fetch(version, &[("orders", 0), ("shop.a", 1), ("secret", 1)]);
        let spoil = |whole: &Bytes| {
            let mut bytes = whole.to_vec();
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Bytes::from(bytes)
        };
        let request = raw(ApiKey::Fetch, version, &spoil(&encoded(&sent, version)));
        let _ = World::new().try_ask(&request, &mut Draft::default());

        let mut world = World::new();
        let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &sent);
        let body = spoil(&encoded(&super::fetch::broker(&sent, &batch(&[PERSONAL, PLAIN])), version));
        let _ = world.try_respond(asked.responder(), body, &mut draft);
    }
}
