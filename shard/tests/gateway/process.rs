//! Child processes that never outlive the tests, with their output kept in files.
//!
//! The kernel kills a child when the thread that started it ends (`setpriv --pdeathsig`). A test's
//! thread ends before the shared broker should, so one thread that lives as long as the test
//! binary starts them all.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

/// A running child and the files that its output goes to.
pub(crate) struct Process {
    name: String,
    child: Mutex<Child>,
    output: PathBuf,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// The standard output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// Both outputs of a command that must have failed.
    #[track_caller]
    pub(crate) fn failure(self) -> String {
        assert!(!self.status.success(), "succeeded\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        format!("{}{}", self.stdout, self.stderr)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Starts `command` from the thread that outlives every test.
fn spawn(mut command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (send, receive) = mpsc::channel::<Job>();
        std::thread::spawn(move || receive.into_iter().for_each(|job| job()));
        Mutex::new(send)
    });
    let (send, receive) = mpsc::channel();
    let job: Job = Box::new(move || {
        let _ = send.send(command.spawn());
    });
    starter.lock().unwrap().send(job).unwrap();
    receive.recv().unwrap()
}

/// `program` under a guard that kills it when the tests end, however they end.
pub(crate) fn guarded(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref()).stdin(Stdio::null());
    command
}

/// Runs `command` to its end, with `input` as its standard input.
#[track_caller]
pub(crate) fn run(mut command: Command, input: &str, timeout: Duration) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let (out, err, inp) = (folder.path().join("out"), folder.path().join("err"), folder.path().join("in"));
    std::fs::write(&inp, input).unwrap();
    command.stdin(File::open(&inp).unwrap()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let shown = format!("{command:?}");
    let mut child = spawn(command).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let (stdout, stderr) = (text(&out), text(&err));
    let Some(status) = status else {
        panic!("{shown}: not done after {timeout:?}\nstdout: {stdout}\nstderr: {stderr}")
    };
    Finished { status, stdout, stderr }
}

impl Process {
    /// Starts `command`; its standard output and error go to `output`.
    pub(crate) fn start(name: &str, mut command: Command, output: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&output).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let shown = format!("{command:?}");
        let child = spawn(command).unwrap_or_else(|error| panic!("{name}: {shown}: {error}"));
        Self { name: name.to_owned(), child: Mutex::new(child), output }
    }

    /// What it wrote so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// The end of what it wrote, for messages.
    pub(crate) fn output_tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status().unwrap();
        assert!(status.success(), "{}: cannot send {signal}", self.name);
    }

    /// Kills it at once and waits for its end.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&self, timeout: Duration) -> ExitStatus {
        until(&format!("{} ends", self.name), timeout, || self.ended())
    }

    /// Waits until `condition` gives something; fails early when the process ends.
    #[track_caller]
    pub(crate) fn ready<T>(&self, what: &str, timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(value) = condition() {
                return value;
            }
            if let Some(status) = self.ended() {
                panic!("{} ended with {status} before {what}:\n{}", self.name, self.output_tail());
            }
            assert!(Instant::now() < deadline, "{}: not {what} after {timeout:?}:\n{}", self.name, self.output_tail());
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Polls `condition` until it gives something.
#[track_caller]
pub(crate) fn until<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not after {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}
