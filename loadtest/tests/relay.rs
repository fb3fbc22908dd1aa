//! Both relays pass bytes on unchanged, both ways, many connections at once, and pass an end on too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// More than sockets hold, so that writes are cut short and what is left must be kept.
const BYTES: usize = 5 << 20;
const CONNECTIONS: usize = 8;

struct Relay {
    child: Child,
    address: SocketAddr,
}

impl Relay {
    fn start(kind: &str, upstream: SocketAddr) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
            .args(["relay", "--kind", kind, "--listen", "127.0.0.1:0", "--shards", "2"])
            .args(["--upstream", &upstream.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split(' ').nth(1).unwrap().parse().unwrap();
        Self { child, address }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// An upstream that answers each byte with its complement, slowly enough for buffers to fill.
fn complementing_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut chunk = vec![0; 10_007];
                loop {
                    match stream.read(&mut chunk) {
                        Ok(0) | Err(_) => return,
                        Ok(read) => {
                            chunk[..read].iter_mut().for_each(|byte| *byte = !*byte);
                            if stream.write_all(&chunk[..read]).is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    address
}

fn exchange(address: SocketAddr, seed: u8) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let byte = |at: usize| (at % 251) as u8 ^ seed;
    let sent: Vec<u8> = (0..BYTES).map(byte).collect();
    let mut writing = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || writing.write_all(&sent).unwrap());
    let mut received = vec![0; BYTES];
    stream.read_exact(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received.iter().enumerate().all(|(at, &got)| got == !byte(at)), "bytes were changed on the way");
}

fn check(kind: &str) {
    let relay = Relay::start(kind, complementing_upstream());
    let address = relay.address;
    let exchanges: Vec<_> =
        (0..CONNECTIONS).map(|seed| std::thread::spawn(move || exchange(address, seed as u8))).collect();
    exchanges.into_iter().for_each(|exchange| exchange.join().unwrap());

    // An upstream that is not there: the client sees an end, not silence.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay = Relay::start(kind, nobody);
    let mut stream = TcpStream::connect(relay.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    match stream.read(&mut [0; 16]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn the_relay_on_the_gateways_runtime_passes_bytes_on() {
    check("glommio");
}

#[test]
fn the_epoll_relay_passes_bytes_on() {
    check("epoll");
}
