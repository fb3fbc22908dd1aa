//! What a process costs, read from `/proc` (proc(5)): CPU time, memory, descriptors, context switches.
//!
//! A process is counted with its descendants, since some proxies are a master and workers. CPU time is
//! the kernel's `utime + stime` of the whole thread group, ended threads included, in ticks of 10 ms;
//! a figure made of it wants seconds of load. It is charged where the work was done: the softirq work
//! of a loopback connection lands on whichever process was running, which on a comparison in turns
//! evens out.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Clock ticks a second in `/proc/PID/stat`: fixed at 100 for user space on every Linux that Tidegate
/// runs on (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// What a process and its descendants have used so far, and hold now.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// When this was read.
    pub at: Instant,
    /// CPU time since the process began, user and system.
    pub cpu: Duration,
    /// The part of it spent in the kernel.
    pub cpu_system: Duration,
    /// Times a living thread gave the CPU up, for instance to wait for a socket.
    pub switches_voluntary: u64,
    /// Times the scheduler took the CPU from a living thread.
    pub switches_involuntary: u64,
    /// Memory resident now, in bytes.
    pub resident_bytes: u64,
    /// The most that was resident since the start, or since [`reset_peak`], in bytes.
    pub resident_peak_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// What was used between two looks.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Spent {
    /// Wall time between the looks.
    pub seconds: f64,
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// The part of it spent in the kernel.
    pub cpu_system_seconds: f64,
    /// Context switches, of either kind.
    pub switches: u64,
    /// The most memory that was resident, in bytes.
    pub resident_peak_bytes: u64,
    /// Open descriptors at the end.
    pub descriptors: u64,
}

impl Usage {
    /// Looks at the process `pid` and its descendants.
    ///
    /// # Errors
    /// Where the process is gone or may not be looked at.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut sum = Self::of_one(pid)?;
        for child in descendants(pid) {
            // A child that ended meanwhile has nothing more to say.
            if let Ok(usage) = Self::of_one(child) {
                sum = sum.plus(&usage);
            }
        }
        Ok(sum)
    }

    fn of_one(pid: u32) -> io::Result<Self> {
        let at = Instant::now();
        let (user, system) = cpu_ticks(&read(pid, "stat")?).ok_or_else(|| unreadable(pid, "stat"))?;
        let status = read(pid, "status")?;
        let mut usage = Self {
            at,
            cpu: ticks(user + system),
            cpu_system: ticks(system),
            switches_voluntary: 0,
            switches_involuntary: 0,
            resident_bytes: kibibytes(&status, "VmRSS:"),
            resident_peak_bytes: kibibytes(&status, "VmHWM:"),
            descriptors: fs::read_dir(path(pid, "fd"))?.count() as u64,
            threads: field(&status, "Threads:"),
        };
        for thread in fs::read_dir(path(pid, "task"))?.flatten() {
            if let Ok(status) = fs::read_to_string(thread.path().join("status")) {
                usage.switches_voluntary += field(&status, "voluntary_ctxt_switches:");
                usage.switches_involuntary += field(&status, "nonvoluntary_ctxt_switches:");
            }
        }
        Ok(usage)
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            at: self.at,
            cpu: self.cpu + other.cpu,
            cpu_system: self.cpu_system + other.cpu_system,
            switches_voluntary: self.switches_voluntary + other.switches_voluntary,
            switches_involuntary: self.switches_involuntary + other.switches_involuntary,
            resident_bytes: self.resident_bytes + other.resident_bytes,
            resident_peak_bytes: self.resident_peak_bytes + other.resident_peak_bytes,
            descriptors: self.descriptors + other.descriptors,
            threads: self.threads + other.threads,
        }
    }

    /// What was used since `earlier`, a look at the same process.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Spent {
        let switches = |usage: &Self| usage.switches_voluntary + usage.switches_involuntary;
        Spent {
            seconds: self.at.saturating_duration_since(earlier.at).as_secs_f64(),
            cpu_seconds: self.cpu.saturating_sub(earlier.cpu).as_secs_f64(),
            cpu_system_seconds: self.cpu_system.saturating_sub(earlier.cpu_system).as_secs_f64(),
            switches: switches(self).saturating_sub(switches(earlier)),
            resident_peak_bytes: self.resident_peak_bytes,
            descriptors: self.descriptors,
        }
    }
}

/// Makes [`Usage::resident_peak_bytes`] start anew from what is resident now.
///
/// # Errors
/// Where the process belongs to another user or is gone; its peak then stays that of its whole life.
pub fn reset_peak(pid: u32) -> io::Result<()> {
    let set = |pid| fs::write(path(pid, "clear_refs"), "5");
    descendants(pid).into_iter().try_for_each(set)?;
    set(pid)
}

/// The descendants of `pid`, without itself.
fn descendants(pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut to_ask = vec![pid];
    while let Some(parent) = to_ask.pop() {
        for thread in fs::read_dir(path(parent, "task")).into_iter().flatten().flatten() {
            // Not there where the kernel was built without it; then only the process itself counts.
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            to_ask.extend(
                children.split_whitespace().filter_map(|child| child.parse().ok()).filter(|&c| found.insert(c)),
            );
        }
    }
    found
}

/// User and system time, in ticks. The name in parentheses may hold anything, spaces and parentheses
/// too, so fields are counted from behind it: `utime` and `stime` are the 14th and 15th of all.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / TICKS_PER_SECOND)
}

fn kibibytes(status: &str, name: &str) -> u64 {
    field(status, name) * 1024
}

/// The number behind `name`, 0 where it is missing (kernel threads have no memory).
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn path(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn read(pid: u32, name: &str) -> io::Result<String> {
    let read = fs::read_to_string(path(pid, name));
    read.map_err(|error| io::Error::new(error.kind(), format!("process {pid} cannot be looked at: {error}")))
}

fn unreadable(pid: u32, name: &str) -> io::Error {
    io::Error::other(format!("/proc/{pid}/{name} has another form than proc(5) says"))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "77 (a) b (c)) S 1 77 77 0 -1 4194560 2133 0 5 0 1234 56 0 0 20 0 12 0 8943 1 2 3";
        assert_eq!(cpu_ticks(stat), Some((1234, 56)));
    }

    #[test]
    fn work_memory_and_descriptors_of_this_process_are_seen() {
        let before = Usage::of(std::process::id()).unwrap();
        let files: Vec<_> = (0..20).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let mut block = vec![0u8; 64 << 20];
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(200) {
            block.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        }
        let after = Usage::of(std::process::id()).unwrap();
        let spent = after.since(&before);
        assert!(spent.cpu_seconds >= 0.05, "{spent:?}");
        assert!(spent.resident_peak_bytes >= 64 << 20, "{spent:?}");
        assert!(after.descriptors >= files.len() as u64, "{spent:?}");
        drop(block);
    }

    #[test]
    fn children_count_as_part_of_the_process() {
        let mut shell =
            Command::new("sh").args(["-c", "sleep 60 & echo started; wait"]).stdout(Stdio::piped()).spawn().unwrap();
        // Once the shell said so, its child is there.
        let mut said = [0; 8];
        io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut said).unwrap();
        let children = descendants(shell.id());
        assert_eq!(children.len(), 1, "{children:?}");
        assert_eq!(Usage::of(shell.id()).unwrap().threads, 2);
        let child = children.first().unwrap().to_string();
        Command::new("kill").arg(child).status().unwrap();
        shell.wait().unwrap();
    }
}
