//! What NVIDIA's driver tells of its cards, asked by a process of its own: a driver that hangs holds up a process that can
//! be left behind, and not this one.
//!
//! Two lines: what NVML or its like see of the machine, and what CUDA shows to programs. The first is known even where the
//! second never comes.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};

use super::nvidia::{self, Told};
use crate::backend::gpu::devices;
use crate::units::print_duration;

/// How long a driver may take for each of them. Opening a card whose driver nobody has loaded takes seconds each.
const PATIENCE: Duration = Duration::from_secs(30);

/// The variable that sets another patience, in seconds.
const PATIENCE_VARIABLE: &str = "AUTOTUNE_DRIVER_PATIENCE";

/// What the process does: asks, and prints.
pub fn answer(mut out: impl Write) -> io::Result<()> {
    print(&mut out, &nvidia::listed())?;
    print(&mut out, &devices::devices())
}

fn print(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    out.flush()
}

/// Asks in this very process, for those who have no other.
pub fn here() -> Told {
    Told { listed: Ok(nvidia::listed()), shown: Ok(devices::devices()) }
}

/// Has `program` ask, which is this program.
pub fn ask(program: &Path) -> Told {
    let patience = std::env::var(PATIENCE_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    let patience =
        patience.filter(|seconds| (0.0..1e6).contains(seconds)).map_or(PATIENCE, Duration::from_secs_f64);
    let mut command = Command::new(program);
    command.arg("probe");
    ask_command(command, patience)
}

fn ask_command(mut command: Command, patience: Duration) -> Told {
    use std::os::unix::process::CommandExt;
    let nobody = |why: String| Told { listed: Err(why.clone()), shown: Err(why) };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Numbers are those of workers; and what the process starts ends with it.
    command.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID").process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return nobody(format!("can't start the process that reads it: {error}")),
    };
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let told = Told { listed: read(&lines, patience), shown: read(&lines, patience) };
    end(child.id());
    // It's reaped if it has ended; one that is stuck in the driver is left behind.
    let deadline = Instant::now() + Duration::from_millis(500);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    told
}

fn read<T: DeserializeOwned>(lines: &mpsc::Receiver<String>, patience: Duration) -> Result<T, String> {
    match lines.recv_timeout(patience) {
        Ok(line) => serde_json::from_str(&line).map_err(|error| format!("its answer can't be read: {error}")),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("no answer within {}", print_duration(patience))),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("the process that reads it died".to_owned()),
    }
}

/// Ends the group that a process leads.
fn end(pid: u32) {
    use nix::sys::signal::{Signal, killpg};
    let _ = killpg(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::super::nvidia::{Listed, Shown};
    use super::*;

    fn shell(script: &str, patience: u64) -> Told {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        ask_command(command, Duration::from_millis(patience))
    }

    #[test]
    fn a_driver_that_hangs_is_waited_for_so_long_and_what_came_before_is_kept() {
        let line = serde_json::to_string(&Listed::default()).unwrap();
        let told = shell(&format!("echo '{line}'; sleep 60"), 300);
        assert_eq!(told.listed, Ok(Listed::default()));
        assert_eq!(told.shown, Err("no answer within 300 ms".to_owned()));
        let told = shell("sleep 60", 100);
        assert!(told.listed.is_err() && told.shown.is_err());
    }

    #[test]
    fn a_process_that_dies_or_prints_something_else_is_no_answer() {
        assert_eq!(shell("exit 3", 5000).listed, Err("the process that reads it died".to_owned()));
        assert!(shell("echo no", 5000).listed.unwrap_err().contains("can't be read"));
    }

    #[test]
    fn what_is_printed_is_read() {
        let mut printed = Vec::new();
        answer(&mut printed).unwrap();
        let lines = String::from_utf8(printed).unwrap();
        let mut lines = lines.lines();
        assert!(serde_json::from_str::<Listed>(lines.next().unwrap()).is_ok());
        assert!(serde_json::from_str::<Shown>(lines.next().unwrap()).is_ok());
    }
}
