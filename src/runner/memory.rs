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
    let peaks: Vec<u64> = family(pid).into_iter().filter_map(peak_of).collect();
    (!peaks.is_empty()).then(|| peaks.iter().sum())
}

/// Whether this system tells the peak memory of processes.
pub fn sees_worker_memory() -> bool {
    peak_of(std::process::id()).is_some()
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// A process and all that it has started.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        next += 1;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    family
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
    }
}
