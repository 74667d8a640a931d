//! Keeps stdout for events.

use std::fs::File;
use std::io;

/// Takes stdout for events and points the descriptor that libraries print to at stderr, so that no native library's
/// chatter can break the protocol.
pub fn claim() -> io::Result<File> {
    use std::os::fd::AsFd;
    let events = io::stdout().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdout(io::stderr().as_fd())?;
    Ok(File::from(events))
}
