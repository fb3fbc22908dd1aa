//! Live progress on stderr: one line that is written over on a terminal, a line a turn elsewhere.

use std::io::{IsTerminal as _, Write as _, stderr};

use crate::compare::Watcher;
use crate::result::RunResult;
use crate::run::{Observer, Progress};

/// Shows where a comparison stands.
#[derive(Debug)]
pub(super) struct Terminal {
    is_terminal: bool,
    turn: String,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self { is_terminal: stderr().is_terminal(), turn: String::new() }
    }

    /// Begins a line.
    pub(super) fn begin(&mut self, turn: String) {
        self.turn = turn;
        self.over("");
    }

    /// Ends it.
    pub(super) fn end(&mut self, text: &str) {
        if self.is_terminal {
            self.over(text);
            eprintln!();
        } else {
            eprintln!("{}  {text}", self.turn);
        }
    }

    fn over(&self, text: &str) {
        if self.is_terminal {
            eprint!("\r\x1b[K{}  {text}", self.turn);
            // Nobody is helped by an error about a progress line.
            let _ = stderr().flush();
        }
    }
}

impl Observer for Terminal {
    fn progress(&mut self, progress: &Progress) {
        let Progress { measuring, seconds, of_seconds, connections, requests_per_second, bytes_per_second, errors } =
            *progress;
        let phase = if measuring { "measuring" } else { "warming up" };
        let megabytes = bytes_per_second / 1e6;
        self.over(&format!(
            "{phase} {seconds:.0}/{of_seconds:.0} s, {connections} connections, {requests_per_second:.0} requests/s, \
             {megabytes:.0} MB/s, {errors} errors"
        ));
    }
}

impl Watcher for Terminal {
    fn turn(&mut self, scenario: &str, round: usize, rounds: usize, system: &str) {
        let round = if round == 0 { "calibration".to_owned() } else { format!("round {round}/{rounds}") };
        self.begin(format!("{scenario:<12} {round:<12} {system:<14}"));
    }

    fn turn_ended(&mut self, result: &RunResult) {
        let seconds = result.seconds.max(1e-9);
        let cpu = match result.cpu_seconds_per_gb(&result.system) {
            Some(cpu) => format!(", {cpu:.2} CPU-s/GB"),
            None => String::new(),
        };
        let oracle = match &result.oracle {
            Some(verdict) if verdict.holds() => "oracle holds".to_owned(),
            Some(verdict) => {
                format!("ORACLE: {}", verdict.violations.first().map_or("violations", String::as_str))
            }
            None => "not judged".to_owned(),
        };
        self.end(&format!(
            "{:.0} requests/s, {:.0} MB/s, p50 {:.0} µs, p99 {:.0} µs{cpu}, {} errors, {oracle}",
            result.requests() as f64 / seconds,
            result.bytes() as f64 / seconds / 1e6,
            result.fetch.latency_corrected.p50_us.max(result.produce.latency_corrected.p50_us),
            result.fetch.latency_corrected.p99_us.max(result.produce.latency_corrected.p99_us),
            result.errors.total(),
        ));
    }
}
