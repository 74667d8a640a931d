//! A program that is run to its end: within a time, and unless somebody stops us.

use std::io::{Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often it's looked whether it has ended.
const CHECK: Duration = Duration::from_millis(20);

/// What it said, and how it ended.
pub struct Said {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

/// Why it didn't end by itself.
pub enum Unended {
    NotStarted(std::io::Error),
    TooLong,
    Stopped,
}

/// Runs a program. It's killed after `patience`, and as soon as `stopped` says so.
pub fn run(
    command: &mut Command,
    patience: Duration,
    mut stopped: impl FnMut() -> bool,
) -> Result<Said, Unended> {
    // Files, since a pipe that nobody reads holds up whoever writes to it.
    let file = || tempfile::tempfile().map_err(Unended::NotStarted);
    let (mut out, mut err) = (file()?, file()?);
    let copy = |file: &std::fs::File| file.try_clone().map_err(Unended::NotStarted);
    command.stdin(Stdio::null()).stdout(copy(&out)?).stderr(copy(&err)?);
    let mut child = command.spawn().map_err(Unended::NotStarted)?;
    let start = Instant::now();
    let status = loop {
        let ended = child.try_wait().map_err(Unended::NotStarted)?;
        if let Some(status) = ended {
            break status;
        }
        let why = match (stopped(), start.elapsed() > patience) {
            (true, _) => Some(Unended::Stopped),
            (false, true) => Some(Unended::TooLong),
            (false, false) => None,
        };
        if let Some(why) = why {
            let _ = child.kill();
            let _ = child.wait();
            return Err(why);
        }
        std::thread::sleep(CHECK);
    };
    let read = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Said { status, out: read(&mut out), err: read(&mut err) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration, stopped: bool) -> Result<Said, Unended> {
        run(Command::new("sh").args(["-c", script]), patience, || stopped)
    }

    #[test]
    fn a_program_says_all_it_has_to_say_or_is_ended() {
        let long = Duration::from_secs(20);
        let said = shell("seq 100000; echo no >&2; exit 3", long, false).ok().unwrap();
        assert_eq!((said.status.code(), said.out.lines().count(), said.err.trim()), (Some(3), 100_000, "no"));
        assert!(matches!(shell("sleep 60", Duration::from_millis(50), false), Err(Unended::TooLong)));
        assert!(matches!(shell("sleep 60", long, true), Err(Unended::Stopped)));
        let absent = run(&mut Command::new("no-such-program"), long, || false);
        assert!(matches!(absent, Err(Unended::NotStarted(_))));
    }
}
