//! Hostile bodies of every message and version: decoding them neither panics nor allocates more
//! than the walk foresaw, nor ever more than 64 MiB. An allocator that counts is the witness, so
//! this is a test of its own, with one test in it.

#![allow(unsafe_code, reason = "a counting global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use kafka_protocol::messages::DescribeTopicPartitionsRequest;
use tidegate_core::decode::{Body, VisitMessage, decode_request, decode_response, each_message};
use tidegate_core::limits::REQUEST_DECODED_BYTES_MAX;

/// The system's allocator, counting.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments as they came; counting
// touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `alloc` above, hence from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What an error's text and the like may take beside the message, in bytes.
const BESIDE_BYTES_MAX: usize = 64 * 1024;

/// Runs `work` and says how much it allocated at most at one time, in bytes.
fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}

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

#[derive(Default)]
struct Attack {
    bodies: usize,
    accepted: usize,
    peak: usize,
}

impl Attack {
    fn decode<T: Body>(&mut self, name: &str, version: i16, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        let foreseen = T::layout().walk(&body, version, REQUEST_DECODED_BYTES_MAX);
        let mut accepted = false;
        let used = peak(|| {
            accepted = decode_response::<T>(&body, version).is_ok();
            let _ = decode_request::<T>(&body, version, usize::MAX);
        });
        let foreseen = foreseen.map_or(0, |walked| walked.memory_bytes);
        assert!(
            used <= foreseen + BESIDE_BYTES_MAX && used <= 64 * 1024 * 1024,
            "{name} v{version}: {used} bytes were allocated, {foreseen} foreseen: {body:?}",
        );
        self.bodies += 1;
        self.accepted += usize::from(accepted);
        self.peak = self.peak.max(used);
    }
}

impl VisitMessage for Attack {
    fn visit<T: Body>(&mut self, name: &'static str) {
        let lies: [&[u8]; 6] = [
            &[0x7f, 0xff, 0xff, 0xff],
            &[0x00, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0xff, 0xff, 0x7f],
            &[0x40],
            &[0],
        ];
        for version in T::layout().versions() {
            let mut draw = draws(version as u64 + 1);
            let valid = T::layout().sample(version, &mut draw).unwrap_or_default();
            let valid = &valid[..valid.len().min(200)];
            // The first and the last version in full, of those between a part.
            let versions = T::layout().versions();
            let step = if version == *versions.start() || version == *versions.end() { 1 } else { 5 };
            for at in (draw(step)..=valid.len()).step_by(step) {
                self.decode::<T>(name, version, &valid[..at]);
                for lie in lies {
                    // Over what stands there, and put in between.
                    let behind = valid.get(at + lie.len()..).unwrap_or_default();
                    self.decode::<T>(name, version, &[&valid[..at], lie, behind].concat());
                    self.decode::<T>(name, version, &[&valid[..at], lie, &valid[at..]].concat());
                }
            }
            for _ in 0..20 {
                let noise: Vec<u8> = (0..draw(300)).map(|_| draw(256) as u8).collect();
                self.decode::<T>(name, version, &noise);
                // Mostly small numbers get further.
                let noise: Vec<u8> = (0..draw(300)).map(|_| draw(4) as u8).collect();
                self.decode::<T>(name, version, &noise);
            }
        }
    }
}

#[test]
fn hostile_bodies_allocate_no_more_than_foreseen() {
    let mut attack = Attack::default();
    each_message(&mut attack);
    // Items of two bytes here and fifty and more there, just within the bound.
    let mut dense = vec![0xa1, 0xf7, 0x36];
    dense.extend([1, 0].repeat(900_000));
    dense.extend([0, 0, 0, 0, 0xff, 0]);
    let accepted_before = attack.accepted;
    attack.decode::<DescribeTopicPartitionsRequest>("DescribeTopicPartitionsRequest", 0, &dense);
    assert_eq!(attack.accepted, accepted_before + 1);
    let Attack { bodies, accepted, peak } = attack;
    assert!(bodies > 100_000 && accepted > 1000, "{bodies} bodies, {accepted} accepted: that is no attack");
    assert!(peak > REQUEST_DECODED_BYTES_MAX / 2, "the largest body took {peak} bytes: nothing came near the bound");
}
