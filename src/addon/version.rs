//! What a program states of its version: how it's told whether compilers, pip and workers are here, and which.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::units::print_duration;

/// Loading the libraries of CUDA takes a second where they aren't in memory; a folder that hangs takes for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it prints when it's asked for its version, or why it doesn't start.
pub fn stated(mut command: Command) -> Result<String, String> {
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("it can't be started: {error}"))?;
    let (sender, output) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match output.recv_timeout(PATIENCE) {
        Ok(Ok(output)) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(Ok(output)) => {
            Err(format!("it doesn't start: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Ok(Err(error)) => Err(format!("it doesn't start: {error}")),
        Err(_) => Err(format!("it doesn't answer within {}", print_duration(PATIENCE))),
    }
}
