//! Targets that need no broker: files, HTTP, syslog over TLS; and what is refused.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;

use tidegate_audit::log::{LogOptions, ShardLog};
use tidegate_core::event::Event;
use tidegate_core::words::Timestamp;

use super::*;
use crate::cli::parsed::parsed;

fn export(words: &[&str]) -> anyhow::Result<(u8, String, String)> {
    let args = parsed::<Args>([&["export"], words].concat()).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = run(&args, &mut out, &mut errors)?;
    Ok((code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap()))
}

fn write(root: &std::path::Path, entries: i64) {
    let options = LogOptions { segment_bytes: 2 << 20, ..LogOptions::default() };
    let (mut log, _) = ShardLog::open(root, 0, "gw", options, Timestamp(0)).unwrap();
    for n in 0..entries {
        log.append(&Event { time_micros: n, principal: "anna".into(), ..Event::default() });
    }
    log.close().unwrap();
}

#[test]
fn to_a_file_from_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), 5);
    let file = root.path().join("siem.ndjson");
    let (dir, to) = (root.path().to_str().unwrap(), file.to_str().unwrap());
    let uids = || -> Vec<String> {
        let text = std::fs::read_to_string(&file).unwrap();
        let uid =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        text.lines().map(uid).collect()
    };
    assert_eq!(export(&[dir, "--to", to]).unwrap().0, 0);
    assert_eq!(uids(), (0..5).map(|n| format!("gw/000/{n}")).collect::<Vec<_>>());
    assert_eq!(export(&[dir, "--to", to]).unwrap().0, 0);
    assert_eq!(uids().len(), 5, "nothing new");
    write(root.path(), 3);
    export(&[dir, "--to", to]).unwrap();
    assert_eq!(uids().len(), 8);
    let (_, text, _) = export(&[dir, "--to", "-", "--format", "cloudevents"]).unwrap();
    assert_eq!(text.lines().count(), 8);
    assert!(text.starts_with(r#"{"data""#) || text.contains(r#""specversion":"1.0""#), "{text}");
}

/// Answers requests with these codes, one each; the bodies.
fn serve(codes: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let answer = |code: &&str| {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {code} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            (head, String::from_utf8(body).unwrap())
        };
        codes.iter().map(answer).collect()
    });
    (url, served)
}

#[test]
fn over_http_until_it_is_taken() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let root = tempfile::tempdir().unwrap();
    write(root.path(), 2);
    let dir = root.path().to_str().unwrap();
    let (cursor, token) = (root.path().join("cursor"), root.path().join("token"));
    std::fs::write(&token, "secret\n").unwrap();
    let more = ["--cursor", cursor.to_str().unwrap(), "--token-file", token.to_str().unwrap()];
    // Refused: an error, and nothing counts as sent.
    let (url, served) = serve(&["403"]);
    let (code, _, errors) = export(&[&[dir, "--to", &url], &more[..]].concat()).unwrap();
    assert!(code == 1 && errors.contains("403") && !cursor.exists(), "{errors}");
    served.join().unwrap();
    // Busy, then taken.
    let (url, served) = serve(&["503", "202"]);
    let (code, ..) = export(&[&[dir, "--to", &url, "--format", "cloudevents"], &more[..]].concat()).unwrap();
    let bodies = served.join().unwrap();
    assert_eq!(code, 0);
    assert_eq!(bodies[0].1, bodies[1].1, "the same again");
    let head = bodies[1].0.to_ascii_lowercase();
    assert!(head.contains("authorization: bearer secret") && head.contains("cloudevents-batch+json"), "{head}");
    assert_eq!(serde_json::from_str::<Vec<Value>>(&bodies[1].1).unwrap().len(), 2);
    assert!(cursor.exists());
    for (to, message) in [
        ("http://example.com/x", "this machine only"),
        ("http://localhost:1/x", "--cursor"),
        ("syslog://h", "syslog+tls"),
        ("syslog+tls:///", "no host"),
        ("kafka:t", "--kafka"),
    ] {
        let error = export(&[dir, "--to", to]).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// A receiver of syslog over TLS. Of the first connections so many die with something unread; the messages of the next.
fn receive(folder: &std::path::Path, dying: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), pair.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("syslog+tls://localhost:{}", listener.local_addr().unwrap().port());
    let received = std::thread::spawn(move || {
        let accept = || {
            let tls = rustls::ServerConnection::new(config.clone()).unwrap();
            rustls::StreamOwned::new(tls, listener.accept().unwrap().0)
        };
        for _ in 0..dying {
            accept().read_exact(&mut [0; 10]).unwrap();
        }
        let (mut text, mut stream) = (String::new(), accept());
        stream.read_to_string(&mut text).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        let (mut messages, mut rest) = (Vec::new(), text.as_str());
        while let Some((length, more)) = rest.split_once(' ') {
            let (message, more) = more.split_at(length.parse().unwrap());
            messages.push(message.to_owned());
            rest = more;
        }
        assert_eq!(rest, "", "whole frames only");
        messages
    });
    (to, received)
}

#[test]
fn over_syslog_until_the_receiver_has_read_it_all() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), 3);
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (dir, cursor, ca) = (root.path().to_str().unwrap().to_owned(), path("cursor"), path("ca.pem"));
    let (to, received) = receive(root.path(), 1);
    let words = [&dir, "--to", &to, "--cursor", &cursor, "--ca", &ca];
    let (code, _, errors) = export(&words).unwrap();
    assert_eq!((code, errors.as_str()), (0, ""));
    let messages = received.join().unwrap();
    assert_eq!(messages.len(), 3, "all of it again after the first receiver died");
    for (n, message) in messages.iter().enumerate() {
        let (header, json) = message.split_once("] ").unwrap();
        assert!(header.starts_with("<110>1 1970-01-01T00:00:00.00000"), "{header}");
        assert_eq!(serde_json::from_str::<Value>(json).unwrap()["metadata"]["uid"], format!("gw/000/{n}"));
    }
    assert_eq!(Cursor::load(cursor.as_ref()).unwrap().of(0), 3);
    // A receiver that nobody vouches for gets nothing.
    let (to, _) = receive(root.path(), 0);
    std::fs::write(&ca, rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem()).unwrap();
    let syslog = Syslog::open(&parsed::<Args>(["export", "--to", &to, "--ca", &ca]).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Tried::Failed(error) = runtime.block_on(syslog.send(b"1 x")) else { panic!("delivered") };
    assert!(format!("{error:#}").contains("certificate"), "{error:#}");
}

#[test]
fn how_a_cluster_is_reached_is_checked_like_the_gateways_own() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("kafka.yaml");
    let open = |yaml: &str| {
        std::fs::write(&file, yaml).unwrap();
        let words = ["export", "--to", "kafka:t", "--kafka", file.to_str().unwrap()];
        Kafka::open("t", &parsed::<Args>(words).unwrap()).map(drop).map_err(|error| error.to_string())
    };
    open("upstream: {bootstrap_servers: ['localhost:9092']}\nanything: else\n").unwrap();
    for (yaml, message) in [
        ("upstream: {bootstrap_servers: []}", "at least"),
        ("upstream: {bootstrap_servers: ['localhost:9092'], more: 1}", "more"),
        ("upstream: {bootstrap_servers: ['h:1'], sasl: {mechanism: PLAIN, username: u, password_file: gone}}", "gone"),
        ("upstream: {bootstrap_servers: ['h:1'], tls: {certificate_file: x}}", "certificate_file"),
    ] {
        let error = open(yaml).unwrap_err();
        assert!(error.contains(message), "{yaml}: {error}");
    }
}
