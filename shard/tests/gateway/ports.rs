//! Free ports on the loopback address, below the range from which the kernel takes the ports of
//! outgoing connections, so that nothing takes one between the choice and the use.

use std::net::TcpListener;
use std::sync::Mutex;

/// Above those that `tidegate demo` looks at, which a test runs beside the others.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_000;

/// `count` free ports in a row; the first one. Never given twice by one test binary.
pub(crate) fn free(count: u16) -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap();
    // Two test binaries at the same time begin at different places.
    let mut first = next.unwrap_or_else(|| FIRST + (std::process::id() % 90) as u16 * 100);
    loop {
        if first + count > LAST {
            first = FIRST;
        }
        match (first..first + count).rev().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()) {
            Some(taken) => first = taken + 1,
            None => break,
        }
    }
    *next = Some(first + count);
    first
}
