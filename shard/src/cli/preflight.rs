//! Preflight: what on this machine would keep the gateway from running, found before it starts and
//! said in one sentence each.
//!
//! The shards share their ports with SO_REUSEPORT, so a second gateway would silently take half of
//! the connections: whether a port is free is asked without it, here.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rlimit::Resource;

use crate::config::Config;
use crate::data::runtime;

/// Memory that a ring needs to lock, in bytes; below it io_uring is refused.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Checks the machine; every obstacle is a sentence.
///
/// # Errors
/// All obstacles.
pub(super) fn check(config: &Config) -> Result<(), Vec<String>> {
    let mut obstacles = Vec::new();
    obstacles.extend(memlock());
    if obstacles.is_empty() {
        obstacles.extend(io_uring());
    }
    for listener in &config.listeners {
        let sockets = listener.sockets.iter().map(|(address, _)| *address);
        obstacles.extend(ports(&format!("listener {}", listener.name), sockets));
    }
    if config.control.bind.port() != 0 {
        obstacles.extend(ports("control.bind", [config.control.bind]));
    }
    obstacles.extend(writable(&config.evidence.directory));
    if obstacles.is_empty() { Ok(()) } else { Err(obstacles) }
}

/// Raises the limit of open files as far as this process may; returns a sentence where that is
/// little for what the configuration allows.
pub(super) fn raise_open_files(config: &Config) -> Option<String> {
    let limit = rlimit::utils::increase_nofile_limit(u64::MAX).ok()?;
    // A client connection has one towards a broker as well.
    let wanted = config.shards as u64 * u64::from(config.limits.connections_per_shard_max) * 2;
    (limit < wanted).then(|| {
        format!(
            "{limit} open files are allowed, while `limits.connections_per_shard_max` lets {wanted} sockets be open at once; \
             raise `ulimit -n` (`LimitNOFILE=` in a systemd unit) or lower the limit"
        )
    })
}

fn memlock() -> Option<String> {
    let (limit, _) = Resource::MEMLOCK.get().ok()?;
    memlock_obstacle(limit)
}

fn memlock_obstacle(limit: u64) -> Option<String> {
    (limit < MEMLOCK_BYTES_MIN).then(|| {
        format!(
            "the limit of locked memory is {} KiB and io_uring needs {} KiB; raise it with `ulimit -l`, `LimitMEMLOCK=` \
             in a systemd unit or `--ulimit memlock=` of a container",
            limit / 1024,
            MEMLOCK_BYTES_MIN / 1024
        )
    })
}

/// Tries a ring, on a thread of its own that ends at once.
fn io_uring() -> Option<String> {
    let tried = runtime::spawn_shard("preflight", 0, || async { Ok(()) })
        .and_then(|thread| thread.join().map_err(|error| io::Error::other(error.to_string())));
    let error = tried.err()?;
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Some(io_uring_obstacle(&error, setting.trim(), release.trim()))
}

fn io_uring_obstacle(error: &io::Error, setting: &str, release: &str) -> String {
    let why = match setting {
        "2" => "it is switched off here; set the sysctl kernel.io_uring_disabled to 0".to_owned(),
        "1" => "it is kept for a group here; add tidegate's user to the group of kernel.io_uring_group".to_owned(),
        _ => format!(
            "tidegate needs Linux 5.19 or newer (this is {release}), and containers a seccomp profile that allows io_uring"
        ),
    };
    format!("io_uring cannot be used ({error}): {why}")
}

/// Tries to listen on each address; one sentence for all that fail in the same way.
fn ports(owner: &str, addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<String> {
    let mut failed: BTreeMap<ErrorKind, (io::Error, Vec<String>)> = BTreeMap::new();
    for address in addresses {
        if let Err(error) = TcpListener::bind(address) {
            failed.entry(error.kind()).or_insert((error, Vec::new())).1.push(address.to_string());
        }
    }
    let sentences = failed.into_iter().map(|(kind, (error, addresses))| {
        let what = match kind {
            ErrorKind::AddrInUse => {
                "taken by another process; is a tidegate running already? `ss -ltnp` shows whose it is".to_owned()
            }
            ErrorKind::AddrNotAvailable => "not an address of this machine; see `ip address`".to_owned(),
            ErrorKind::PermissionDenied => "privileged; use ports above 1023 or grant CAP_NET_BIND_SERVICE".to_owned(),
            _ => format!("not to be had: {error}"),
        };
        let verb = if addresses.len() == 1 { "is" } else { "are" };
        format!("{owner}: {} {verb} {what}", addresses.join(", "))
    });
    sentences.collect()
}

fn writable(directory: &Path) -> Option<String> {
    let probe = directory.join(format!(".preflight-{}", std::process::id()));
    let tried = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&probe, b"x"));
    // Left behind only where it could not be made.
    let _ = std::fs::remove_file(&probe);
    let error = tried.err()?;
    Some(format!(
        "evidence.directory: cannot write to {}: {error}; without evidence nothing is released, so let the user that runs tidegate write there",
        directory.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_one_sentence_even_where_the_owner_shares_it() {
        let owner = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        owner.set_reuse_port(true).unwrap();
        owner.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        owner.listen(1).unwrap();
        let address = owner.local_addr().unwrap().as_socket().unwrap();
        let sentences = ports("listener clients", [address]);
        let expected = format!("listener clients: {address} is taken by another process");
        assert!(sentences.len() == 1 && sentences[0].starts_with(&expected), "{sentences:?}");
        drop(owner);
        assert_eq!(ports("listener clients", [address]), Vec::<String>::new());
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let addresses = ["192.0.2.1:9".parse().unwrap(), "192.0.2.1:10".parse().unwrap()];
        let sentences = ports("listener clients", addresses);
        let expected =
            "listener clients: 192.0.2.1:9, 192.0.2.1:10 are not an address of this machine; see `ip address`";
        assert_eq!(sentences, [expected]);
    }

    #[test]
    fn io_uring_that_cannot_be_had_is_explained_by_its_cause() {
        let error = io::Error::from_raw_os_error(1);
        for (setting, says) in
            [("2", "kernel.io_uring_disabled"), ("1", "kernel.io_uring_group"), ("0", "5.19"), ("", "seccomp")]
        {
            let sentence = io_uring_obstacle(&error, setting, "5.4.0");
            assert!(
                sentence.contains(says) && sentence.starts_with("io_uring cannot be used (Operation not permitted"),
                "{sentence}"
            );
        }
    }

    #[test]
    fn too_little_locked_memory_is_told_with_both_numbers() {
        assert_eq!(memlock_obstacle(MEMLOCK_BYTES_MIN), None);
        let sentence = memlock_obstacle(64 * 1024).unwrap();
        assert!(sentence.contains("64 KiB") && sentence.contains("512 KiB"), "{sentence}");
    }

    #[test]
    fn evidence_needs_a_folder_that_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("a/b");
        assert_eq!(writable(&good), None);
        assert_eq!(std::fs::read_dir(&good).unwrap().count(), 0, "nothing is left behind");
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let sentence = writable(&folder.path().join("file/evidence")).unwrap();
        assert!(sentence.contains("evidence.directory: cannot write to"), "{sentence}");
    }
}
