//! The table against the decoder, and bodies that lie about their lengths.

use kafka_protocol::messages::*;

use super::*;
use crate::api;

/// Numbers from a seed (xorshift64*), below a bound.
fn draws(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % below
    }
}

struct Compare {
    names: Vec<&'static str>,
}

impl VisitMessage for Compare {
    fn visit<T: Body>(&mut self, name: &'static str) {
        let layout = T::layout();
        assert_eq!(layout.versions(), T::VERSIONS.min..=T::VERSIONS.max, "{name}");
        assert!(layout.memory_bytes() >= size_of::<T>(), "{name}: {} < {}", layout.memory_bytes(), size_of::<T>());
        for version in layout.versions() {
            for seed in 0..40 {
                let body = Bytes::from(layout.sample(version, &mut draws(seed)).unwrap());
                let walked = layout.walk(&body, version, usize::MAX);
                assert_eq!(walked.map(|walked| walked.left), Ok(0), "{name} v{version}: {body:?}");
                let mut rest = body.clone();
                T::decode(&mut rest, version).unwrap_or_else(|e| panic!("{name} v{version}: {e}: {body:?}"));
                assert!(rest.is_empty(), "{name} v{version}: {} bytes are left of {body:?}", rest.len());
            }
        }
        self.names.push(name);
    }
}

#[test]
fn the_table_agrees_with_the_decoder_in_every_version_and_has_every_api_served() {
    let mut compare = Compare { names: Vec::new() };
    each_message(&mut compare);
    for api in ApiKey::iter().filter(|api| api::handling(*api).is_some()) {
        for kind in ["Request", "Response"] {
            let name = format!("{api:?}{kind}");
            assert!(compare.names.contains(&name.as_str()), "{name} is missing");
        }
    }
}

#[test]
fn counts_beyond_the_body_are_refused_before_room_is_made() {
    let check = |version, body: &[u8], expected| {
        let body = Bytes::copy_from_slice(body);
        assert_eq!(decode_request::<MetadataRequest>(&body, version, 1000), Err(expected), "v{version}: {body:?}");
    };
    check(1, &i32::MAX.to_be_bytes(), DecodeError::Count { count: 0x7fff_ffff, remaining: 0 });
    check(1, &[0, 0, 0, 2, 0, 0, 0], DecodeError::Count { count: 2, remaining: 3 });
    check(9, &[0xff, 0xff, 0xff, 0xff, 0x0f], DecodeError::Count { count: 0xffff_fffe, remaining: 0 });
    check(9, &[0xff, 0xff, 0xff, 0xff, 0xff, 0], DecodeError::Varint);
    check(12, &[3, 0, 0, 0], DecodeError::Count { count: 2, remaining: 3 });
    check(12, &[], DecodeError::Truncated);
    check(14, &[], DecodeError::Version(14));
    check(-1, &[], DecodeError::Version(-1));
}

#[test]
fn what_decodes_to_too_much_memory_is_refused() {
    // Two bytes an item here, 56 in memory.
    let count = 3_000_000u32;
    let mut body = Vec::new();
    layout::put_varint(&mut body, count + 1);
    body.resize(body.len() + 2 * count as usize, 1);
    body.push(0);
    let body = Bytes::from(body);
    let expected = DecodeError::Memory { bytes_max: REQUEST_DECODED_BYTES_MAX };
    assert_eq!(decode_request::<DescribeTopicPartitionsRequest>(&body, 0, usize::MAX), Err(expected));
}

#[test]
fn plain_numbers_may_look_like_lengths() {
    let request = HeartbeatRequest::default().with_generation_id(i32::MAX);
    for version in 0..=4 {
        let body = encode(&request, version).unwrap();
        assert_eq!(decode_request(&body, version, 1000), Ok(request.clone()), "v{version}");
    }
}

#[test]
fn bytes_behind_a_message_are_let_be() {
    let mut body = encode(&HeartbeatRequest::default(), 4).unwrap().to_vec();
    body.extend([0, 0]);
    assert!(decode_request::<HeartbeatRequest>(&Bytes::from(body), 4, 1000).is_ok(), "brokers let such bytes be");
    let mut body = encode(&HeartbeatResponse::default(), 4).unwrap().to_vec();
    body.push(0);
    assert_eq!(decode_response(&Bytes::from(body), 4), Ok(HeartbeatResponse::default()));
}

#[test]
fn requests_are_bounded_and_share_their_bytes() {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(&[7; 100]));
    let body = encode(&request, 2).unwrap();
    let expected = DecodeError::TooLong { bytes: body.len(), bytes_max: 50 };
    assert_eq!(decode_request::<SaslAuthenticateRequest>(&body, 2, 50), Err(expected));
    let decoded: SaslAuthenticateRequest = decode_request(&body, 2, body.len()).unwrap();
    assert_eq!(decoded, request);
    assert!(body.as_ptr_range().contains(&decoded.auth_bytes.as_ptr()), "the bytes were copied");
}
