//! What the operating system knows of a worker's memory, for every worker alike, in whatever language it's written.

use std::fs;

/// Starts the count of peak memory anew for a process and its children.
pub fn reset_peak(pid: u32) {
    for pid in family(pid) {
        // 5 resets the peak resident set size (proc(5)). Where it's refused the peak is that since the start.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

/// Peak resident memory of a process and its children, in bytes. The sum of their peaks, which may lie at different
/// moments; children that have ended already are not in it.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    let peaks: Vec<u64> = family(pid).into_iter().filter_map(own::peak).collect();
    (!peaks.is_empty()).then(|| peaks.iter().sum())
}

/// Memory of a process and its children at a moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMemory {
    /// Resident: in the machine's memory.
    pub rss: u64,
    /// Virtual: reserved in its address space, whether there's memory behind it or not.
    pub vms: u64,
    /// The most that was ever reserved since the process began.
    pub vms_peak: u64,
}

/// What a process and its children have at the moment. Pages that they share are counted for each of them.
pub fn now(pid: u32) -> Option<HostMemory> {
    family(pid).into_iter().filter_map(own::now).reduce(|sum, one| HostMemory {
        rss: sum.rss + one.rss,
        vms: sum.vms + one.vms,
        vms_peak: sum.vms_peak + one.vms_peak,
    })
}

/// Whether this system tells the peak memory of processes.
pub fn sees_worker_memory() -> bool {
    own::peak(std::process::id()).is_some()
}

/// A process and all that it has started.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        next += 1;
        family.extend(own::children(pid));
    }
    family
}

/// One process, without those that it has started.
#[cfg(target_os = "linux")]
mod own {
    use procfs::process::{Process, Status};

    use super::HostMemory;

    fn open(pid: u32) -> Option<Process> {
        Process::new(pid.try_into().ok()?).ok()
    }

    fn status(pid: u32) -> Option<Status> {
        open(pid)?.status().ok()
    }

    pub fn now(pid: u32) -> Option<HostMemory> {
        let status = status(pid)?;
        // The kernel counts the resident pages for each core apart and adds up now and then, which is off by up to half a
        // megabyte on two cores; where it's allowed to, it counts the pages themselves.
        let counted = || {
            Some(*open(pid)?.smaps_rollup().ok()?.memory_map_rollup.iter().next()?.extension.map.get("Rss")?)
        };
        let rss = counted().or(status.vmrss.map(|kibibytes| kibibytes * 1024))?;
        Some(HostMemory { rss, vms: status.vmsize? * 1024, vms_peak: status.vmpeak? * 1024 })
    }

    pub fn peak(pid: u32) -> Option<u64> {
        Some(status(pid)?.vmhwm? * 1024)
    }

    pub fn children(pid: u32) -> Vec<u32> {
        let tasks = open(pid).and_then(|process| process.tasks().ok()).into_iter().flatten().flatten();
        tasks.flat_map(|task| task.children().unwrap_or_default()).collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod own {
    use super::HostMemory;

    pub fn now(_: u32) -> Option<HostMemory> {
        None
    }

    pub fn peak(_: u32) -> Option<u64> {
        None
    }

    pub fn children(_: u32) -> Vec<u32> {
        Vec::new()
    }
}

/// How often the kernel's out-of-memory killer has struck: here, as far as this process can see.
pub fn oom_kills() -> u64 {
    let count = |path: &str| -> u64 {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    // The whole machine's counter, and the container's own where the first is hidden.
    count("/proc/vmstat") + count("/sys/fs/cgroup/memory.events")
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_its_child_are_counted_together() {
        let own = peak_bytes(std::process::id()).unwrap();
        assert!(own > 1 << 20, "{own}");
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(family(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(peak_bytes(child.id()), None);
        assert_eq!(now(child.id()), None);
    }

    #[test]
    fn memory_that_is_taken_is_seen_at_once_and_to_the_page() {
        // Other tests of this process take memory meanwhile, so a child of ours does it: a shell with a long word.
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "read a; x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo; read b"]);
        shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let before = now(child.id()).unwrap();
        std::io::Write::write_all(&mut input, b"\n").unwrap();
        std::io::Read::read_exact(&mut output, &mut [0]).unwrap();
        let after = now(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(after.rss >= before.rss + (32 << 20), "{before:?} {after:?}");
        assert!(after.vms >= after.rss && after.vms_peak >= after.vms, "{after:?}");
    }
}
