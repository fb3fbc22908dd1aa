//! Every target over a seeded stream of inputs: good ones, these cut short and mutated, and noise.
//! What libFuzzer finds in hours is not found here; that a target still holds is.

use kafka_protocol::messages::{ApiKey, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use prost::Message;
use tidegate_core::batch::Codec;
use tidegate_core::batch::build::{BatchBuilder, OwnedRecord};
use tidegate_core::decode::encode;
use tidegate_core::event::Event;

use super::*;

/// Cuts and mutations of each good input, and inputs of noise.
const CUTS_MAX: usize = 100;
const MUTATIONS: usize = 100;
const NOISE: usize = 200;

/// Numbers from a seed (xorshift64*), below a bound.
fn draws(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % below.max(1)
    }
}

fn mutated(seed: &[u8], draw: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    const EXTREMES: [&[u8]; 5] =
        [&[0x7f, 0xff, 0xff, 0xff], &[0xff; 4], &[0; 4], &[0xff, 0xff, 0xff, 0xff, 0x0f], b"\n"];
    let mut bytes = seed.to_vec();
    for _ in 0..=draw(3) {
        let at = draw(bytes.len() + 1);
        let extreme = EXTREMES[draw(EXTREMES.len())];
        match draw(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, draw(256) as u8),
            2 => drop(bytes.splice(at..at, extreme.iter().copied())),
            3 if at + extreme.len() <= bytes.len() => bytes[at..at + extreme.len()].copy_from_slice(extreme),
            4 => bytes.extend_from_within(at..),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << draw(8);
                }
            }
        }
    }
    bytes
}

fn run(name: &str, seeds: &[Vec<u8>]) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).expect("the target is listed");
    let mut draw = draws(7);
    for seed in seeds {
        target(seed);
        let step = seed.len() / CUTS_MAX + 1;
        (0..seed.len()).step_by(step).for_each(|cut| target(&seed[..cut]));
        (0..MUTATIONS).for_each(|_| target(&mutated(seed, &mut draw)));
    }
    for _ in 0..NOISE {
        let noise: Vec<u8> = (0..draw(200)).map(|_| draw(256) as u8).collect();
        target(&noise);
    }
}

fn requests() -> Vec<Vec<u8>> {
    let apis = [(ApiKey::Metadata, 1), (ApiKey::Metadata, 12), (ApiKey::ApiVersions, 3), (ApiKey::Produce, 9)];
    apis.map(|(api, version)| request_frame(7, api, version, "client", b"body").to_vec()).to_vec()
}

#[test]
fn frames() {
    run("frame", &[[vec![3], requests().concat()].concat()]);
}

#[test]
fn headers() {
    run("header", &requests());
}

#[test]
fn proxy_headers() {
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([192, 0, 2, 7, 198, 51, 100, 1, 0x15, 0xb3, 0x23, 0x84]);
    run(
        "proxy_header",
        &[v2, b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 9092\r\n".to_vec(), b"PROXY UNKNOWN\r\n".to_vec()],
    );
}

#[test]
fn conversations() {
    let request = |api: u8, version: u8, body: &[u8]| [&[0x20 | api, version, body.len() as u8], body].concat();
    let handshake = |mechanism| {
        let body = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        request(1, 1, &encode(&body, 1).unwrap())
    };
    let token = |bytes: &'static [u8]| {
        let body = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(bytes));
        request(2, 2, &encode(&body, 2).unwrap())
    };
    let good = [
        [handshake("PLAIN"), token(b"\0token\0good"), request(3, 1, b"")].concat(),
        [handshake("OAUTHBEARER"), token(b"n,,\x01auth=Bearer good\x01\x01"), request(3, 1, b"")].concat(),
        [handshake("OAUTHBEARER"), token(b"n,,\x01auth=Bearer newkey\x01\x01"), vec![0, 0, 0], vec![16, 0, 0]].concat(),
        [request(0, 3, b"\0\0\0"), handshake("OAUTHBEARER"), token(b"n,,\x01auth=Bearer bad\x01\x01"), token(b"\x01")]
            .concat(),
    ];
    run("sasl", &good);
}

struct Samples(Vec<Vec<u8>>);

impl VisitMessage for Samples {
    fn visit<T: Body>(&mut self, _: &'static str) {
        let index = (self.0.len() as u16).to_le_bytes();
        let versions = T::layout().versions();
        let version = versions.end() - versions.start();
        let body = T::layout().sample(*versions.end(), &mut draws(3)).unwrap();
        self.0.push([&index[..], &[version as u8], &body].concat());
    }
}

#[test]
fn bodies() {
    let mut samples = Samples(Vec::new());
    each_message(&mut samples);
    assert_eq!(samples.0.len(), MESSAGES);
    run("decode", &samples.0);
}

fn batches() -> Vec<Vec<u8>> {
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let batches = codecs.map(|codec| {
        let mut batch = BatchBuilder::new(40).codec(codec).values([&b"{\"a\":1}"[..], b"", b"three"]);
        batch.records.push(OwnedRecord {
            offset_delta: 7,
            timestamp_delta_millis: -5,
            key: Some(b"key".to_vec()),
            value: None,
            headers: vec![(b"h".to_vec(), Some(b"value".to_vec())), (b"i".to_vec(), None)],
        });
        batch.build().unwrap().to_vec()
    });
    let control = BatchBuilder { control: true, ..BatchBuilder::new(50).record(Some(b"\0\0\0\0"), Some(b"")) };
    let both = [batches[0].clone(), control.build().unwrap().to_vec(), batches[4].clone()].concat();
    [batches.to_vec(), vec![both]].concat()
}

#[test]
fn walked_batches() {
    run("batch_walker", &batches());
}

#[test]
fn rewritten_batches() {
    let seeded = (1..=8u8).flat_map(|seed| batches().into_iter().map(move |batch| [vec![seed], batch].concat()));
    run("batch_rewriter", &seeded.collect::<Vec<_>>());
}

#[test]
fn policy_files() {
    let example = include_str!("../../../deploy/policy.example.yaml");
    let small =
        "version: 1\ngrants:\n- {name: a, purpose: b, principals: [c], resources: [{topic: d}], operations: [read]}\n";
    run("policy_file", &[example.into(), small.into()]);
}

#[test]
fn evidence_segments() {
    let event = Event { session: "s".to_owned(), api: "Fetch".to_owned(), ..Event::default() }.encode_to_vec();
    let frame = |kind, sequence, body: &[u8]| [&[kind, sequence, body.len() as u8], body].concat();
    let frames = [frame(1, 0, &event), frame(1, 1, &event), frame(3, 2, b"note"), frame(2, 2, &[0; 24])].concat();
    run("evidence_segment", &[[vec![2], frames].concat(), vec![0; 400], [vec![1], vec![0; 100]].concat()]);
}
