//! How the death of a worker is read.

use std::process::ExitStatus;

use crate::record::{Failure, Status};

/// Reads the death of a worker: by memory, by a signal, or by its own choice.
pub fn read(exit: ExitStatus, stderr: &str, oom_killed: bool) -> Failure {
    // The kernel's count is the whole machine's: it says something of this death only if it was by SIGKILL.
    let oom_killed = oom_killed && was_killed(exit);
    // The status by which the system's loader ends a program.
    if let Some(library) = not_loaded(stderr).filter(|_| exit.code() == Some(127)) {
        let remedy = "run `autotune doctor` to see which libraries are found, and where".to_owned();
        let failure = Failure::new(Status::NotAvailable, library);
        return Failure { remedy, stderr: stderr.to_owned(), ..failure };
    }
    let status = if oom_killed || speaks_of_memory(stderr) {
        Status::OutOfMemory
    } else if was_killed(exit) {
        Status::Killed
    } else {
        Status::Crashed
    };
    let reason = match status {
        Status::OutOfMemory if oom_killed => {
            format!("the kernel's out-of-memory killer ended the worker ({exit})")
        }
        Status::OutOfMemory => format!("the worker could not allocate memory ({exit})"),
        _ => format!("the worker ended: {exit}"),
    };
    Failure { status, reason, remedy: String::new(), stderr: stderr.to_owned() }
}

/// What the system's loader said, where it was the one who ended a process.
fn not_loaded(stderr: &str) -> Option<&str> {
    stderr.lines().map(str::trim).find(|line| line.contains("error while loading shared libraries"))
}

/// What allocators say before they end a process: Rust's, C++'s, Python's, PyTorch's, CUDA's, ONNX Runtime's.
fn speaks_of_memory(stderr: &str) -> bool {
    const PHRASES: [&str; 8] = [
        "memory allocation of",
        "std::bad_alloc",
        "memoryerror",
        "out of memory",
        "outofmemory",
        "out_of_memory",
        "cannot allocate memory",
        "failed to allocate memory",
    ];
    // The loader has no place for a library's thread-local variables: a matter of the order of loading, and not of memory.
    let stderr = stderr.to_lowercase().replace("cannot allocate memory in static tls block", "");
    PHRASES.iter().any(|phrase| stderr.contains(phrase))
}

/// By SIGKILL itself, or, where a shell stands between, by the status in which shells report it.
fn was_killed(exit: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    exit.signal() == Some(9) || exit.code() == Some(128 + 9)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn status(raw: i32, stderr: &str, oom_killed: bool) -> Status {
        read(ExitStatus::from_raw(raw), stderr, oom_killed).status
    }

    #[test]
    fn a_death_is_read_from_signal_status_words_and_the_kernels_count() {
        assert_eq!(status(9, "", true), Status::OutOfMemory);
        assert_eq!(status(9, "", false), Status::Killed);
        assert_eq!(status(11, "", true), Status::Crashed);
        assert_eq!(status(137 << 8, "Killed", false), Status::Killed);
        assert_eq!(status(11, "", false), Status::Crashed);
        assert_eq!(status(3 << 8, "giving up", false), Status::Crashed);
        assert_eq!(status(6, "memory allocation of 8 bytes failed", false), Status::OutOfMemory);
        assert_eq!(status(1 << 8, "torch.OutOfMemoryError: CUDA out of memory.", false), Status::OutOfMemory);
    }

    #[test]
    fn what_the_loader_says_is_no_matter_of_memory() {
        let tls = "worker: libgomp.so.1: cannot allocate memory in static TLS block";
        assert_eq!(status(1 << 8, tls, false), Status::Crashed);
        assert_eq!(status(1 << 8, "mmap: Cannot allocate memory", false), Status::OutOfMemory);
        let loader =
            "w: error while loading shared libraries: libcublas.so.13: cannot open shared object file";
        let failure = read(ExitStatus::from_raw(127 << 8), loader, false);
        assert_eq!((failure.status, failure.reason.as_str()), (Status::NotAvailable, loader));
        assert!(failure.remedy.contains("doctor"));
        assert_eq!(status(9, loader, true), Status::OutOfMemory);
    }
}
