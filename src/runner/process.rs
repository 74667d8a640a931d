//! One worker process: its own process group, its three streams, and its end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::death;
use super::interrupt::Interrupt;
use super::memory;
use super::trouble::{Stopped, Trouble};
use crate::hardware::Target;
use crate::record::{Failure, Status};
use crate::worker::protocol::{self, Ask, Event, Load, Loaded, Request, Slot, What};

/// Of stderr the end is kept, where the reason stands.
const STDERR_KEPT: usize = 4096;

/// A line longer than this is no event but a mistake. Some eighty thousand vectors of a thousand numbers fit.
const LONGEST_LINE: u64 = 1 << 30;

/// How long a worker may take to end once it's told to, before it's killed.
const GRACE: Duration = Duration::from_secs(2);

/// How long a worker that was killed may take to be gone: giving back a card's memory takes seconds.
const REAPING: Duration = Duration::from_secs(20);

/// How often a wait looks whether somebody asked us to stop.
const INTERRUPT_CHECK: Duration = Duration::from_millis(50);

pub struct WorkerProcess {
    child: Child,
    /// Set once it's reaped: from then on its number may be somebody else's.
    exit: Option<ExitStatus>,
    /// Set once it was killed and didn't end.
    stuck: bool,
    /// What a thread of its own writes to stdin: a worker that doesn't read must not stop us.
    requests: Option<mpsc::Sender<String>>,
    lines: Receiver<Line>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    stderr_reader: Option<JoinHandle<()>>,
    next_id: u64,
    oom_kills_before: u64,
    /// What it was first asked, which is to load: a replay by hand needs it before anything else.
    first_request: String,
    /// How it was started, as a shell would.
    program: String,
}

/// What came from stdout.
enum Line {
    Text(Vec<u8>),
    TooLong,
}

impl WorkerProcess {
    /// Starts `command` in `folder`.
    pub fn spawn(command: &[String], folder: &Path) -> Result<Self, Failure> {
        let program = shell_line(command);
        let not_available = |error: std::io::Error| {
            Failure::new(Status::NotAvailable, format!("can't start {program}: {error}"))
        };
        let (name, arguments) = command
            .split_first()
            .ok_or_else(|| Failure::new(Status::NotAvailable, "the command is empty"))?;
        let mut process = Command::new(name);
        process.args(arguments).current_dir(folder);
        // CUDA would call the fastest card 0; the target's numbers are NVML's, which go by the bus.
        process.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        own_group(&mut process);
        let oom_kills_before = memory::oom_kills();
        let mut child = process.spawn().map_err(not_available)?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || read_lines(stdout, &sender));
        }
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let stderr_reader = child.stderr.take().map(|stream| {
            let kept = Arc::clone(&stderr);
            std::thread::spawn(move || keep_tail(stream, &kept))
        });
        Ok(WorkerProcess {
            requests: child.stdin.take().map(write_lines),
            child,
            exit: None,
            stuck: false,
            lines,
            stderr,
            stderr_reader,
            next_id: 1,
            oom_kills_before,
            first_request: String::new(),
            program: format!("(cd {} && exec {program})", shell_word(&folder.display().to_string())),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and waits for the event that answers; one that tells of a failure is an `Err`, too. After an `Err` the worker
    /// must not be used again.
    pub fn ask(&mut self, ask: Ask, timeout: Duration, interrupt: &Interrupt) -> Result<What, Trouble> {
        let id = self.next_id;
        self.next_id += 1;
        let line = serde_json::to_string(&Request { id, ask })
            .map_err(|error| Trouble::Failure(Failure::new(Status::Failed, error.to_string())))?;
        log::debug!("replay with: {}", self.replay(&line));
        if self.first_request.is_empty() {
            self.first_request.clone_from(&line);
        }
        let sent = self.requests.as_ref().is_some_and(|requests| requests.send(line + "\n").is_ok());
        if !sent {
            // It no longer reads: it's dead or dying, and says why by how it died.
            return Err(self.trouble_of_death(interrupt));
        }
        let deadline = Instant::now() + timeout;
        loop {
            if interrupt.signal().is_some() {
                self.kill();
                return Err(Trouble::Stopped(Stopped::Interrupted));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(INTERRUPT_CHECK)) {
                Ok(line) => return self.read(id, line).map_err(Trouble::Failure),
                Err(RecvTimeoutError::Disconnected) => return Err(self.trouble_of_death(interrupt)),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    self.kill();
                    let reason = format!("no answer within {}", crate::units::print_duration(timeout));
                    return Err(Trouble::Failure(self.with_stderr(Failure::new(Status::TimedOut, reason))));
                }
                // What it has started may hold its stdout open after it, so its own end is looked for, too. An event
                // that it wrote last may still be on its way.
                Err(RecvTimeoutError::Timeout) if self.has_ended() => {
                    return match self.lines.recv_timeout(INTERRUPT_CHECK) {
                        Ok(line) => self.read(id, line).map_err(Trouble::Failure),
                        Err(_) => Err(self.trouble_of_death(interrupt)),
                    };
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Has it load, and holds what it says of that against what was asked.
    pub fn load(
        &mut self,
        load: Load,
        target: &Target,
        receipt: Option<&str>,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> Result<Loaded, Trouble> {
        let needed = load.protocol;
        let event = self.ask(Ask::Load(Box::new(load)), timeout, interrupt)?;
        let fail =
            |status, reason: String| Err(Trouble::Failure(self.with_stderr(Failure::new(status, reason))));
        match event {
            What::Loaded(loaded) if !(needed..=protocol::VERSION).contains(&loaded.protocol) => fail(
                Status::Refused,
                format!(
                    "the worker uses version {} of the protocol; autotune needs a version from {needed} to {}",
                    loaded.protocol,
                    protocol::VERSION
                ),
            ),
            What::Loaded(loaded) if loaded.version.trim().is_empty() => {
                fail(Status::Refused, "the worker reports no version of what it loaded".to_owned())
            }
            What::Loaded(loaded) if receipt.is_some_and(|receipt| !loaded.version.contains(receipt)) => {
                let receipt = receipt.unwrap_or_default();
                fail(
                    Status::Refused,
                    format!("the worker reports {:?}, but {receipt:?} was started", loaded.version),
                )
            }
            What::Loaded(loaded) if !(0.0..=1e6).contains(&loaded.seconds) => {
                fail(Status::Garbage, format!("the worker reports a load time of {} s", loaded.seconds))
            }
            What::Loaded(loaded) => match target.excludes(&loaded.device).filter(|_| !loaded.simulated) {
                Some(why) => fail(Status::Refused, why),
                None => Ok(loaded),
            },
            event => Err(unexpected(&event, "loaded")),
        }
    }

    /// Whether it's no more.
    pub fn has_ended(&self) -> bool {
        self.exit.is_some() || has_ended(&self.child)
    }

    /// Its death, unless it died of the same signal that asks us to stop: a service manager signals both.
    fn trouble_of_death(&mut self, interrupt: &Interrupt) -> Trouble {
        let failure = self.death();
        let deadline = Instant::now() + INTERRUPT_CHECK;
        while failure.status == Status::Crashed && Instant::now() < deadline {
            if interrupt.signal().is_some() {
                return Trouble::Stopped(Stopped::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Trouble::Failure(failure)
    }

    /// One line for a shell that asks the same of a worker of its own.
    fn replay(&self, line: &str) -> String {
        let before = if self.first_request.is_empty() {
            String::new()
        } else {
            format!("{} ", shell_word(&self.first_request))
        };
        format!("printf '%s\\n' {before}{} | {}", shell_word(line), self.program)
    }

    /// Reads the line that should be the event for request `id`.
    fn read(&mut self, id: u64, line: Line) -> Result<What, Failure> {
        let garbage = |what: String| Failure::new(Status::Garbage, what);
        let failure = match line {
            Line::TooLong => garbage(format!("a line of more than {LONGEST_LINE} bytes on stdout")),
            Line::Text(bytes) => match serde_json::from_slice::<Event>(&bytes) {
                Ok(Event { id: answered, what }) if answered == id => {
                    return match what {
                        What::Failed { kind, message, remedy } => {
                            let failure = Failure::new(kind.into(), message);
                            let remedy = remedy.unwrap_or_default();
                            Err(self.with_stderr(Failure { remedy, ..failure }))
                        }
                        what => Ok(what),
                    };
                }
                Ok(event) => garbage(format!("an event for request {}, expected request {id}", event.id)),
                Err(error) => garbage(format!("not an event on stdout ({error}): {:?}", excerpt(&bytes))),
            },
        };
        self.kill();
        Err(self.with_stderr(failure))
    }

    /// Asks it to end and sees that it does, with all that it has started.
    pub fn end(mut self) {
        // A worker that fails to unload is ended all the same.
        let _ = self.ask(Ask::Unload { slot: Slot::default() }, GRACE, &Interrupt::default());
        self.hang_up();
        self.kill();
    }

    /// Closes its stdin, which tells it to end, and waits a while for it to do so.
    fn hang_up(&mut self) -> bool {
        self.requests = None;
        ends_within(&self.child, GRACE)
    }

    /// How it died. It's dead or about to be: its stdout is closed.
    fn death(&mut self) -> Failure {
        if !self.hang_up() {
            self.kill();
            let reason = "the worker closed its stdout and kept running";
            return self.with_stderr(Failure::new(Status::Garbage, reason));
        }
        self.kill();
        let oom_killed = memory::oom_kills() > self.oom_kills_before;
        match self.exit {
            Some(exit) => death::read(exit, &self.stderr(), oom_killed),
            None => self.with_stderr(Failure::new(Status::Crashed, "the worker ended")),
        }
    }

    /// Ends the worker and all that it has started, if that wasn't done before.
    fn kill(&mut self) {
        if self.exit.is_some() || self.stuck {
            return;
        }
        kill_group(&mut self.child);
        if !ends_within(&self.child, REAPING) {
            // Stuck in the kernel, most likely in a driver. Nothing more can be done about it, so it's left behind.
            self.stuck = true;
            log::error!("{}", self.stuck_in_words());
            return;
        }
        self.exit = self.child.wait().ok();
        // Its last words may still be on their way. A process that escaped from the group may hold stderr open for
        // ever, so this wait has an end too.
        let deadline = Instant::now() + Duration::from_millis(200);
        while self.stderr_reader.as_ref().is_some_and(|reader| !reader.is_finished())
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn stuck_in_words(&self) -> String {
        let pid = self.child.id();
        format!("process {pid} was killed but doesn't end: it is stuck in a driver and keeps its memory")
    }

    fn with_stderr(&self, failure: Failure) -> Failure {
        let reason = match self.stuck {
            true => format!("{}; {}", failure.reason, self.stuck_in_words()),
            false => failure.reason,
        };
        Failure { stderr: self.stderr(), reason, ..failure }
    }

    pub fn stderr(&self) -> String {
        let mut kept = self.stderr.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).trim().to_owned()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn unexpected(event: &What, wanted: &str) -> Trouble {
    Trouble::Failure(Failure::new(Status::Garbage, format!("event {:?}, expected {wanted:?}", event.name())))
}

/// Writes what is sent until nobody sends any more, or nobody reads any more.
fn write_lines(mut stdin: ChildStdin) -> mpsc::Sender<String> {
    let (sender, lines) = mpsc::channel::<String>();
    std::thread::spawn(move || {
        for line in lines {
            if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                return;
            }
        }
    });
    sender
}

fn read_lines(stdout: impl Read, lines: &mpsc::Sender<Line>) {
    let mut stdout = BufReader::with_capacity(1 << 16, stdout);
    loop {
        let mut bytes = Vec::new();
        let line = match stdout.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) if bytes.len() as u64 == LONGEST_LINE => Line::TooLong,
            // Cut short by the worker's death, which says more than half an event does.
            Ok(_) if !bytes.ends_with(b"\n") => return,
            Ok(_) => Line::Text(bytes),
        };
        let last = matches!(line, Line::TooLong);
        if lines.send(line).is_err() || last {
            return;
        }
    }
}

fn keep_tail(mut stderr: impl Read, kept: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.extend(&buffer[..count]);
        let excess = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..excess);
    }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).trim_end().to_owned()
}

/// A command as a line that a shell understands.
pub fn shell_line(command: &[String]) -> String {
    command.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

fn shell_word(word: &str) -> std::borrow::Cow<'_, str> {
    // Only a word with a zero byte in it can't be quoted, and nothing can be started by one.
    shlex::try_quote(word).unwrap_or_default()
}

/// A group of its own, so that Ctrl-C in a terminal reaches us and not the worker, and so that all it starts ends with it.
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        let parent = nix::unistd::getpid();
        let die_with_parent = move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // We may have died between the fork and the line above.
            if nix::unistd::getppid() == parent {
                Ok(())
            } else {
                Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
            }
        };
        // SAFETY: between fork and exec this makes two system calls and allocates nothing.
        unsafe { command.pre_exec(die_with_parent) };
    }
}

/// Whether the child has ended, without reaping it: as long as it isn't reaped, its number is nobody else's.
fn has_ended(child: &Child) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
}

/// Whether the child ends before so much time has passed.
fn ends_within(child: &Child, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while !has_ended(child) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Kills the group that the child leads. It must not have been reaped yet.
fn kill_group(child: &mut Child) {
    use nix::sys::signal::{Signal, killpg};
    let _ = killpg(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_end_is_waited_for_so_long_and_no_longer() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!ends_within(&child, Duration::from_millis(50)));
        child.kill().unwrap();
        assert!(ends_within(&child, REAPING));
        child.wait().unwrap();
    }

    #[test]
    fn one_that_is_stuck_is_told_of() {
        let mut process = WorkerProcess::spawn(&["sleep".into(), "60".into()], Path::new(".")).unwrap();
        process.stuck = true;
        let failure = process.with_stderr(Failure::new(Status::TimedOut, "no answer within 1 s"));
        assert!(failure.reason.contains("was killed but doesn't end"), "{}", failure.reason);
        process.stuck = false;
    }
}
